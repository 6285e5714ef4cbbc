"""Arrays to arrays: parcellation, connectivity, quality."""

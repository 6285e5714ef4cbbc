"""Written files, read for a page."""

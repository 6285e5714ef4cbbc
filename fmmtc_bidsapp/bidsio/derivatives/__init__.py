"""What we write: one run's files, and the dataset around them."""

"""Models that are fitted to training rows, and the tables of them."""

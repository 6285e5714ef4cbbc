"""The tables of arXiv 2503.00210, its protocol of choosing on the test rows, and guesses."""

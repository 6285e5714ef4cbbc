"""Pre-trained encoders of series."""

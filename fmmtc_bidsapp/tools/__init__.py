"""What fmmtc-tools does."""

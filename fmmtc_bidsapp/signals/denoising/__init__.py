"""Confounds, cleaning strategies, censoring."""

"""Predictions to figures, with calibration and intervals."""

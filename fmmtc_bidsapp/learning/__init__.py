"""A cohort to a fitted, calibrated, judged model."""

"""A known ground truth to a dataset that looks like fMRIPrep wrote it."""

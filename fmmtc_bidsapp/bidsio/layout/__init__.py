"""An fMRIPrep tree to the runs in it."""

"""From fMRIPrep derivatives to a calibrated prediction of who responds to a drug."""

from fmmtc_bidsapp._version import __version__

__all__ = ["__version__"]

"""From fMRIPrep derivatives to a calibrated prediction of who responds to a drug."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fmmtc_bidsapp._version import __version__

if TYPE_CHECKING:
    from fmmtc_bidsapp.genotypes.genotypes import read_genotypes

__all__ = ["__version__", "read_genotypes"]

_PLACES = {"read_genotypes": "fmmtc_bidsapp.genotypes.genotypes"}
"""Module of each public name, imported when the name is used."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])

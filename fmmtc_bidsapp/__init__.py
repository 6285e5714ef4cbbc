"""From fMRIPrep derivatives to a calibrated prediction of who responds to a drug."""

from typing import TYPE_CHECKING, Any

from fmmtc_bidsapp._version import __version__

if TYPE_CHECKING:
    from fmmtc_bidsapp.genotypes.genotypes import read_genotypes

__all__ = ["__version__", "read_genotypes"]


def __getattr__(name: str) -> Any:
    # When it is used, so that the commands start at once.
    if name == "read_genotypes":
        from fmmtc_bidsapp.genotypes.genotypes import read_genotypes

        return read_genotypes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

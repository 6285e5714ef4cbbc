"""Readers that the extra ``genotypes`` installs."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from fmmtc_bidsapp.errors import MissingResourceError

__all__ = ["import_reader"]


def import_reader(module: str, ending: str) -> ModuleType:
    """Import the library that reads a format."""
    try:
        return import_module(module)
    except ImportError:
        raise MissingResourceError(
            f"{ending} files are read by {module}, which is not installed: "
            'pip install "fmmtc-bidsapp[genotypes]".'
        ) from None

"""Readers that the extra ``genotypes`` installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fmmtc_bidsapp.errors import MissingResourceError

__all__ = ["installed"]


@contextmanager
def installed(ending: str) -> Iterator[None]:
    """Say what to install where the reader of a format cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise MissingResourceError(
            f"{ending} files are read by {error.name}, which is not installed: "
            'pip install "fmmtc-bidsapp[genotypes]".'
        ) from None

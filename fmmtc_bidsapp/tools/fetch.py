"""``fmmtc-tools fetch``: a file that is not ours to ship, into the cache."""

from __future__ import annotations

from fmmtc_bidsapp.bidsio.atlas import fetch_atlas

__all__ = ["fetch"]

_FETCHERS = {"atlas": fetch_atlas}


def fetch(what: str) -> int:
    """Download a resource and say where it is.

    Parameters
    ----------
    what
        ``atlas``.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    MissingResourceError
        When it cannot be downloaded, or its sha256 is not the pinned one.
    """
    print(f"{what}: {_FETCHERS[what]()}")
    return 0

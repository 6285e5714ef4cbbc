"""``fmmtc-tools fetch``: files that are not ours to ship, into the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fmmtc_bidsapp.bidsio.atlas import fetch_atlas
from fmmtc_bidsapp.bidsio.templates import fetch_templates

__all__ = ["fetch"]


def _atlas() -> list[Path]:
    return [fetch_atlas()]


_FETCHERS: Mapping[str, Callable[[], list[Path]]] = MappingProxyType(
    {"atlas": _atlas, "templates": fetch_templates}
)


def fetch(what: str) -> int:
    """Download a resource and say where it is.

    Parameters
    ----------
    what
        ``atlas`` or ``templates``.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    MissingResourceError
        When it cannot be downloaded, or its sha256 is not the pinned one.
    """
    for path in _FETCHERS[what]():
        print(f"{what}: {path}")
    return 0

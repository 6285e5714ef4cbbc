"""Find files whose content DataLad has not fetched."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["content_problem"]

# git-annex keeps pointers of unlocked files below 32 KiB; real images are larger, tables are not.
_POINTER_LIMIT = 32 * 1024
_POINTER_STARTS = (b"/annex/objects/", b"WORM-s", b"MD5E-s", b"SHA256E-s")
# Where links cannot be made (Windows, some network drives) git writes where they point as text.
_LINK_TARGET = re.compile(rb"(\.\./)*\.git/annex/objects/")


def content_problem(path: Path) -> str | None:
    """Describe why a file has no content, as the end of a sentence; None if it has some."""
    try:
        return _problem(path)
    except OSError as error:
        return f"unreadable ({error.strerror or error}): {path}"


def _problem(path: Path) -> str | None:
    if path.is_symlink() and not path.exists():
        return _fetch(path) if "annex" in path.readlink().parts else f"a broken link: {path}"
    if not path.is_file():
        return f"missing: {path}"
    size = path.stat().st_size
    if size == 0:
        return f"empty: {path}"
    # Large files too, so that missing permission is found before anything is computed.
    with path.open("rb") as stream:
        start = stream.read(256)
    if size < _POINTER_LIMIT and (start.startswith(_POINTER_STARTS) or _LINK_TARGET.match(start)):
        return _fetch(path)
    return None


def _fetch(path: Path) -> str:
    return f"not fetched: run `datalad get {path}`"

"""The sha256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["digest_of"]


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

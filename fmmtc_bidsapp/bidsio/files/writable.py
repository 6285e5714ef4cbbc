"""Check whether a folder can be written to, without writing."""

from __future__ import annotations

import os
from pathlib import Path

from fmmtc_bidsapp.errors import OutputError

__all__ = ["refuse_unwritable"]


def refuse_unwritable(folder: Path, name: str) -> None:
    """Raise OutputError if a folder cannot be written or made; ``name`` is for the message."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        why = f"{there} is not a folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        why = f"no permission to write to {there}"
    else:
        return
    raise OutputError(f"Cannot write to {folder}: {why}. Choose another {name}.")

"""Let nipype find files in folders whose names contain brackets."""

from __future__ import annotations

from pathlib import Path

from nipype.pipeline.engine import nodes, utils
from nipype.pipeline.plugins import base

__all__ = ["take_folders_literally"]


def take_folders_literally() -> None:
    """Let nipype find its files also in a folder called ``Study [2024]``."""
    for module in (nodes, utils, base):
        module.glob = _in_folder


def _in_folder(pattern: str) -> list[str]:
    """List files by a pattern in the last part of a path alone, as all of nipype's are."""
    path = Path(pattern)
    return [str(each) for each in path.parent.glob(path.name)]

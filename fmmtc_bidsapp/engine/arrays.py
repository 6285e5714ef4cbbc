"""Arrays between nodes, as files in the work directory.

A file of `numpy.savez` holds the arrays and, as one JSON text, whatever else belongs to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_arrays", "save_arrays"]


def save_arrays(path: Path, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Write arrays and a description; returns the path as text."""
    content: dict[str, Any] = {**arrays, "about": np.array(json.dumps(dict(about)))}
    np.savez(path, **content)
    return str(path)


def load_arrays(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "about"}
        about: dict[str, Any] = json.loads(str(file["about"]))
    return arrays, about

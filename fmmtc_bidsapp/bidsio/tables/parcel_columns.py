"""Check that all columns of a parcel table are named parcels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.visible import is_blank

__all__ = ["check_names", "counter", "refuse_counters"]

_NO_NAME = frozenset({"", "n/a", "na", "nan"})
_UNNAMED = re.compile(r"Unnamed: \d+")
"""What pandas calls a column without a name when it reads a table and writes it again."""
_NEVER_PARCELS = frozenset(
    {"index", "volume", "frame", "scan", "tr", "time", "time_s", "onset", "duration", "run", "task"}
    | {"participant_id", "subject", "session_id", "session", "censored", "outlier", "interpolated"}
    | {"framewise_displacement", "dvars", "std_dvars", "rmsd"}
    | {f"{way}_{axis}" for way in ("trans", "rot") for axis in "xyz"}
)
"""Names of columns that stand beside series, whatever their case and values."""

_FEWEST_STEPS = 3
_FEWEST_RISING = 20
"""Rows from which a column that rises all along is no signal: a time with gaps rises so."""
_ROUNDING = 1e-6


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise InputError unless every column has a unique name that can be a parcel's."""
    numbers = [number for number in map(_number, names) if number is not None]
    if not _may_be_labels(numbers) or (len(numbers) == len(names) and not _rise(numbers)):
        raise InputError(f"{path} has no header: the first row has numbers. Add the parcel names.")
    for number, name in enumerate(names, start=1):
        if (
            is_blank(name)
            or name.strip().casefold() in _NO_NAME
            or _UNNAMED.fullmatch(name.strip())
        ):
            raise InputError(
                f"{path}: column {number} of {len(names)} has no name (header {name!r}), for "
                "example an index written by pandas, or a tab at the end of the lines. Every "
                "column must be a parcel. Remove this column."
            )
        if name.strip().casefold() in _NEVER_PARCELS:
            raise InputError(
                f"{path}: column {number} of {len(names)} is called {name!r}, which is not a "
                "parcel. Remove this column."
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two columns called {twice!r}. Make the names unique.")


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _may_be_labels(numbers: Sequence[float]) -> bool:
    return all(number.is_integer() for number in numbers if not math.isnan(number))


def _rise(labels: Sequence[float]) -> bool:
    """Return whether labels ascend, as giga_connectome writes them."""
    return all(one < other for one, other in pairwise(labels))


def counter(values: NDArray[np.float64]) -> int | None:
    """Return the position of the first column of (time, column) that is an index or time."""
    if len(values) <= _FEWEST_STEPS:
        return None
    steps = np.diff(values, axis=0)
    even = (steps[0] != 0) & np.isclose(steps, steps[0], rtol=_ROUNDING, atol=0).all(axis=0)
    if len(values) >= _FEWEST_RISING:
        even |= (steps > 0).all(axis=0) | (steps < 0).all(axis=0)
    return int(even.argmax()) if even.any() else None


def refuse_counters(path: Path, names: Sequence[str], values: NDArray[np.float64]) -> None:
    """Raise InputError if a column of (time, column) is an index or a time."""
    found = counter(values)
    if found is None:
        return
    start = ", ".join(f"{value:g}" for value in values[:3, found])
    raise InputError(
        f"{path}: column {names[found]!r} ({start}, …) rises or falls from the first volume to "
        "the last, like an index or a time, not like a BOLD signal. Every column must be a "
        "parcel. Remove this column."
    )

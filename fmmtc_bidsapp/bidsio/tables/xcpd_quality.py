"""Read head motion and volume counts from XCP-D's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmmtc_bidsapp.bidsio.files.names import ParsedName, parse_name, space_of
from fmmtc_bidsapp.bidsio.files.tsv import read_table
from fmmtc_bidsapp.errors import InputError

__all__ = ["XcpdQuality", "read_xcpd_quality"]

_NOT_OF_RUN = frozenset(
    {"space", "cohort", "res", "den", "hemi", "atlas", "seg", "scale", "stat", "meas", "desc"}
)
_QC = ("*_desc-linc_qc.tsv", "*_desc-linc_qc.csv")
_MOTION = ("*_motion.tsv",)
_MEAN_FD = ("mean_fd", "meanFD")
"""Of today, and of versions before 0.5."""


@dataclass(frozen=True)
class XcpdQuality:
    """Head motion and retained volumes of a run; None if unknown."""

    mean_fd_mm: float | None = None
    n_volumes_retained: int | None = None


def read_xcpd_quality(series: Path, entities: Mapping[str, str]) -> XcpdQuality:
    """Read XCP-D's quality of the run of a series, from ``desc-linc_qc`` or ``motion``."""
    for path in _beside(series, entities, _QC):
        row = read_table(path)
        mean_fd = next((name for name in _MEAN_FD if name in row), None)
        if mean_fd is not None:
            retained = _number(path, row, "num_retained_volumes")
            return XcpdQuality(
                _number(path, row, mean_fd), None if retained is None else int(retained)
            )
    for path in _beside(series, entities, _MOTION):
        table = read_table(path)
        if "framewise_displacement" in table:
            return XcpdQuality(_number(path, table, "framewise_displacement"))
    return XcpdQuality()


def _beside(series: Path, entities: Mapping[str, str], patterns: tuple[str, ...]) -> list[Path]:
    """Return the tables of the same run: same space first, filtered motion last."""
    found = []
    for path in (path for pattern in patterns for path in sorted(series.parent.glob(pattern))):
        name = _parsed(path)
        if name is not None and _run(name.entities) == _run(entities):
            is_other = space_of(name.entities) != space_of(entities)
            found.append((name.entities.get("desc") == "filtered", is_other, path.name, path))
    return [path for *_, path in sorted(found)]


def _parsed(path: Path) -> ParsedName | None:
    try:
        return parse_name(path)
    except InputError:
        # Not a BIDS name, so not of this run.
        return None


def _run(entities: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in entities.items() if key not in _NOT_OF_RUN}


def _number(path: Path, table: pd.DataFrame, column: str) -> float | None:
    """Return the mean of a column's known values; None without any."""
    if column not in table:
        return None
    try:
        values = table[column].to_numpy(float)
    except ValueError as error:
        raise InputError(
            f"{path} has text in the column {column} ({error}). Only numbers and n/a are allowed."
        ) from error
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    if not np.isfinite(known).all() or (known < 0).any():
        raise InputError(
            f"{path} has {known.min():g} to {known.max():g} in the column {column}; numbers from 0 "
            "are needed. Write it again."
        )
    return float(known.mean())

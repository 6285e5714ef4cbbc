"""Confounds under one set of names, for every fMRIPrep version."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError

__all__ = [
    "EXPANDED",
    "MEASURES",
    "MOTION",
    "canonical",
    "components_by_mask",
    "current_name",
    "motion_measure",
    "summarise",
    "unreadable_motion",
]

Floats = NDArray[np.float64]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
"""The six parameters of a rigid motion."""

EXPANDED = (*MOTION, "csf", "white_matter", "global_signal")
"""Columns that fMRIPrep since 1.4 writes with their derivatives and squares."""

# fMRIPrep 1.0 and 1.1 wrote CamelCase; all later ones the names on the right.
_SPELLINGS = (
    ("CSF", "csf"),
    ("WhiteMatter", "white_matter"),
    ("GlobalSignal", "global_signal"),
    ("stdDVARS", "std_dvars"),
    ("non-stdDVARS|DVARS", "dvars"),
    ("vx-wisestdDVARS", "vx_wise_std_dvars"),
    ("FramewiseDisplacement", "framewise_displacement"),
    ("(?:Trans)?X", "trans_x"),
    ("(?:Trans)?Y", "trans_y"),
    ("(?:Trans)?Z", "trans_z"),
    ("RotX", "rot_x"),
    ("RotY", "rot_y"),
    ("RotZ", "rot_z"),
    (r"([at])CompCor_?(\d+)", r"\1_comp_cor_\2"),
    (r"(?:C|c)osine_?(\d+)", r"cosine\1"),
    (r"NonSteadyStateOutlier_?(\d+)", r"non_steady_state_outlier\1"),
    (r"AROMAAggrComp_?(\d+)", r"aroma_motion_\1"),
)
_PATTERNS = tuple((re.compile(old), new) for old, new in _SPELLINGS)

MEASURES = ("framewise_displacement", "std_dvars", "rmsd")
"""Framewise displacement in mm (Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018), DVARS
without unit, and relative RMS in mm (absent before fMRIPrep 20.0); unknown in the first volume."""

_PREFIX_OF_MASK = {"CSF": "c", "WM": "w"}


def current_name(name: str) -> str:
    """Return the name of a confounds column in today's fMRIPrep."""
    for pattern, new in _PATTERNS:
        match = pattern.fullmatch(name)
        if match:
            return match.expand(new)
    return name


def canonical(confounds: Mapping[str, NDArray[np.float64]]) -> dict[str, Floats]:
    """Return (time,) columns under today's names, with all derivatives and squares of `EXPANDED`.

    Absent ones are computed: derivatives are backward differences, NaN in the first volume.
    InputError for two spellings of one column.
    """
    table: dict[str, Floats] = {}
    for name, values in confounds.items():
        current = current_name(name)
        if current in table:
            raise InputError(
                f"The confounds table has two columns {current}, one of them as {name}. Remove one."
            )
        table[current] = np.asarray(values, dtype=np.float64)
    computed = (pair for base in EXPANDED if base in table for pair in _expanded(base, table[base]))
    for name, values in computed:
        table.setdefault(name, values)
    return table


def _expanded(base: str, values: Floats) -> Iterable[tuple[str, Floats]]:
    with np.errstate(invalid="ignore"):  # the difference of two cells that hold no number
        change = np.diff(values, prepend=np.nan)
    yield f"{base}_derivative1", change
    yield f"{base}_power2", values**2
    yield f"{base}_derivative1_power2", change**2


def components_by_mask(names: Iterable[str], masks: Mapping[str, str]) -> dict[str, str]:
    """Return columns of anatomical CompCor by today's names, numbered per tissue.

    fMRIPrep 1.4 to 20.2 called all of them ``a_comp_cor`` with the mask in the sidecar; since 21.0
    those of CSF are ``c_comp_cor`` and those of white matter ``w_comp_cor``. Empty for today's
    names.
    """
    columns = list(names)
    if any(re.fullmatch(r"[cw]_comp_cor_\d+", name) for name in columns):
        return {}
    seen: Counter[str] = Counter()
    named: dict[str, str] = {}
    for name in columns:
        prefix = _PREFIX_OF_MASK.get(masks.get(name, ""))
        if prefix is not None:
            named[f"{prefix}_comp_cor_{seen[prefix]:02d}"] = name
            seen[prefix] += 1
    return named


def motion_measure(confounds: Mapping[str, Floats], name: str) -> Floats | None:
    """Return a measure of `MEASURES`, (time,), NaN where it is not a number; None if absent."""
    for spelled, values in confounds.items():
        if current_name(spelled) == name:
            column = np.asarray(values, dtype=np.float64)
            return np.where(np.isinf(column), np.nan, column)
    return None


def unreadable_motion(confounds: Mapping[str, Floats]) -> tuple[str, ...]:
    """Describe volumes in which a motion measure is not a number, which counts as unknown."""
    flags = {name: np.isinf(values) for name, values in confounds.items()}
    return tuple(
        f"{name} is not a number in {int(flags[name].sum())} volumes, the first is "
        f"{int(np.argmax(flags[name]))}: read as unknown"
        for name in flags
        if current_name(name) in MEASURES and flags[name].any()
    )


def summarise(names: Iterable[str]) -> str:
    """Return the kinds of columns in one line: ``csf, a_comp_cor (145), cosine (5)``."""
    stems = (re.sub(r"(_derivative1|_power2|_?\d+)+$", "", name) for name in names)
    counts = Counter(stem for stem in stems if stem)
    kinds = (f"{stem} ({count})" if count > 1 else stem for stem, count in counts.items())
    return ", ".join(kinds) or "no columns"

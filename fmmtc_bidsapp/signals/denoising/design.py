"""Choose the confound columns of a strategy, ready for regression."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Regressor, Strategy
from fmmtc_bidsapp.signals.denoising.confounds import (
    canonical,
    components_by_mask,
    current_name,
    summarise,
)

__all__ = ["read_design"]

Floats = NDArray[np.float64]

# fMRIPrep's cosines have periods of 128 s or longer and more than half a cycle in the run.
_SHORTEST_WITH_COSINES_S = 128.0


def read_design(
    strategy: Strategy,
    confounds: Mapping[str, Floats],
    *,
    masks: Mapping[str, str],
    tr_s: float | None,
    n_dummy: int = 0,
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """Return a strategy's regressors, (time,) by name, with notes.

    ``masks`` has the tissue of ``a_comp_cor`` columns; the ``n_dummy`` first volumes need no
    values. InputError if a regressor has no column or a column has a missing value.
    """
    table = canonical(confounds)
    by_mask = components_by_mask(table, masks)
    table |= {name: table.pop(column) for name, column in by_mask.items()}
    design: dict[str, Floats] = {}
    notes: list[str] = []
    for regressor in strategy.regressors:
        names = _find(regressor, table)
        if not names:
            notes += _absent(regressor, strategy, table, tr_s)
        design |= {name: _filled(name, table[name], n_dummy) for name in names}
    return design, (*notes, *_provenance(design, confounds, by_mask))


def _find(regressor: Regressor, table: Iterable[str]) -> list[str]:
    """Return the columns of the first set of patterns that all match."""
    for patterns in regressor.alternatives:
        found = [[name for name in table if re.fullmatch(each, name)] for each in patterns]
        if all(found):
            return [name for names in found for name in names]
    return []


def _absent(
    regressor: Regressor, strategy: Strategy, table: Mapping[str, Floats], tr_s: float | None
) -> list[str]:
    if _no_noise_found(regressor, table):
        return ["fMRIPost-AROMA found no motion component in this run"]
    if not regressor.optional:
        wanted = " or ".join(_shown(each, table) for each in regressor.alternatives)
        raise InputError(
            f"The strategy {strategy.name} needs {regressor.title}, but the confounds table has no "
            f"column {wanted}. It has {summarise(table)}. Choose another --denoise-strategy, or "
            "give a table with these columns (ICA-AROMA: --derivatives aroma=DIR with "
            "fMRIPost-AROMA's output)."
        )
    if "cosine" not in regressor.title:
        return [f"no column for {regressor.title}"]
    if strategy.high_pass_hz is not None:
        return []
    duration_s = len(next(iter(table.values()))) * tr_s if tr_s and table else np.inf
    if duration_s < _SHORTEST_WITH_COSINES_S:
        return [f"a run of {duration_s:.0f} s is too short for {regressor.title}"]
    return [f"no {regressor.title}: no high-pass"]


def _no_noise_found(regressor: Regressor, table: Iterable[str]) -> bool:
    """Return whether fMRIPost-AROMA's table has only an intercept: no motion component."""
    patterns = [each for patterns in regressor.alternatives for each in patterns]
    names = list(table)
    nothing = _INTERCEPT in names and not any(name.startswith("aroma") for name in names)
    return nothing and all("aroma" in each for each in patterns)


_INTERCEPT = "intercept"


def _shown(patterns: tuple[str, ...], table: Iterable[str]) -> str:
    names = list(table)
    missing = [each for each in patterns if not any(re.fullmatch(each, name) for name in names)]
    return ", ".join(missing)


def _filled(name: str, values: Floats, n_dummy: int) -> Floats:
    """Return a column, the first volume of a derivative filled with the second.

    As nilearn does: the first volume has no predecessor, and a series without a jump is what a
    filter spreads least.
    """
    filled = np.array(values, dtype=np.float64)
    if len(filled) > 1 and np.isnan(filled[0]):
        filled[0] = filled[1]
    holes = np.flatnonzero(~np.isfinite(filled[n_dummy:])) + n_dummy
    if len(holes):
        row = int(holes[holes > 0][0]) if (holes > 0).any() else 0
        what = "a cell that is not a number" if np.isinf(values[row]) else "no value"
        raise InputError(
            f"The confounds column {name} has {what} in volume {row} (counted from 0) and "
            f"{max(int((holes > 0).sum()), 1)} in all; only the first volume and dummy volumes may "
            "lack a value. Missing values are not interpolated. Correct the table, or choose a "
            "--denoise-strategy without this column."
        )
    # In dropped volumes unreadable cells are n/a.
    filled[np.isinf(filled)] = np.nan
    return filled


def _provenance(
    design: Iterable[str], confounds: Iterable[str], by_mask: Mapping[str, str]
) -> list[str]:
    """Describe columns that are not in the table under their name."""
    written = {current_name(name) for name in confounds}
    computed = [name for name in design if name not in written and name not in by_mask]
    renamed = [f"{name} is {by_mask[name]}" for name in design if name in by_mask]
    notes = []
    if computed:
        notes.append(f"computed here, as the table lacks them: {', '.join(computed)}")
    if renamed:
        notes.append(f"components by the mask in their sidecar: {', '.join(renamed)}")
    return notes

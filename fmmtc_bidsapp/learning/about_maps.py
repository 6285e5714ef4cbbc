"""What a reader must know of maps: how they were made, and whether they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fmmtc_bidsapp.learning.averages import mean_there
from fmmtc_bidsapp.learning.null_maps import NullMaps
from fmmtc_bidsapp.learning.person_maps import SOURCES, collect, has_source
from fmmtc_bidsapp.learning.stability import stability
from fmmtc_bidsapp.records import Floats, FoldExplanation

__all__ = ["about_maps"]


def about_maps(folds: Sequence[FoldExplanation], null: NullMaps | None) -> dict[str, Any]:
    """Describe the maps of one model.

    Parameters
    ----------
    folds : sequence of FoldExplanation
        Of that model.
    null : NullMaps or None
        Of all folds.

    Returns
    -------
    dict
        Ready for JSON: None where a figure cannot be had.
    """
    return {
        "Method": folds[0].method,
        "Folds": len(folds),
        **_convergence(folds),
        "Agreement": _mean_agreement(folds),
        "Stability": {
            source: _stability(folds, source)
            for source in SOURCES
            if any(has_source(each, source) for each in folds)
        },
        "NullMaps": 0 if null is None else len(null.n),
    }


def _convergence(folds: Sequence[FoldExplanation]) -> dict[str, Any]:
    """Say how good the integrals are; nothing of models that have none."""
    there = [each for each in folds if each.converged is not None]
    if not there:
        return {}

    def joined(name: str) -> Floats:
        return np.concatenate([getattr(each, name) for each in there]).astype(np.float64)

    converged, delta = joined("converged"), joined("delta")
    return {
        "Maps": len(converged),
        "Converged": int(converged.sum()),
        "LargestDeltaConverged": _known(delta[converged > 0].max(initial=0.0)),
        "MostSteps": int(joined("steps").max(initial=0)),
        "MedianGap": _known(np.median(joined("gap"))) if len(converged) else None,
    }


def _mean_agreement(folds: Sequence[FoldExplanation]) -> dict[str, float | None]:
    names = dict.fromkeys(name for each in folds for name in each.agreement)
    return {
        name: _known(mean_there(np.array([each.agreement.get(name, np.nan) for each in folds])))
        for name in names
    }


def _stability(folds: Sequence[FoldExplanation], source: str) -> dict[str, float | None]:
    maps = [collect([each], source) for each in folds]
    spearman, jaccard = stability([mean_there(each.size) for each in maps if each is not None])
    return {"Spearman": _known(spearman), "TopDecileJaccard": _known(jaccard)}


def _known(value: Any) -> float | None:
    """Make a number ready for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None

"""Maps of models that were fitted to shuffled outcomes, kept as means over people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.averages import mean_there, strengths
from fmmtc_bidsapp.records import Floats, FoldExplanation

__all__ = ["NullMaps", "join_nulls", "null_maps", "restore_null_maps"]


@dataclass(frozen=True, eq=False)
class NullMaps:
    """Means over people of |attribution|, one a shuffle; of one fold, or of all."""

    n: Floats
    """(shuffle,) maps behind each mean: people whose map converged, or the one pattern"""
    series: Floats | None = None
    """(shuffle, parcel)"""
    connectivity: Floats | None = None
    """(shuffle, parcel)"""
    edges: NDArray[np.float32] | None = None
    """(shuffle, edge) the upper triangle, row by row"""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is there, by name."""
        return {name: each for name, each in vars(self).items() if each is not None}


def restore_null_maps(arrays: Mapping[str, NDArray[Any]]) -> NullMaps:
    """Rebuild from `NullMaps.arrays`."""
    return NullMaps(arrays["n"], *(arrays.get(name) for name in _MAPS))


_MAPS = ("series", "connectivity", "edges")


def null_maps(explanations: Iterable[FoldExplanation]) -> NullMaps:
    """Reduce the maps of one fold, taken one by one.

    Parameters
    ----------
    explanations : iterable of FoldExplanation
        One a shuffle.

    Returns
    -------
    NullMaps
    """
    found = [_means(each) for each in explanations]
    joined = {
        name: np.stack([each[name] for each in found]) for name in (found[0] if found else {})
    }
    return restore_null_maps({"n": np.zeros(0)} | joined)


def _means(explanation: FoldExplanation) -> dict[str, NDArray[Any]]:
    maps = explanation.series_size if explanation.edges is None else explanation.edges
    n_maps = 0 if maps is None else len(maps)
    kept = np.ones(n_maps, dtype=bool)
    if explanation.converged is not None:
        kept = explanation.converged
    found: dict[str, NDArray[Any]] = {"n": np.array(float(kept.sum()))}
    if explanation.series_size is not None:
        found["series"] = mean_there(explanation.series_size[kept])
    if explanation.edges is not None:
        size = np.abs(explanation.edges[kept])
        upper = np.triu_indices(size.shape[1], k=1)
        found["connectivity"] = mean_there(strengths(size))
        found["edges"] = mean_there(size)[upper].astype(np.float32)
    return found


def join_nulls(folds: Sequence[NullMaps]) -> NullMaps | None:
    """Average the same shuffles over folds, each with the people it explained.

    Returns
    -------
    NullMaps or None
        Of as many shuffles as all folds have; None without folds or shuffles.
    """
    count = min((len(each.n) for each in folds), default=0)
    if not count:
        return None
    n = np.stack([each.n[:count] for each in folds])
    joined: dict[str, NDArray[Any]] = {"n": n.sum(axis=0)}
    for name in _MAPS:
        own = [getattr(each, name) for each in folds]
        if all(each is not None for each in own):
            joined[name] = _weighted(np.stack([each[:count] for each in own]), n)
    return restore_null_maps(joined)


def _weighted(maps: NDArray[Any], n: Floats) -> Floats:
    """(fold, shuffle, place), (fold, shuffle) -> (shuffle, place)."""
    weight = np.where(np.isnan(maps), 0.0, n[:, :, None])
    total = (np.nan_to_num(maps) * weight).sum(axis=0)
    whole = weight.sum(axis=0)
    mean: Floats = np.divide(total, whole, out=np.full(total.shape, np.nan), where=whole > 0)
    return mean

"""The maps of all folds as one map a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.averages import mean_there, strengths
from fmmtc_bidsapp.records import Floats, FoldExplanation

__all__ = ["SOURCES", "PersonMaps", "collect", "has_source"]

SOURCES = ("series", "connectivity")
"""What maps are of."""


@dataclass(frozen=True, eq=False)
class PersonMaps:
    """One source of all people, the repeats of a person averaged."""

    size: Floats
    """(person, parcel) |attribution|"""
    signed: Floats | None
    """(person, parcel)"""
    edge_size: Floats | None = None
    """(person, edge) of the upper triangle"""
    edge_signed: Floats | None = None
    are_people: bool = True
    """False of the patterns of linear models, one a fold, which no bootstrap of people can draw."""


def collect(folds: Sequence[FoldExplanation], source: str) -> PersonMaps | None:
    """Take the maps of one source together.

    Parameters
    ----------
    folds : sequence of FoldExplanation
        Of one model; people that did not converge are left out.
    source : str
        One of `SOURCES`.

    Returns
    -------
    PersonMaps or None
        None where there are none.
    """
    taken = [(each, _kept(each)) for each in folds if has_source(each, source)]
    if not any(kept.any() for _, kept in taken):
        return None
    are_people = taken[0][0].converged is not None
    owner = [
        row if are_people else i
        for i, (each, kept) in enumerate(taken)
        for row in (each.fold.test[kept].tolist() if are_people else [0])
    ]
    if source == "series":
        size = [np.asarray(each.series_size)[kept] for each, kept in taken]
        signed = [np.asarray(each.series)[kept] for each, kept in taken]
        return PersonMaps(
            _by_owner(np.concatenate(size), owner),
            _by_owner(np.concatenate(signed), owner),
            are_people=are_people,
        )
    edges = np.concatenate([np.asarray(each.edges)[kept] for each, kept in taken])
    upper = (slice(None), *np.triu_indices(edges.shape[1], k=1))
    return PersonMaps(
        size=_by_owner(strengths(np.abs(edges)), owner),
        signed=_by_owner(strengths(edges), owner),
        edge_size=_by_owner(np.abs(edges[upper]), owner),
        edge_signed=_by_owner(edges[upper], owner),
        are_people=are_people,
    )


def has_source(explanation: FoldExplanation, source: str) -> bool:
    """Say whether a fold has maps of a source."""
    return (explanation.series if source == "series" else explanation.edges) is not None


def _kept(explanation: FoldExplanation) -> NDArray[np.bool_]:
    """(map,) those that count."""
    if explanation.converged is not None:
        return explanation.converged
    return np.ones(1, dtype=bool)


def _by_owner(maps: NDArray[Any], owner: Sequence[int]) -> Floats:
    """Average the maps of the same person, (map, place) -> (person, place)."""
    owners = np.array(owner)
    return np.array([mean_there(maps[owners == each]) for each in dict.fromkeys(owner)])

"""Maps of a cohort: one per participant, null maps, and their stability."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.explanation.map_values import mean_there, stability, strengths
from fmmtc_bidsapp.learning.explanation.stream_shares import share_of_streams
from fmmtc_bidsapp.records import Floats, FoldExplanation

__all__ = [
    "SOURCES",
    "NullMaps",
    "PersonMaps",
    "about_maps",
    "collect",
    "join_nulls",
    "null_maps",
    "restore_null_maps",
    "sources_of",
]

SOURCES = ("series", "connectivity")
"""What maps are of."""

_INCOMPLETE = "no integral was complete to 1 %"
_SAME = "every attribution is zero: the prediction is the same for everyone"


def sources_of(folds: Sequence[FoldExplanation]) -> tuple[str, ...]:
    """List what maps of some folds can be of: `SOURCES`, then modalities of other packages."""
    return (*SOURCES, *dict.fromkeys(name for each in folds for name in each.others))


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
    """Return the maps of one of `sources_of`, repeats averaged; None if all failed or are 0."""
    maps = _collect(folds, source)
    return None if maps is None or not np.nansum(maps.size) else maps


def _collect(folds: Sequence[FoldExplanation], source: str) -> PersonMaps | None:
    taken = [(each, _kept(each)) for each in folds if _has_source(each, source)]
    if not any(kept.any() for _, kept in taken):
        return None
    are_people = taken[0][0].converged is not None
    owner = [
        row if are_people else i
        for i, (each, kept) in enumerate(taken)
        for row in (each.fold.test[kept].tolist() if are_people else [0])
    ]
    if source != "connectivity":
        size = [_of_places(each, source, size=True)[kept] for each, kept in taken]
        signed = [_of_places(each, source, size=False)[kept] for each, kept in taken]
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


def _has_source(explanation: FoldExplanation, source: str) -> bool:
    """Whether a fold has maps of a source."""
    if source in SOURCES:
        return (explanation.series if source == "series" else explanation.edges) is not None
    return source in explanation.others


def _of_places(explanation: FoldExplanation, source: str, *, size: bool) -> Floats:
    """(map, place) of a source that has no edges."""
    if source == "series":
        return np.asarray(explanation.series_size if size else explanation.series)
    return (explanation.others_size if size else explanation.others)[source]


def _kept(explanation: FoldExplanation) -> NDArray[np.bool_]:
    """(map,) those that count."""
    if explanation.converged is not None:
        return explanation.converged
    return np.ones(1, dtype=bool)


def _by_owner(maps: NDArray[Any], owner: Sequence[int]) -> Floats:
    """Average the maps of the same person, (map, place) -> (person, place)."""
    owners = np.array(owner)
    return np.array([mean_there(maps[owners == each]) for each in dict.fromkeys(owner)])


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
    share: Floats | None = None
    """(shuffle, stream) mean share of each stream, of networks with several"""
    others: Mapping[str, Floats] = field(default_factory=dict)
    """By modality of another package, (shuffle, place)"""

    def of(self, source: str) -> Floats | None:
        """(shuffle, place) of a source; None without."""
        found: Floats | None = getattr(self, source) if source in SOURCES else None
        return self.others.get(source) if found is None else found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is there, by name."""
        own = {name: getattr(self, name) for name in ("n", *_MAPS)}
        others = {f"{_OTHER}{name}": each for name, each in self.others.items()}
        return {name: each for name, each in own.items() if each is not None} | others


def restore_null_maps(arrays: Mapping[str, NDArray[Any]]) -> NullMaps:
    """Rebuild from `NullMaps.arrays`."""
    others = {
        name.removeprefix(_OTHER): each for name, each in arrays.items() if name.startswith(_OTHER)
    }
    own: dict[str, Any] = {name: arrays.get(name) for name in _MAPS}
    return NullMaps(arrays["n"], **own, others=others)


_MAPS = ("series", "connectivity", "edges", "share")
_OTHER = "other."
"""What the names of arrays of other modalities begin with."""


def null_maps(explanations: Iterable[FoldExplanation]) -> NullMaps:
    """Average the maps of one fold over its people, one explanation per shuffle."""
    found = [_means(each) for each in explanations]
    joined = {
        name: np.stack([each[name] for each in found]) for name in (found[0] if found else {})
    }
    return restore_null_maps({"n": np.zeros(0)} | joined)


def _means(explanation: FoldExplanation) -> dict[str, NDArray[Any]]:
    first = next(iter(explanation.others_size.values()), None)
    maps = next(
        (e for e in (explanation.edges, explanation.series_size, first) if e is not None), None
    )
    n_maps = 0 if maps is None else len(maps)
    kept = np.ones(n_maps, dtype=bool)
    if explanation.converged is not None:
        kept = explanation.converged
    found: dict[str, NDArray[Any]] = {"n": np.array(float(kept.sum()))}
    if explanation.streams is not None:
        found["share"] = mean_there(share_of_streams(explanation))
        if not n_maps:
            found["n"] = np.array(float(len(explanation.streams)))
    if explanation.series_size is not None:
        found["series"] = mean_there(explanation.series_size[kept])
    if explanation.edges is not None:
        size = np.abs(explanation.edges[kept])
        upper = np.triu_indices(size.shape[1], k=1)
        found["connectivity"] = mean_there(strengths(size))
        found["edges"] = mean_there(size)[upper].astype(np.float32)
    for name, each in explanation.others_size.items():
        found[f"{_OTHER}{name}"] = mean_there(each[kept])
    return found


def join_nulls(folds: Sequence[NullMaps]) -> NullMaps | None:
    """Average the same shuffles over folds, weighted by people; None without folds or shuffles."""
    count = min((len(each.n) for each in folds), default=0)
    if not count:
        return None
    n = np.stack([each.n[:count] for each in folds])
    joined: dict[str, NDArray[Any]] = {"n": n.sum(axis=0)}
    arrays = [each.arrays() for each in folds]
    for name in arrays[0]:
        if name != "n" and all(name in each for each in arrays):
            joined[name] = _weighted(np.stack([each[name][:count] for each in arrays]), n)
    return restore_null_maps(joined)


def _weighted(maps: NDArray[Any], n: Floats) -> Floats:
    """(fold, shuffle, place), (fold, shuffle) -> (shuffle, place)."""
    weight = np.where(np.isnan(maps), 0.0, n[:, :, None])
    total = (np.nan_to_num(maps) * weight).sum(axis=0)
    whole = weight.sum(axis=0)
    mean: Floats = np.divide(total, whole, out=np.full(total.shape, np.nan), where=whole > 0)
    return mean


def about_maps(
    folds: Sequence[FoldExplanation], null: NullMaps | None, mapped: Sequence[str]
) -> dict[str, Any]:
    """Describe the maps of one model, ready for JSON; None for values that are not defined.

    ``NoMaps`` gives the reason for none, ``WithoutMap`` the sources of zeros beside one with
    values.
    """
    lacking = [
        source
        for source in sources_of(folds)
        if source not in mapped and any(_has_source(each, source) for each in folds)
    ]
    return {
        "Method": folds[0].method,
        "Folds": len(folds),
        **_convergence(folds),
        **_agreement(folds),
        "Stability": {source: _stability(folds, source) for source in mapped},
        "NullMaps": 0 if null is None else len(null.n),
        **({"WithoutMap": lacking} if mapped and lacking else {}),
        **({} if mapped else {"NoMaps": _why_none(folds)}),
    }


def _why_none(folds: Sequence[FoldExplanation]) -> str:
    there = [each for each in folds if each.converged is not None]
    if there and not np.isinf(np.concatenate([np.asarray(e.delta) for e in there])).all():
        return _INCOMPLETE
    return _SAME


def _convergence(folds: Sequence[FoldExplanation]) -> dict[str, Any]:
    """Summarise the integrals' completeness; empty for models without integrals."""
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


def _agreement(folds: Sequence[FoldExplanation]) -> dict[str, Any]:
    """Average over folds, and count the people that were compared."""
    names = dict.fromkeys(name for each in folds for name in each.agreement)
    means = {
        name: _known(mean_there(np.array([each.agreement.get(name, np.nan) for each in folds])))
        for name in names
    }
    return {"Agreement": means, "AgreementPeople": sum(each.agreement_n for each in folds)}


def _stability(folds: Sequence[FoldExplanation], source: str) -> dict[str, float | None]:
    maps = [collect([each], source) for each in folds]
    spearman, jaccard = stability([mean_there(each.size) for each in maps if each is not None])
    return {"Spearman": _known(spearman), "TopDecileJaccard": _known(jaccard)}


def _known(value: Any) -> float | None:
    """Make a number ready for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None

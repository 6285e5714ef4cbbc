"""Maps of many participants as tables: parcels, networks, largest edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmmtc_bidsapp.learning.explanation.cohort_maps import (
    NullMaps,
    PersonMaps,
    about_maps,
    collect,
    join_nulls,
    sources_of,
)
from fmmtc_bidsapp.learning.explanation.map_values import mean_there
from fmmtc_bidsapp.learning.metrics.intervals import bootstrap_interval
from fmmtc_bidsapp.learning.seeds import BOOTSTRAP, derive_seed
from fmmtc_bidsapp.records import Floats, FoldExplanation, Ints, MapRow
from fmmtc_bidsapp.stats import bootstrap_weights

__all__ = ["Places", "summarise"]

_LARGEST_EDGES = 100
_LEAST_NULLS = 10
"""Fewer have no SD to measure with."""
_UNKNOWN = "n/a"


@dataclass(frozen=True, eq=False)
class Places:
    """Parcels in the order of the maps with their groups, or places of another modality."""

    names: Sequence[str]
    index: Sequence[int | None]
    """In the atlas; None of places that are no parcels."""
    groups: Mapping[str, Sequence[str]]
    """(parcel,) name of its group, by level: ``network``, ``subnetwork``, ``hemisphere``; ``n/a``
    where it is in none."""
    level: str = "parcel"
    """What a place is."""

    def rows(self) -> list[tuple[str, str, int | None, Ints]]:
        """Return level, name, index and parcels of every row: parcels, then groups."""
        parcels = [
            (self.level, name, None if index is None else int(index), np.array([i]))
            for i, (name, index) in enumerate(zip(self.names, self.index, strict=True))
        ]
        groups = [
            (level, name, None, np.flatnonzero(np.array(members) == name))
            for level, members in self.groups.items()
            for name in dict.fromkeys(members)
            if name != _UNKNOWN
        ]
        return [*parcels, *groups]


def summarise(
    folds: Sequence[FoldExplanation],
    nulls: Sequence[NullMaps],
    places: Places,
    *,
    seed: int,
    n_bootstrap: int,
    others: Mapping[str, Places] | None = None,
) -> tuple[tuple[MapRow, ...], dict[str, Any]]:
    """Summarise the maps of one model as rows, and describe them ready for JSON.

    Rows by source: parcels, groups, and of connectivity the 100 largest edges; none of a source
    of zeros. `nulls` are one per fold, with the same shuffles in order; `others` the places of
    other packages' modalities; intervals are over `n_bootstrap` draws of people.
    """
    null = join_nulls(nulls)
    rows: list[MapRow] = []
    mapped: list[str] = []
    for source in sources_of(folds):
        maps = collect(folds, source)
        if maps is not None:
            mapped.append(source)
            own = (others or {}).get(source, places)
            rows += _rows(folds[0].model, source, maps, null, own, seed, n_bootstrap)
    return tuple(rows), about_maps(folds, null, mapped)


def _rows(
    model: str,
    source: str,
    maps: PersonMaps,
    null: NullMaps | None,
    places: Places,
    seed: int,
    n_bootstrap: int,
) -> list[MapRow]:
    rng = np.random.default_rng(derive_seed(seed, BOOTSTRAP))
    weights = None
    if maps.are_people and len(maps.size) > 1:
        everyone = np.zeros(len(maps.size), dtype=np.int64)
        weights = bootstrap_weights(everyone, n_bootstrap, rng)
    null_map = None if null is None else null.of(source)
    members = [own for *_, own in places.rows()]
    n_parcels = len(places.names)
    mean = mean_there(maps.size)
    drawn = None if weights is None else mean_there(maps.size, weights=weights)

    def whole(own: Floats) -> Floats:
        return _shares(own, own, members, n_parcels)

    found = _Figures(
        attribution=whole(mean[None])[0],
        draws=None if drawn is None else whole(drawn),
        nulls=None if null_map is None else whole(null_map),
        people=None if maps.signed is None else _group_means(maps.signed, members),
        signed=None
        if maps.signed is None
        else _shares(mean_there(maps.signed)[None], mean[None], members, n_parcels)[0],
        are_people=maps.are_people,
    )
    rows = [
        MapRow(model, source, level, name, index, None, *found.at(i))
        for i, (level, name, index, _) in enumerate(places.rows())
    ]
    if maps.edge_size is None:
        return rows
    return [*rows, *_edge_rows(model, source, maps, null, places, weights, mean, drawn)]


@dataclass(frozen=True, eq=False)
class _Figures:
    """Numbers of all rows of one table; None where not defined."""

    attribution: Floats
    """(place,)"""
    draws: Floats | None
    """(draw, place)"""
    nulls: Floats | None
    """(shuffle, place)"""
    people: Floats | None
    """(person, place) signed"""
    signed: Floats | None
    """(place,)"""
    are_people: bool

    def at(self, place: int) -> tuple[float, float, float, float, float, float]:
        """Attribution, signed, low, high, sign consistency and z, as in `MapRow`."""
        nan = float("nan")
        own = float(self.attribution[place])
        low, high = (nan, nan) if self.draws is None else bootstrap_interval(self.draws[:, place])
        signed = nan if self.signed is None else float(self.signed[place])
        consistency, z = nan, nan
        if self.people is not None and self.are_people:
            consistency = _consistency(self.people[:, place], signed)
        if self.nulls is not None:
            z = _z(own, self.nulls[:, place])
        return own, signed, low, high, consistency, z


def _edge_rows(
    model: str,
    source: str,
    maps: PersonMaps,
    null: NullMaps | None,
    places: Places,
    weights: Floats | None,
    parcels: Floats,
    drawn: Floats | None,
) -> list[MapRow]:
    """Rows of the largest edges, as shares of all edges."""
    size, signed = np.asarray(maps.edge_size), np.asarray(maps.edge_signed)
    mean = mean_there(size)
    largest = np.argsort(-np.where(np.isnan(mean), -np.inf, mean), kind="stable")[:_LARGEST_EDGES]
    largest = largest[~np.isnan(mean[largest])]
    # A parcel's map is half the sum of its edges, so all parcels add up to all edges.
    total = np.nansum(parcels)
    null_edges, null_parcels = (None, None) if null is None else (null.edges, null.connectivity)
    draws = nulls = None
    if weights is not None and drawn is not None:
        draws = _ratio(
            mean_there(size[:, largest], weights=weights), np.nansum(drawn, axis=1)[:, None]
        )
    if null_edges is not None and null_parcels is not None:
        nulls = _ratio(null_edges[:, largest], np.nansum(null_parcels, axis=1)[:, None])
    found = _Figures(
        attribution=_ratio(mean[largest], total),
        draws=draws,
        nulls=nulls,
        people=signed[:, largest],
        signed=_ratio(mean_there(signed[:, largest]), total),
        are_people=maps.are_people,
    )
    first, second = (each[largest] for each in np.triu_indices(len(places.names), k=1))
    return [
        MapRow(
            model,
            source,
            "edge",
            f"{places.names[a]} – {places.names[b]}",
            places.index[a],
            places.index[b],
            *found.at(i),
        )
        for i, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True))
    ]


def _shares(maps: Floats, whole: Floats, members: Sequence[Ints], n_parcels: int) -> Floats:
    """Express maps by the size of `whole`, both (map, parcel) -> (map, place).

    A parcel is a share of the total; a group the mean over its parcels, over that of all parcels.
    """
    total = np.nansum(whole, axis=1)[:, None]
    average = mean_there(whole, axis=1)[:, None]
    return np.hstack(
        [_ratio(maps, total), _ratio(_group_means(maps, members[n_parcels:]), average)]
    )


def _group_means(maps: Floats, members: Sequence[Ints]) -> Floats:
    """(map, parcel) -> (map, group)."""
    if not members:
        return np.zeros((len(maps), 0))
    return np.stack([mean_there(maps[:, own], axis=1) for own in members], axis=1)


def _ratio(values: Any, total: Any) -> Floats:
    """Divide; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(values, dtype=np.float64) / total
    return np.where(np.isfinite(ratio), ratio, np.nan)


def _consistency(people: Floats, signed: float) -> float:
    """Share of people with the sign of the mean; NaN where it has none."""
    known = people[~np.isnan(people)]
    if not len(known) or np.isnan(signed) or signed == 0:
        return float("nan")
    return float((np.sign(known) == np.sign(signed)).mean())


def _z(value: float, nulls: Floats) -> float:
    """Distance from the mean of the null maps in their SDs."""
    known = nulls[~np.isnan(nulls)]
    if len(known) < _LEAST_NULLS or np.ptp(known) == 0:
        return float("nan")
    return float((value - known.mean()) / known.std(ddof=1))

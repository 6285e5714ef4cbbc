"""The attribution map of one participant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.explanation.attribution_baselines import Starts
from fmmtc_bidsapp.learning.explanation.forward import Arrays, Function, Route, routes_of
from fmmtc_bidsapp.learning.explanation.integrated_gradients import (
    TOLERANCE,
    Integral,
    Term,
    integrate,
    relative,
)
from fmmtc_bidsapp.learning.explanation.map_values import over_time, strengths
from fmmtc_bidsapp.learning.explanation.model_parts import Branches
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.records import Examples, Floats, Fold

__all__ = ["ParcelMap", "TracedNetwork"]

_DRAWS = 3
"""Surrogates a person; one where each takes a minute of an encoder."""
_SURROGATE = 0


@dataclass(frozen=True, eq=False)
class ParcelMap:
    """Of one person."""

    series: Floats | None
    """(parcel,)"""
    series_size: Floats | None
    edges: NDArray[np.float32] | None
    """(parcel, parcel)"""
    delta: float
    """The largest over the baselines that the map is a mean over."""
    steps: int
    others: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)
    """By modality of another package, (place,) signed and absolute."""

    @property
    def has_converged(self) -> bool:
        """Whether the integral from every baseline is complete."""
        return self.delta <= TOLERANCE

    @property
    def parcels(self) -> Floats:
        """Sum of |attribution| in logits over series and connectivity, (parcel,).

        Of a network that reads neither, (place,) of all other modalities.
        """
        parts = [] if self.series_size is None else [self.series_size]
        if self.edges is not None:
            parts.append(strengths(np.abs(self.edges)))
        if not parts:
            return np.concatenate([size for _, size in self.others.values()])
        total: Floats = np.sum(parts, axis=0)
        return total


class TracedNetwork:
    """A fitted network as a function of series and connectivity."""

    def __init__(
        self,
        branches: Branches,
        examples: Examples,
        fold: Fold,
        encoder: Encoder | None,
        seed: int,
    ) -> None:
        self.branches = branches
        self.routes = routes_of(branches.source, examples, encoder)
        self.seed = seed
        self.n_draws = _DRAWS if all(each.at_once > 1 for each in self.routes) else 1
        sources = tuple(each.source for each in self.routes)
        own = derive_seed(seed, _SURROGATE)
        self.starts = Starts(examples, fold.train, sources, own)

    @torch.no_grad()
    def logit(self, row: int) -> float:
        """Return the logit that is explained."""
        person = self.starts.person(row)
        reads = self._functions(row, person)
        features = [read(each) for read, each in zip(reads, self._points(person), strict=True)]
        return float(self.branches.join(*features))

    def explain(self, row: int, how: str, n_draws: int | None = None) -> ParcelMap:
        """Integrate gradients from one baseline, or from several and average."""
        person = self.starts.person(row)
        found = [
            integrate(self._terms(row, person, each))
            for each in self.starts.of(how, row, n_draws or self.n_draws)
        ]
        return self._map(person, found)

    def _terms(self, row: int, person: Arrays, baseline: Arrays) -> list[Term]:
        """Cut the logit into a sum where it is one, so that each stream has its own steps."""
        reads, points = self._functions(row, person), self._points(person)
        begin = self._points(baseline)
        if not self.branches.is_additive:
            at_once = min(each.at_once for each in self.routes)
            most = min(each.most_steps for each in self.routes)
            return [Term(self._whole(reads), points, begin, at_once, most)]
        with torch.no_grad():
            features = [read(each) for read, each in zip(reads, points, strict=True)]
        return [
            Term(
                self._alone(i, reads[i], features),
                (points[i],),
                (begin[i],),
                route.at_once,
                route.most_steps,
            )
            for i, route in enumerate(self.routes)
        ]

    def _whole(self, reads: Sequence[Function]) -> Callable[..., torch.Tensor]:
        def whole(*points: torch.Tensor) -> torch.Tensor:
            return self.branches.join(*(f(each) for f, each in zip(reads, points, strict=True)))

        return whole

    def _alone(self, i: int, read: Function, features: Sequence[torch.Tensor]) -> Function:
        """Change one stream and keep the features of the others."""

        def alone(point: torch.Tensor) -> torch.Tensor:
            others = [each.expand(len(point), -1) for each in features]
            return self.branches.join(*others[:i], read(point), *others[i + 1 :])

        return alone

    def _functions(self, row: int, person: Arrays) -> list[Function]:
        """Of each stream: the point where attributions are taken to features."""
        return [
            self._reader(route, encode, row, person)
            for route, encode in zip(self.routes, self.branches.encode, strict=True)
        ]

    def _reader(self, route: Route, encode: Function, row: int, person: Arrays) -> Function:
        lead = route.lead(row, person)
        own = route.prepare(person)
        changes = torch.as_tensor(self._there(route, person), device=own.device)
        # What is missing stays so on the whole way.
        return lambda point: encode(lead(torch.where(changes, point, own)))

    def _there(self, route: Route, person: Arrays) -> NDArray[np.bool_]:
        # Turning twice is not turning at all.
        return np.ascontiguousarray(route.turn(route.changes(person)))

    def _points(self, arrays: Arrays) -> tuple[torch.Tensor, ...]:
        return tuple(each.prepare(arrays).nan_to_num() for each in self.routes)

    def _map(self, person: Arrays, found: Sequence[Integral]) -> ParcelMap:
        parts: dict[str, NDArray[Any]] = {}
        for i, route in enumerate(self.routes):
            own = [each.attributions[i][0].double().cpu().numpy() for each in found]
            parts[route.source] = np.where(
                route.changes(person), route.turn(np.mean(own, axis=0)), np.nan
            )
        series, edges = parts.get("series"), parts.get("fc")
        signed, size = (None, None) if series is None else over_time(series)
        return ParcelMap(
            series=signed,
            series_size=size,
            edges=None if edges is None else (edges + edges.T).astype(np.float32),
            # Misses of several baselines may cancel in the mean.
            delta=max(relative(each.error, each.difference) for each in found),
            steps=max(each.steps for each in found),
            others={
                name: over_time(each.reshape(len(each), -1))
                for name, each in parts.items()
                if name not in ("series", "fc")
            },
        )

"""Integrated gradients of a network, back to parcels and edges, for the people of a fold.

The explained logit is of the first window and the first token order, the predicted one of all.
`FoldExplanation.gap` is the difference between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.explanation.attribution_baselines import BASELINES, FoldBaselines
from fmmtc_bidsapp.learning.explanation.forward import Arrays, Function, Route, routes_of
from fmmtc_bidsapp.learning.explanation.integrated_gradients import (
    TOLERANCE,
    Integral,
    Term,
    integrate,
    relative,
)
from fmmtc_bidsapp.learning.explanation.map_values import mean_there, over_time, strengths
from fmmtc_bidsapp.learning.explanation.model_parts import Branches, branches_of
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.options import ExplainOptions
from fmmtc_bidsapp.records import Examples, Floats, Fold, FoldExplanation
from fmmtc_bidsapp.stats import rank_correlation

__all__ = ["METHOD", "ParcelMap", "TracedNetwork", "attribute", "can_attribute"]

METHOD = "integrated gradients"

_COMPARED = 3
"""People of a fold on whom the other baselines are tried: the first whose map converged."""

_NOTHING = "it reads no brain activity, so it has no map"
_NO_GRADIENT = "it has neither gradients nor linear weights, so it has no map"
_OF_FEATURES = (
    "its weights are of encoder features, not of parcels; --network brainlm is linear as well, and "
    "is mapped back through the encoder"
)
_NO_MAP: Mapping[str, str] = {
    **dict.fromkeys(("dummy", "covariates", "motion", "acquisition"), _NOTHING),
    **{
        f"{head}-{features}": _NO_GRADIENT
        for head in ("knn", "xgboost")
        for features in ("ts", "fc", "pca-ts", "pca-fc", "encoder", "fused")
    },
    **dict.fromkeys(("svm-encoder", "ridge-encoder"), _OF_FEATURES),
}

_DRAWS = 3
"""Surrogates a person; one where each takes a minute of an encoder."""
_SURROGATE = 0


def can_attribute(name: str) -> str:
    """Return why a model (a key of `MODELS`) has no map of parcels; empty if it has one."""
    return _NO_MAP.get(name, "")


def attribute(
    model: FittedModel,
    examples: Examples,
    fold: Fold,
    options: ExplainOptions,
    *,
    encoder: Encoder | None,
    seed: int,
    compare: bool = True,
) -> FoldExplanation:
    """Map a network on the test people of its fold, in float32 on the network's device.

    `encoder` made the features that the network reads, if any; `compare` tries the other
    baselines on three people. InputError without series for surrogates or the encoder.
    """
    branches = branches_of(model.fitted)
    if branches is None:
        raise ValueError(f"{model.name}: {can_attribute(model.name) or 'it is no network'}.")
    traced = TracedNetwork(branches, examples, fold, encoder, seed)
    people = [traced.explain(row, options.explain_baseline) for row in fold.test.tolist()]
    explained = np.array([traced.logit(row) for row in fold.test.tolist()])
    gap = np.abs(explained - model.logits(examples.take(fold.test)))
    n, agreement = 0, dict[str, float]()
    if compare:
        n, agreement = _agreement(traced, options.explain_baseline, fold, people)
    return FoldExplanation(
        model=model.name,
        fold=fold,
        method=METHOD,
        series=_stack([each.series for each in people]),
        series_size=_stack([each.series_size for each in people]),
        edges=_stack([each.edges for each in people]),
        others={
            name: np.stack([each.others[name][0] for each in people]) for name in people[0].others
        },
        others_size={
            name: np.stack([each.others[name][1] for each in people]) for name in people[0].others
        },
        delta=np.array([each.delta for each in people]),
        steps=np.array([each.steps for each in people], dtype=np.int64),
        converged=np.array([each.has_converged for each in people]),
        gap=gap,
        agreement=agreement,
        agreement_n=n,
    )


def _stack(maps: Sequence[NDArray[Any] | None]) -> Any:
    there = [each for each in maps if each is not None]
    return np.stack(there) if there else None


def _agreement(
    traced: TracedNetwork, how: str, fold: Fold, people: Sequence[ParcelMap]
) -> tuple[int, dict[str, float]]:
    """Correlate the other baselines' maps of a few people, with one surrogate each.

    Always of the same people: those whose maps from every baseline converged.
    """
    others = [name for name in BASELINES if name != how]
    if traced.baselines.examples.series is None:
        others = [name for name in others if name != "surrogate"]
    own = zip(fold.test.tolist(), people, strict=True)
    tried = [
        {how: each} | {name: traced.explain(row, name, 1) for name in others}
        for row, each in [pair for pair in own if pair[1].has_converged][:_COMPARED]
    ]
    kept = [maps for maps in tried if all(each.has_converged for each in maps.values())]
    if not kept:
        return 0, dict.fromkeys(others, float("nan"))
    mean = {name: _mean_map([maps[name] for maps in kept]) for name in (how, *others)}
    return len(kept), {name: rank_correlation(mean[how], mean[name]) for name in others}


def _mean_map(people: Sequence[ParcelMap]) -> Floats:
    """(parcel,) over those who have the parcel."""
    return mean_there(np.array([each.parcels for each in people]))


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
        self.baselines = FoldBaselines(examples, fold.train, sources, own)

    @torch.no_grad()
    def logit(self, row: int) -> float:
        """Return the logit that is explained."""
        person = self.baselines.person(row)
        reads = self._functions(person)
        features = [read(each) for read, each in zip(reads, self._points(person), strict=True)]
        return float(self.branches.join(*features))

    def explain(self, row: int, how: str, n_draws: int | None = None) -> ParcelMap:
        """Integrate gradients from one baseline, or from several and average."""
        person = self.baselines.person(row)
        found = [
            integrate(self._terms(person, each))
            for each in self.baselines.of(how, row, n_draws or self.n_draws)
        ]
        return self._map(person, found)

    def _terms(self, person: Arrays, baseline: Arrays) -> list[Term]:
        """Cut the logit into a sum where it is one, so that each stream has its own steps."""
        reads, points = self._functions(person), self._points(person)
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

    def _functions(self, person: Arrays) -> list[Function]:
        """Of each stream: the point where attributions are taken to features."""
        return [
            self._reader(route, encode, person)
            for route, encode in zip(self.routes, self.branches.encode, strict=True)
        ]

    def _reader(self, route: Route, encode: Function, person: Arrays) -> Function:
        lead = route.lead(person)
        own = route.prepare(person)
        # Turning twice is the identity.
        there = np.ascontiguousarray(route.turn(route.changes(person)))
        changes = torch.as_tensor(there, device=own.device)
        # What is missing stays so on the whole way.
        return lambda point: encode(lead(torch.where(changes, point, own)))

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

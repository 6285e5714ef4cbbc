"""Integrated gradients of a network, back to parcels and edges.

What is explained stands for what predicts: of the windows the first, and of the token orders the
first that people were encoded with. `FoldExplanation.gap` says how far the two lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.explanation.attribution_baselines import BASELINES
from fmmtc_bidsapp.learning.explanation.map_values import mean_there
from fmmtc_bidsapp.learning.explanation.model_parts import branches_of
from fmmtc_bidsapp.learning.explanation.person_map import ParcelMap, TracedNetwork
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.options import ExplainOptions
from fmmtc_bidsapp.records import Examples, Floats, Fold, FoldExplanation
from fmmtc_bidsapp.stats import rank_correlation

__all__ = ["METHOD", "attribute", "can_attribute"]

METHOD = "integrated gradients"

_COMPARED = 3
"""People of a fold on whom the other baselines are tried: the first whose map converged."""

_NOTHING = "it reads nothing of the brain's activity, so it has no map"
_NO_GRADIENT = "it has neither gradients nor weights to make a map of"
_OF_FEATURES = (
    "it is linear in the encoder's features, which are no parcels; --network brainlm is as well, "
    "and is mapped back through the encoder"
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
    if traced.starts.examples.series is None:
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

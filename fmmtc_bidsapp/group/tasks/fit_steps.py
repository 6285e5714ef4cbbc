"""The steps of an analysis, one node each; completed steps are reused.

Models of one training share a step. One step holds all shuffled outcomes of models without epochs,
which share all that is computed without outcomes; networks share nothing, so their steps hold a
few, and little is lost with a killed run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp.engine import node_name
from fmmtc_bidsapp.learning.estimators.models import MODELS, families
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.learning.explanation.explain import can_attribute
from fmmtc_bidsapp.options import ExplainOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Fold

__all__ = [
    "EXPLAIN",
    "FINAL",
    "FIT",
    "NULL_MAPS",
    "ONLY_PARCELS",
    "PUBLISHED",
    "SHUFFLES",
    "ExplainStep",
    "Kept",
    "Step",
    "list_explain_steps",
    "list_steps",
    "why_no_step",
]

FIT, SHUFFLES, PUBLISHED, FINAL = "fit", "shuffles", "published", "final"
"""The procedure on a fold; with shuffled outcomes; the published protocol; the procedure on
everyone."""

EXPLAIN, NULL_MAPS = "explain", "null_maps"
"""Explain a fitted model on its test people; explain models of shuffled outcomes."""

ONLY_PARCELS = "maps of a network are computed with --explain parcels"

_SHUFFLES_AT_ONCE = 5
"""Shuffles of a network in one step."""


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the graph of fits."""

    kind: str
    models: tuple[str, ...]
    fold: Fold | None = None
    """None for everyone."""
    training: int = 0
    """Number of the training, of ``--seeds``."""
    first: int = 0
    """Number of the first shuffle."""
    shuffles: int = 0
    keep: tuple[str, ...] = ()
    """Models whose weights are kept for explanations."""

    @property
    def is_network(self) -> bool:
        """Whether it trains by epochs."""
        return _is_network(self.models)

    @property
    def family(self) -> str:
        """Return the network that the models share, or the one model."""
        return MODELS[self.models[0]].family or self.models[0]

    @property
    def name(self) -> str:
        """Return the name of the node, whatever other models of the family it has."""
        place = "" if self.fold is None else f"_repeat_{self.fold.repeat}_fold_{self.fold.fold}"
        part = f"_from_{self.first}" if self.kind == SHUFFLES else f"_training_{self.training}"
        return node_name(f"{self.kind}_{self.family}{place}{part}")


def list_steps(
    plan: GroupPlan,
    models: Sequence[str],
    folds: Sequence[Fold],
    *,
    device: str,
    final: bool,
    permute: bool,
    keep: Sequence[str] = (),
) -> list[Step]:
    """Return everything that is fitted; folds are the outer folds of all repeats.

    `device` decides the number of shuffles of ``auto``; with `final` the main model is also fitted
    on everyone; with `permute` outcomes are shuffled as the plan says; of the models in `keep` the
    first training on every fold of the first repeat is kept.
    """
    whole = [Step(FINAL, (models[0],), None, k) for k in _trainings(plan, models[:1])]
    steps = whole if final else []
    for family in families(models):
        for fold in folds:
            kept = _kept(family, keep) if fold.repeat == folds[0].repeat else ()
            steps += [
                Step(FIT, family, fold, k, keep=() if k else kept) for k in _trainings(plan, family)
            ]
            steps += _published(plan, family, fold)
            steps += _shuffles(plan, family, fold, device) if permute else []
    return steps


def _kept(family: Sequence[str], keep: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in family if name in keep)


def _trainings(plan: GroupPlan, models: Sequence[str]) -> range:
    return range(plan.train.seeds if _is_network(models) else 1)


def _is_network(models: Sequence[str]) -> bool:
    return any(MODELS[name].is_network for name in models)


def _published(plan: GroupPlan, family: tuple[str, ...], fold: Fold) -> list[Step]:
    wanted = plan.protocol.selection != "nested" and _is_network(family)
    return [Step(PUBLISHED, family, fold)] if wanted else []


def _shuffles(plan: GroupPlan, family: tuple[str, ...], fold: Fold, device: str) -> list[Step]:
    is_network = _is_network(family)
    total = plan.protocol.n_permutations(is_network=is_network, device=device)
    size = _SHUFFLES_AT_ONCE if is_network else max(total, 1)
    return [
        Step(SHUFFLES, family, fold, first=first, shuffles=min(size, total - first))
        for first in range(0, total, size)
    ]


@dataclass(frozen=True, eq=False)
class Kept:
    """A model as it was fitted on one fold."""

    model: str
    fold: Fold
    folder: Path
    """Folder that `fmmtc_bidsapp.group.bundle.fitted.save_bundle_model` wrote to."""


@dataclass(frozen=True, eq=False)
class ExplainStep:
    """One node of the graph of explanations."""

    kind: str
    kept: Kept
    first: int = 0
    """Number of the first shuffle, of null maps."""
    maps: int = 0
    """Shuffles, of null maps."""

    @property
    def is_network(self) -> bool:
        """Whether the model trains by epochs."""
        return MODELS[self.kept.model].is_network

    @property
    def name(self) -> str:
        """Of the node."""
        fold = self.kept.fold
        part = f"_from_{self.first}" if self.kind == NULL_MAPS else ""
        return node_name(
            f"{self.kind}_{self.kept.model}_repeat_{fold.repeat}_fold_{fold.fold}{part}"
        )


def why_no_step(model: str, options: ExplainOptions) -> str:
    """Return why a model has no explanation, empty if it has: a map, or shares of two streams."""
    why, family = can_attribute(model), MODELS[model].family
    if why or not MODELS[model].is_network or options.explain == "parcels":
        return why
    n_streams = 1 if family is None else len(NETWORKS[family].streams)
    return ONLY_PARCELS if n_streams == 1 else ""


def list_explain_steps(
    plan: GroupPlan, kept: Sequence[Kept], *, device: str, null_maps: bool
) -> list[ExplainStep]:
    """Return everything that is explained; `null_maps` says whether outcomes can be shuffled.

    `device` decides the number of null maps of ``auto``.
    """
    steps = [ExplainStep(EXPLAIN, each) for each in kept]
    for each in kept:
        is_network = MODELS[each.model].is_network
        # Null maps of linear models cost nothing. For a network with two streams they also say
        # which shares chance gives, so they are computed without maps too.
        has_map = not can_attribute(each.model)
        if not (null_maps and has_map):
            continue
        total = plan.explain.n_null_maps(is_network=is_network, device=device)
        # A null map of a network takes a training and the attribution of a test fold.
        size = 1 if is_network else max(total, 1)
        steps += [
            ExplainStep(NULL_MAPS, each, first, min(size, total - first))
            for first in range(0, total, size)
        ]
    return steps

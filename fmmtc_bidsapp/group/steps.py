"""What an analysis fits, cut into steps: each is a node, and a killed run repeats none that ended.

Models that one training serves share a step. A step of shuffled outcomes takes all of them where
its models have no epochs, for they share what is made without outcomes; networks, which share
nothing, take a few, so that little is lost with a killed run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fmmtc_bidsapp.engine import node_name
from fmmtc_bidsapp.learning.models import MODELS, families
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Fold

__all__ = ["FINAL", "FIT", "PUBLISHED", "SHUFFLES", "Step", "list_steps"]

FIT, SHUFFLES, PUBLISHED, FINAL = "fit", "shuffles", "published", "final"
"""The whole procedure on a fold; the same with shuffled outcomes; the published protocol on a fold;
the whole procedure on everyone."""

_SHUFFLES_AT_ONCE = 5
"""Of networks, in one step."""


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the graph of fits."""

    kind: str
    models: tuple[str, ...]
    fold: Fold | None = None
    """None for everyone."""
    training: int = 0
    """Which of the ``--seeds``."""
    first: int = 0
    """Number of the first shuffle."""
    shuffles: int = 0

    @property
    def is_network(self) -> bool:
        """Whether it trains by epochs."""
        return _is_network(self.models)

    @property
    def family(self) -> str:
        """Name of the network that they share, or of the one model."""
        return MODELS[self.models[0]].family or self.models[0]

    @property
    def name(self) -> str:
        """Of the node: the same with any more models of the family."""
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
) -> list[Step]:
    """List everything that is to be fitted.

    Parameters
    ----------
    plan
        Trainings of each network, shuffles, and the choice of the epoch.
    models
        Keys of `MODELS`, the main one first.
    folds
        Outer folds of all repeats.
    device
        As `check_device` names it; it decides how many shuffles ``auto`` means.
    final
        Whether the main model is also fitted on everyone.
    permute
        Whether outcomes are shuffled, where the plan says so.
    """
    whole = [Step(FINAL, (models[0],), None, k) for k in _trainings(plan, models[:1])]
    steps = whole if final else []
    for family in families(models):
        for fold in folds:
            steps += [Step(FIT, family, fold, k) for k in _trainings(plan, family)]
            steps += _published(plan, family, fold)
            steps += _shuffles(plan, family, fold, device) if permute else []
    return steps


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

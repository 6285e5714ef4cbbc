"""Performance by treatment arm, and differences between arms.

Response under any treatment is prognosis, not prediction of a drug's effect: a model that does as
well under placebo as under the drug knows who gets better, not whom the drug helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.metrics.intervals import Draws, bootstrap_interval, draw_people
from fmmtc_bidsapp.learning.metrics.predictions import pool
from fmmtc_bidsapp.learning.metrics.scores import METRICS, Metric
from fmmtc_bidsapp.learning.seeds import ARMS, derive_seed
from fmmtc_bidsapp.records import ArmDifference, ArmRow, Floats, FoldPredictions, Ints

__all__ = ["PROGNOSIS", "UNKNOWN_ARM", "evaluate_arms"]

PROGNOSIS = "response under any treatment is prognosis, not prediction of a drug's effect"
"""Printed beside these figures everywhere."""

UNKNOWN_ARM = "n/a"
"""Of people without a value in the table; they are in no arm."""

_SHOWN = ("auroc", "balanced_accuracy", "mcc", "brier")


@dataclass(frozen=True, eq=False)
class _Judged:
    """A metric of one arm, and its bootstrap draws."""

    value: float
    draws: Floats


def evaluate_arms(
    predictions: Sequence[FoldPredictions], y: Ints, arms: Sequence[str], draws: int, seed: int
) -> tuple[tuple[ArmRow, ...], tuple[ArmDifference, ...]]:
    """Evaluate out-of-fold predictions by arm, and the differences between arms.

    The people of an arm are too few within a fold, so they are pooled over the folds of a
    repeat (an AUROC counts the pairs of one fold); repeats are averaged. Bootstrap draws are
    within arms. NaN in an arm of one outcome.
    """
    levels = sorted(set(arms) - {UNKNOWN_ARM})
    arm = np.array([levels.index(each) if each in levels else len(levels) for each in arms])
    drawn = draw_people(y, draws, np.random.default_rng(derive_seed(seed, ARMS)), arm)
    rows: list[ArmRow] = []
    differences: list[ArmDifference] = []
    for model in dict.fromkeys(each.model for each in predictions):
        folds = [each for each in predictions if each.model == model]
        for name in _SHOWN:
            judged = [_judge(METRICS[name], folds, y, arm == i, drawn) for i in range(len(levels))]
            rows += [
                _row(model, name, level, each, y[arm == i])
                for i, (level, each) in enumerate(zip(levels, judged, strict=True))
            ]
            differences += [
                _difference(model, name, levels[i], levels[j], judged[i], judged[j])
                for i, j in combinations(range(len(levels)), 2)
            ]
    return tuple(rows), tuple(differences)


def _judge(
    metric: Metric,
    folds: Sequence[FoldPredictions],
    y: Ints,
    members: NDArray[np.bool_],
    drawn: Draws,
) -> _Judged:
    weights = metric.drawn(drawn)
    values, draws = [], []
    for repeat in sorted({each.fold.repeat for each in folds}):
        own = [each for each in folds if each.fold.repeat == repeat]
        tested = np.concatenate([each.fold.test for each in own])
        kept = members[tested]
        arm = pool(own, y).take(kept)
        values.append(metric.compute(arm, np.ones((1, int(kept.sum()))))[0])
        draws.append(metric.compute(arm, weights[:, tested[kept]]))
    return _Judged(float(np.mean(values)), np.mean(draws, axis=0))


def _row(model: str, metric: str, arm: str, judged: _Judged, y: Ints) -> ArmRow:
    low, high = bootstrap_interval(judged.draws)
    return ArmRow(model, metric, arm, len(y), int((y == 1).sum()), judged.value, low, high)


def _difference(
    model: str, metric: str, arm: str, other: str, one: _Judged, two: _Judged
) -> ArmDifference:
    low, high = bootstrap_interval(one.draws - two.draws)
    return ArmDifference(model, metric, arm, other, one.value - two.value, low, high)

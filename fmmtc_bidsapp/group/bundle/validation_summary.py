"""The summary of the cross-validation in a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmmtc_bidsapp.learning.metrics.predictions import PredictionRow
from fmmtc_bidsapp.records import Evaluation, PermutationTest
from fmmtc_bidsapp.records.verdict import untested_steps

__all__ = ["Evidence", "evidence_of"]

_BINS = 20
"""Bins of probabilities from 0 to 1: a shared bundle has counts, no single probabilities."""


@dataclass(frozen=True)
class Evidence:
    """Results of the cross-validated procedure that made a model."""

    verdict: str
    """Of `records.verdict.verdict_of_steps`: which step is reached, and which is not."""
    not_tested: str
    """Why it was not tested; empty if it was."""
    auroc: float | None
    auroc_low: float | None
    auroc_high: float | None
    """Mean over folds and repeats with its corrected 95 % interval."""
    p_adjusted: float | None
    n_permutations: int
    n_people: int
    n_positive: int
    threshold: str
    """The ``--threshold`` of the training."""
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    """(bin,) calibrated out-of-fold probabilities of people of either outcome, in bins of equal
    width from 0 to 1; each repeat counts."""
    auroc_bound: float | None = None
    """`MetricRow.bound`, if all folds are equal and there is no interval."""
    steps_not_tested: str = ""
    """Steps of the verdict that could not be tested, each with its reason."""
    n_predicted: int | None = None
    """People predicted out of fold; fewer than `n_people` if a fold failed."""
    made_by: tuple[str, ...] = ()
    """Programs that made the images, as `Origin.made_by`."""
    simulated: bool = False
    """Whether it was trained on simulated data."""


def evidence_of(
    evaluation: Evaluation, rows: Sequence[PredictionRow], about: Mapping[str, Any]
) -> Evidence:
    """Return the evidence of the main model from its out-of-fold rows; unknown figures are None."""
    main = about["MainModel"]
    auroc = next(
        each for each in evaluation.metrics if (each.model, each.metric) == (main, "auroc")
    )
    test = _test_of(evaluation, main)
    return Evidence(
        verdict=test.verdict,
        not_tested=test.not_tested,
        auroc=_known(auroc.mean),
        auroc_low=_known(auroc.mean_low),
        auroc_high=_known(auroc.mean_high),
        p_adjusted=_known(test.p_adjusted),
        n_permutations=test.n_permutations,
        n_people=about["N"],
        n_positive=about["NPositive"],
        threshold=about["Options"]["threshold"],
        positive=_counts([row.probability for row in rows if row.y_true == 1]),
        negative=_counts([row.probability for row in rows if row.y_true == 0]),
        auroc_bound=_known(auroc.bound),
        steps_not_tested=untested_steps(
            [(each.step, each.reason) for each in test.added if each.reached is None]
        ),
        n_predicted=test.n_people,
        made_by=tuple(about.get("InputGeneratedBy", ())),
        simulated=about.get("Simulated") is True,
    )


def _test_of(evaluation: Evaluation, model: str) -> PermutationTest:
    return next(each for each in evaluation.tests if each.model == model)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _counts(probabilities: Sequence[float]) -> tuple[int, ...]:
    counts, _ = np.histogram(probabilities, bins=_BINS, range=(0, 1))
    return tuple(int(each) for each in counts)

"""Performance of out-of-fold predictions, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import binomtest

from fmmtc_bidsapp.learning.evaluation.verdicts import verdict_sentence
from fmmtc_bidsapp.learning.metrics.curves import curves_of
from fmmtc_bidsapp.learning.metrics.intervals import (
    Draws,
    auroc_bound,
    auroc_half_width,
    bootstrap_interval,
    corrected_interval,
    draw_people,
)
from fmmtc_bidsapp.learning.metrics.predictions import before_calibration, fold_values, pool
from fmmtc_bidsapp.learning.metrics.scores import (
    EXTERNAL_METRICS,
    METRICS,
    Metric,
    Scored,
    calibration_errors_if_calibrated,
    probability_bins,
)
from fmmtc_bidsapp.learning.seeds import BOOTSTRAP, derive_seed
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import (
    CalibrationBin,
    Evaluation,
    Floats,
    FoldPredictions,
    Ints,
    MetricRow,
    PermutationTest,
)

__all__ = ["evaluate", "metric_rows"]

_SAME = 1e-12
"""Errors of the same outcomes, summed in another order."""


def evaluate(
    predictions: Sequence[FoldPredictions],
    y: Ints,
    options: EvaluationOptions,
    seed: int,
    tests: Sequence[PermutationTest] = (),
    names: Iterable[str] = tuple(METRICS),
) -> Evaluation:
    """Evaluate the out-of-fold predictions of all models, on the same bootstrap draws."""
    rng = np.random.default_rng(derive_seed(seed, BOOTSTRAP))
    draws = draw_people(y, options.bootstrap, rng)
    models = {each.model: _of_model(predictions, each.model) for each in predictions}
    half_width = auroc_half_width(int((y == 1).sum()), int((y == 0).sum()))
    return Evaluation(
        metrics=tuple(
            row for folds in models.values() for row in metric_rows(folds, y, draws, names)
        ),
        curves=tuple(
            curve for model, folds in models.items() for curve in curves_of(model, folds, y)
        ),
        calibration=tuple(
            point for model, folds in models.items() for point in _reliability(model, folds, y)
        ),
        verdict=verdict_sentence(tests, y, half_width),
        expected_half_width=half_width,
        tests=tuple(tests),
    )


def metric_rows(
    folds: Sequence[FoldPredictions], y: Ints, draws: Draws, names: Iterable[str]
) -> list[MetricRow]:
    """Evaluate the out-of-fold predictions of one model by the metrics in `names`.

    With one fold there is no interval of the mean. A metric that needs more people than one
    fold has a pooled value only, and that only with its interval.
    """
    return [_metric_row(name, folds, y, draws) for name in names]


def _of_model(predictions: Sequence[FoldPredictions], model: str) -> list[FoldPredictions]:
    chosen = [each for each in predictions if each.model == model]
    return sorted(chosen, key=lambda each: (each.fold.repeat, each.fold.fold))


def _metric_row(name: str, folds: Sequence[FoldPredictions], y: Ints, draws: Draws) -> MetricRow:
    metric = EXTERNAL_METRICS[name]
    values = fold_values(metric, folds, y)
    low, high = corrected_interval(
        values,
        n_train=float(np.mean([len(each.fold.train) for each in folds])),
        n_test=float(np.mean([len(each.fold.test) for each in folds])),
        n_repeats=len({each.fold.repeat for each in folds}),
    )
    known = values[~np.isnan(values)]
    pooled, drawn = _pooled(metric, folds, y, metric.drawn(draws))
    nan = float("nan")
    pooled_low, pooled_high = bootstrap_interval(drawn) if metric.has_interval else (nan, nan)
    # A slope of two dozen people without its interval would only mislead.
    is_shown = metric.within_fold or not metric.has_interval or pooled_low == pooled_low
    expected, p = (nan, nan) if metric.has_interval else _if_calibrated(folds, y, pooled, draws)
    return MetricRow(
        model=folds[0].model,
        metric=name,
        mean=float(known.mean()) if len(known) else nan,
        mean_low=max(low, metric.low) if low == low else low,
        mean_high=min(high, metric.high) if high == high else high,
        fold_sd=float(known.std(ddof=1)) if len(known) > 1 else nan,
        pooled=pooled if is_shown else nan,
        pooled_low=pooled_low,
        pooled_high=pooled_high,
        pooled_if_calibrated=expected,
        pooled_if_calibrated_p=p,
        bound=_bound(folds, values, y)
        if name == "auroc" and _equal(known, pooled_low, pooled_high)
        else nan,
    )


def _equal(values: Floats, low: float, high: float) -> bool:
    """Whether neither folds nor draws show any uncertainty of a value."""
    return len(values) > 0 and np.ptp(values) == 0 and (len(values) > 1 or low == high)


def _bound(folds: Sequence[FoldPredictions], values: Floats, y: Ints) -> float:
    first = [
        y[each.fold.test]
        for each, value in zip(folds, values, strict=True)
        if each.fold.repeat == folds[0].fold.repeat and not np.isnan(value)
    ]
    classes = [(int((own == 1).sum()), int((own == 0).sum())) for own in first]
    return auroc_bound(float(np.nanmean(values)), classes)


def _pooled(
    metric: Metric, folds: Sequence[FoldPredictions], y: Ints, weights: Floats
) -> tuple[float, Floats]:
    """Metric of all folds of a repeat together, mean over repeats: value and (draw,) values."""
    values, draws = [], []
    for repeat in sorted({each.fold.repeat for each in folds}):
        members = [each for each in folds if each.fold.repeat == repeat]
        scored = pool(members, y)
        rows = np.concatenate([each.fold.test for each in members])
        values.append(metric.compute(scored, np.ones((1, len(rows))))[0])
        draws.append(metric.compute(scored, weights[:, rows]))
    return float(np.mean(values)), np.mean(draws, axis=0)


def _if_calibrated(
    folds: Sequence[FoldPredictions], y: Ints, error: float, draws: Draws
) -> tuple[float, float]:
    """Return the calibration error expected of a calibrated model, and the p of the one found.

    A parametric bootstrap: outcomes are drawn from the predicted probabilities; a person's draw
    is the same in all repeats.
    """
    repeats = sorted({each.fold.repeat for each in folds})
    members = [[each for each in folds if each.fold.repeat == repeat] for repeat in repeats]
    errors = np.mean(
        [
            calibration_errors_if_calibrated(
                pool(own, y), draws.uniform[:, np.concatenate([each.fold.test for each in own])]
            )
            for own in members
        ],
        axis=0,
    )
    as_large = int((errors >= error - _SAME).sum())
    return float(errors.mean()), (1 + as_large) / (1 + len(errors))


def _reliability(model: str, folds: list[FoldPredictions], y: Ints) -> list[CalibrationBin]:
    stages = {"before": [before_calibration(each) for each in folds], "after": folds}
    repeats = len({each.fold.repeat for each in folds})
    return [
        point
        for stage, members in stages.items()
        for point in _bins(model, stage, pool(members, y), repeats)
    ]


def _bins(model: str, stage: str, scored: Scored, repeats: int) -> list[CalibrationBin]:
    """Five bins of equal mass; a person predicted in several repeats counts once."""
    points = []
    for rows in probability_bins(scored.probability):
        share = float(scored.y[rows].mean())
        n = max(1, round(len(rows) / repeats))
        interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
        points.append(
            CalibrationBin(
                model=model,
                stage=stage,
                mean_probability=float(scored.probability[rows].mean()),
                observed_share=share,
                low=float(interval.low),
                high=float(interval.high),
                n=n,
            )
        )
    return points

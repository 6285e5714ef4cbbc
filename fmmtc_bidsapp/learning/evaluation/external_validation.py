"""External validation of a finished model.

The model is judged as it is. Recalibration, which moves its log odds for the new people, stands
beside it and is cross-validated over them: it is never scored on those it was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from fmmtc_bidsapp.learning.evaluation.performance import evaluate, metric_rows
from fmmtc_bidsapp.learning.metrics.calibrate import log_odds
from fmmtc_bidsapp.learning.metrics.intervals import draw_people
from fmmtc_bidsapp.learning.metrics.scores import EXTERNAL_METRICS
from fmmtc_bidsapp.learning.model_selection.ensemble import EnsembleModel, merge_trainings
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel
from fmmtc_bidsapp.learning.seeds import BOOTSTRAP, RECALIBRATION, derive_seed
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import (
    Calibration,
    Evaluation,
    Examples,
    Floats,
    Fold,
    FoldPredictions,
    Ints,
    MetricRow,
)

__all__ = ["External", "Recalibration", "evaluate_external", "of_people", "predict_new"]

_PER_PARAMETER = 10
"""People of the rarer outcome for each number that is fitted: Peduzzi et al. (1996),
doi:10.1016/S0895-4356(96)00236-3."""
_FOLDS = 10
_RANKS = ("auroc", "average_precision")
"""What recalibration, which changes no order, cannot change either; pooled over its folds they
would seem to."""


@dataclass(frozen=True)
class Recalibration:
    """The fitted change of a model's log odds for these people."""

    name: str
    """As its rows are called, behind the name of the model."""
    slope: float | None
    """None where it was refused."""
    intercept: float | None
    reason: str
    """Why it was refused; empty where it was not."""


@dataclass(frozen=True, eq=False)
class External:
    """Results of a model on new people."""

    evaluation: Evaluation
    """The model as it is, then recalibrated; the columns of folds are NaN."""
    recalibrations: tuple[Recalibration, ...]
    """Fitted on all of these people, for future ones; not evaluated."""


def predict_new(model: FittedModel | EnsembleModel, people: Examples) -> FoldPredictions:
    """Predict people by a finished model, as one fold without training rows, numbered -1."""
    trainings = model.trainings if isinstance(model, EnsembleModel) else (model,)
    nobody, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    predictions = [
        FoldPredictions(
            model=each.name,
            fold=Fold(-1, -1, nobody, np.arange(len(people.keys))),
            logit=each.logits(people),
            calibration=each.calibration,
            prevalence=each.prevalence,
            epoch=each.epoch,
            validation_loss=nothing,
            train_loss=nothing,
            seed=i,
        )
        for i, each in enumerate(trainings)
    ]
    return merge_trainings(predictions)[0]


def of_people(predictions: FoldPredictions, rows: Ints) -> FoldPredictions:
    """Take some people of `predict_new`, numbered from 0."""
    refits, raw = predictions.refits, predictions.raw
    return replace(
        predictions,
        fold=replace(predictions.fold, test=np.arange(len(rows))),
        logit=predictions.logit[rows],
        refits=None if refits is None else refits[:, rows],
        raw=None if raw is None else raw[rows],
    )


def evaluate_external(
    frozen: FoldPredictions,
    y: Ints,
    options: EvaluationOptions,
    seed: int,
    *,
    people_are_new: bool = True,
) -> External:
    """Evaluate a model on people with known outcomes, as it is and recalibrated.

    Pooled metrics with bootstrap intervals (Van Calster et al. 2019,
    doi:10.1186/s12916-019-1466-7). Recalibration of the intercept needs 10 people of the rarer
    outcome, of slope and intercept 20 (Vergouwe et al. 2017, doi:10.1002/sim.7179).
    `people_are_new` is False if the model may have been trained on some; the verdict then says
    so.
    """
    rarer = int(min((y == 1).sum(), (y == 0).sum()))
    if not rarer:
        refused = tuple(Recalibration(each, None, None, _refusal(each, 0)) for each in _KINDS)
        return External(_of_one_outcome(frozen, y, options, seed), refused)
    done = [name for name, kind in _KINDS.items() if not _refusal(name, rarer)]
    folds = [each for name in done for each in _recalibrated(frozen, y, name, seed)]
    evaluation = evaluate([frozen, *folds], y, options, seed, names=EXTERNAL_METRICS)
    return External(
        replace(
            evaluation,
            metrics=_without_folds(evaluation.metrics, frozen.model),
            # The curves of a recalibrated model are the model's own.
            curves=tuple(each for each in evaluation.curves if each.model == frozen.model),
            verdict=_sentence(evaluation.metrics, y, people_are_new=people_are_new),
        ),
        tuple(_whole(name, frozen, y, _refusal(name, rarer)) for name in _KINDS),
    )


_Line = tuple[float, float]
"""Slope and intercept on log odds."""


def _intercept(odds: Floats, y: Ints) -> _Line:
    """Shift the log odds until as many are expected as there are."""
    shift = brentq(lambda a: expit(odds + a).sum() - y.sum(), -1e3, 1e3)
    return 1.0, float(shift)


def _both(odds: Floats, y: Ints) -> _Line:
    """Fit a logistic regression on log odds; without a positive slope the share for everyone."""
    if np.ptp(odds) > 0:
        fitted = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8).fit(odds[:, None], y)
        if fitted.coef_[0, 0] > 0:
            return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return 0.0, float(logit(y.mean()))


_KINDS: Mapping[str, tuple[int, Callable[[Floats, Ints], _Line]]] = {
    "recalibrated intercept": (1, _intercept),
    "recalibrated": (2, _both),
}
"""Numbers that are fitted, and how."""


def _refusal(name: str, rarer: int) -> str:
    needed = _PER_PARAMETER * _KINDS[name][0]
    if rarer >= needed:
        return ""
    return (
        f"{name}: {rarer} participants have the rarer outcome, {needed} are needed "
        f"({_PER_PARAMETER} per fitted parameter; Peduzzi et al. 1996, "
        "doi:10.1016/S0895-4356(96)00236-3)"
    )


def _recalibrated(frozen: FoldPredictions, y: Ints, name: str, seed: int) -> list[FoldPredictions]:
    """Recalibrate on nine tenths of the people and predict the others, ten times."""
    odds = log_odds(frozen.calibration, frozen.logit)
    fit = _KINDS[name][1]
    own_seed = derive_seed(seed, RECALIBRATION)
    splitter = StratifiedKFold(_FOLDS, shuffle=True, random_state=own_seed)
    return [
        replace(
            frozen,
            model=f"{frozen.model} {name}",
            fold=Fold(0, i, train, test),
            logit=odds[test],
            refits=None,
            raw=None,
            calibration=_line(*fit(odds[train], y[train]), frozen.calibration.threshold),
            prevalence=float(y[train].mean()),
        )
        for i, (train, test) in enumerate(splitter.split(odds, y))
    ]


def _line(slope: float, intercept: float, threshold: float) -> Calibration:
    return Calibration("recalibration", slope, intercept, threshold)


def _whole(name: str, frozen: FoldPredictions, y: Ints, refusal: str) -> Recalibration:
    if refusal:
        return Recalibration(name, None, None, refusal)
    odds = log_odds(frozen.calibration, frozen.logit)
    return Recalibration(name, *_KINDS[name][1](odds, y), "")


def _without_folds(rows: Sequence[MetricRow], frozen: str) -> tuple[MetricRow, ...]:
    """Keep the pooled figures, and give recalibrated models the ranks of the model itself."""
    ranks = {row.metric: row for row in rows if row.model == frozen and row.metric in _RANKS}
    nan = float("nan")
    return tuple(
        replace(
            ranks.get(row.metric, row),
            model=row.model,
            mean=nan,
            mean_low=nan,
            mean_high=nan,
            fold_sd=nan,
        )
        for row in rows
    )


def _sentence(rows: Sequence[MetricRow], y: Ints, *, people_are_new: bool) -> str:
    kind = "external validation" if people_are_new else "estimates (training data not ruled out)"
    auroc = next(row for row in rows if row.metric == "auroc")
    return (
        f"{kind} on {len(y)} participants, {int((y == 1).sum())} of them positive: AUROC "
        f"{auroc.pooled:.2f} (95 % bootstrap interval {auroc.pooled_low:.2f} to "
        f"{auroc.pooled_high:.2f}). Not tested with shuffled outcomes. Estimates from fewer than "
        "100 participants per outcome are imprecise (Collins et al. 2016, doi:10.1002/sim.6787)."
    )


def _of_one_outcome(
    frozen: FoldPredictions, y: Ints, options: EvaluationOptions, seed: int
) -> Evaluation:
    """Evaluate people of one outcome: no rank and no curve."""
    rng = np.random.default_rng(derive_seed(seed, BOOTSTRAP))
    rows = metric_rows([frozen], y, draw_people(y, options.bootstrap, rng), EXTERNAL_METRICS)
    return Evaluation(
        metrics=_without_folds(rows, frozen.model),
        curves=(),
        calibration=(),
        verdict=f"all {len(y)} participants with a known outcome have the same outcome, so "
        "discrimination cannot be assessed.",
        expected_half_width=0.5,
    )

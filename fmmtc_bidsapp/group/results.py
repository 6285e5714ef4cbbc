"""What the group level found, as the tables of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.write import write_json, write_tsv
from fmmtc_bidsapp.learning.outcomes import PredictionRow
from fmmtc_bidsapp.records import (
    ComparisonRow,
    Evaluation,
    Exclusion,
    Fold,
    FoldPredictions,
    MetricRow,
    Person,
)

__all__ = [
    "write_cohort",
    "write_evaluation",
    "write_folds",
    "write_learning",
    "write_predictions",
]

_COLUMNS = {
    "step": "What was asked of a person.",
    "n": "People left, or people in the bin.",
    "participant_id": "Participant.",
    "session_id": "Session, n/a where the dataset has none.",
    "stage": "Where the person was left out: table, series, quality or encode.",
    "reason": "Why.",
    "repeat": "Repeat of the outer cross-validation.",
    "fold": "Outer fold in which the person was tested.",
    "y_true": "Outcome: 1 positive, 0 negative, n/a unknown.",
    "logit": "Output of the network.",
    "probability_raw": "Probability before calibration.",
    "probability": "Calibrated probability of the positive outcome.",
    "probability_low": "2.5 % quantile over refits; n/a with one fit.",
    "probability_high": "97.5 % quantile over refits; n/a with one fit.",
    "y_pred": "1 where the probability reaches the threshold.",
    "threshold": "Probability from which a person counts as positive.",
    "n_runs": "Runs merged into the example.",
    "qc_flag": "usable, or why a kept run was not.",
    "out_of_distribution": "In what the scan lies outside the training scans; n/a within.",
    "model": "Name of the model.",
    "metric": "Name of the metric.",
    "mean": "Mean of the within-fold values over folds and repeats: the headline.",
    "mean_low": "Lower end of its 95 % Nadeau-Bengio corrected interval.",
    "mean_high": "Upper end of its 95 % Nadeau-Bengio corrected interval.",
    "fold_sd": "SD over folds.",
    "pooled": "Metric of all out-of-fold predictions together, mean over repeats.",
    "pooled_low": "Lower end of its 95 % bootstrap interval, given these fits.",
    "pooled_high": "Upper end of its 95 % bootstrap interval, given these fits.",
    "difference": "Mean over folds of the main model minus this one.",
    "low": "Lower end of the 95 % interval.",
    "high": "Upper end of the 95 % interval.",
    "p": "Two-sided p of the corrected resampled t-test.",
    "kind": "roc: false against true positive rate; pr: recall against precision.",
    "x": "Horizontal value of the curve.",
    "y": "Vertical value of the curve.",
    "mean_probability": "Mean predicted probability in the bin.",
    "observed_share": "Share of positives in the bin.",
    "epoch": "Epoch of training, from 1.",
    "train_loss": "Mean binary cross-entropy of the training rows in the refit.",
    "validation_loss": "The same over the inner validation rows, mean over inner folds.",
    "chosen": "Whether the inner folds chose this epoch.",
}
"""What the columns of all tables mean; a sidecar describes those its table has."""


def _write(path: Path, columns: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    write_tsv(path, columns)
    described = {
        name: {"Description": _COLUMNS[name]} if name in _COLUMNS else {} for name in columns
    }
    write_json(path.with_suffix(".json"), {**about, **described})


def _table(rows: Sequence[Any], kind: type) -> dict[str, list[Any]]:
    """Turn dataclasses into columns, also when there is no row."""
    return {each.name: [getattr(row, each.name) for row in rows] for each in fields(kind)}


def write_cohort(
    files: GroupFiles, cohort: Cohort, n_encoded: int, exclusions: Sequence[Exclusion]
) -> None:
    """Write how many people each step left, and who was left out and why.

    Parameters
    ----------
    files
        Names of the group's files.
    cohort
        The people before encoding, with the exclusions so far.
    n_encoded
        People that the encoder left.
    exclusions
        Those of the encoder.
    """
    steps = [*cohort.eligibility, ("encoded", n_encoded)]
    columns = {"step": [name for name, _ in steps], "n": [count for _, count in steps]}
    _write(files.eligibility, columns, {})
    _write(files.exclusions, _table([*cohort.exclusions, *exclusions], Exclusion), {})


def write_folds(files: GroupFiles, people: Sequence[Person], folds: Sequence[Fold]) -> None:
    """Write which person was tested in which fold."""
    tested = [(people[row], fold) for fold in folds for row in fold.test]
    columns = {
        "participant_id": [person.participant_id for person, _ in tested],
        "session_id": [person.session_id for person, _ in tested],
        "repeat": [fold.repeat for _, fold in tested],
        "fold": [fold.fold for _, fold in tested],
    }
    _write(files.folds, columns, {})


def write_predictions(
    files: GroupFiles,
    people: Sequence[Person],
    rows: Sequence[PredictionRow],
    *,
    out_of_distribution: Mapping[str, str],
    about: Mapping[str, Any],
) -> None:
    """Write one row per person and repeat.

    Parameters
    ----------
    files
        Names of the group's files.
    people
        The people behind the rows.
    rows
        Predictions of one model; ``fold`` and ``repeat`` below 0 become n/a, and so does an
        outcome below 0.
    out_of_distribution
        By key, in what a scan lies outside the training scans.
    about
        What the run was, for the sidecar.
    """
    by_key = {person.key: person for person in people}
    persons = [by_key[row.key] for row in rows]
    columns = {
        "participant_id": [person.participant_id for person in persons],
        "session_id": [person.session_id for person in persons],
        "y_true": _known(row.y_true for row in rows),
        "logit": [row.logit for row in rows],
        "probability_raw": [row.probability_raw for row in rows],
        "probability": [row.probability for row in rows],
        "probability_low": [None] * len(rows),
        "probability_high": [None] * len(rows),
        "y_pred": [row.y_pred for row in rows],
        "threshold": [row.threshold for row in rows],
        "fold": _known(row.fold for row in rows),
        "repeat": _known(row.repeat for row in rows),
        "n_runs": [len(person.runs) for person in persons],
        "qc_flag": [_qc_flag(person) for person in persons],
        "out_of_distribution": [out_of_distribution.get(row.key) for row in rows],
    }
    _write(files.predictions, columns, about)


def _known(values: Any) -> list[int | None]:
    return [value if value >= 0 else None for value in values]


def _qc_flag(person: Person) -> str:
    reasons = [run.reasons for run in person.runs if not run.usable]
    return "; ".join(reasons) or "usable"


def write_evaluation(
    files: GroupFiles,
    evaluation: Evaluation,
    comparisons: Sequence[ComparisonRow],
    about: Mapping[str, Any],
) -> None:
    """Write metrics, comparisons, curves and reliability of all models."""
    verdict = {
        "Verdict": evaluation.verdict,
        "ExpectedHalfWidth": evaluation.expected_half_width,
    }
    _write(files.metrics, _table(evaluation.metrics, MetricRow), {**about, **verdict})
    _write(files.comparison, _table(comparisons, ComparisonRow), {})
    points = [(each, i) for each in evaluation.curves for i in range(len(each.x))]
    curves = {
        "model": [each.model for each, _ in points],
        "kind": [each.kind for each, _ in points],
        "x": [float(each.x[i]) for each, i in points],
        "y": [float(each.y[i]) for each, i in points],
    }
    _write(files.curves, curves, {})
    bins = [asdict(each) for each in evaluation.calibration]
    names = ("model", "stage", "mean_probability", "observed_share", "low", "high", "n")
    stage = {"stage": {"Description": "Before or after calibration."}}
    write_tsv(files.calibration, {name: [each[name] for each in bins] for name in names})
    described = {name: {"Description": _COLUMNS[name]} for name in names} | stage
    write_json(files.calibration.with_suffix(".json"), described)


def write_learning(files: GroupFiles, predictions: Sequence[FoldPredictions]) -> None:
    """Write the losses of one network, epoch by epoch and fold by fold."""
    rows = []
    for each in predictions:
        train_loss = np.full(len(each.validation_loss), np.nan)
        train_loss[: len(each.train_loss)] = each.train_loss
        for i, (trained, validated) in enumerate(
            zip(train_loss, each.validation_loss, strict=True)
        ):
            row = (each.fold.repeat, each.fold.fold, i + 1, float(trained), float(validated))
            rows.append((*row, i + 1 == each.epoch))
    names = ("repeat", "fold", "epoch", "train_loss", "validation_loss", "chosen")
    _write(files.learning, {name: [row[i] for row in rows] for i, name in enumerate(names)}, {})

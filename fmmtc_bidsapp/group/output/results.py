"""Write the result tables of the group level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.eligibility import eligibility_columns
from fmmtc_bidsapp.bidsio.files.atomic import write_bytes, write_json
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.output.column_descriptions import describe
from fmmtc_bidsapp.group.output.out_of_distribution import Position
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluation.subgroups import PROGNOSIS
from fmmtc_bidsapp.learning.metrics.predictions import PredictionRow
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST
from fmmtc_bidsapp.learning.paper.comparison_table import OPTIMISTIC
from fmmtc_bidsapp.records import (
    ComparisonRow,
    Evaluation,
    Exclusion,
    Explanation,
    Fold,
    FoldPredictions,
    MapRow,
    MetricRow,
    ModalityShare,
    PermutationTest,
    Person,
)

__all__ = [
    "told_of",
    "warning_of",
    "withdraw_explanation",
    "withdraw_stale_explanation",
    "write_cohort",
    "write_evaluation",
    "write_explanation",
    "write_folds",
    "write_learning",
    "write_predictions",
    "write_ranges",
]


def _write(path: Path, columns: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    write_tsv(path, columns)
    described = {name: describe(name) for name in columns}
    write_json(path.with_suffix(".json"), {**about, **described})


def _table(rows: Sequence[Any], kind: type) -> dict[str, list[Any]]:
    """Turn dataclasses into columns, also when there is no row."""
    return {each.name: [getattr(row, each.name) for row in rows] for each in fields(kind)}


def write_cohort(
    files: GroupFiles,
    cohort: Cohort,
    people: Sequence[Person],
    exclusions: Sequence[Exclusion],
) -> None:
    """Write how many people each step left, and who was left out and why.

    Parameters
    ----------
    files
        Names of the group's files.
    cohort
        The people before encoding, with the exclusions so far.
    people
        Those that the encoder left.
    exclusions
        Those of the encoder.
    """
    columns = eligibility_columns([*cohort.eligibility, cohort.count("encoded", people)])
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
        "probability_low": [row.probability_low for row in rows],
        "probability_high": [row.probability_high for row in rows],
        "y_pred": [row.y_pred for row in rows],
        "threshold": [row.threshold for row in rows],
        "fold": _known(row.fold for row in rows),
        "repeat": _known(row.repeat for row in rows),
        "n_runs": [len(person.runs) for person in persons],
        "qc_flag": [_qc_flag(person) for person in persons],
        "out_of_distribution": [out_of_distribution.get(row.key) for row in rows],
    }
    _write(files.predictions, columns, about)


def write_ranges(files: GroupFiles, places: Sequence[Position]) -> None:
    """Write where the scans of new people lie among the training scans."""
    _write(files.ranges, _table(places, Position), {})


def _known(values: Any) -> list[int | None]:
    return [value if value >= 0 else None for value in values]


def _qc_flag(person: Person) -> str:
    reasons = [run.reasons for run in person.runs if not run.usable]
    return "; ".join(reasons) or "usable"


def write_evaluation(files: GroupFiles, evaluation: Evaluation, about: Mapping[str, Any]) -> None:
    """Write everything that is said of the models: a table of each kind.

    Parameters
    ----------
    files
        Names of the group's files.
    evaluation
        Of all models.
    about
        What the run was, for the sidecar of the metrics.
    """
    warning = warning_of(evaluation)
    _write(files.metrics, _metrics(evaluation), {**about, **told_of(evaluation), **warning})
    comparison = _table(evaluation.comparison, ComparisonRow)
    main = {"MainModel": about["MainModel"]} if "MainModel" in about else {}
    _write(files.comparison, comparison, {**main, **warning})
    if evaluation.arms:
        _write_arms(files, evaluation)
    _write_curves(files, evaluation)


def warning_of(evaluation: Evaluation) -> dict[str, str]:
    """Give the key that every sidecar of a table with optimistic figures carries.

    Without a network the published protocol was fitted for nobody, and nothing is optimistic.
    """
    there = evaluation.selection == BEST_ON_TEST and evaluation.optimism
    return {"Warning": OPTIMISTIC} if there else {}


def told_of(evaluation: Evaluation) -> dict[str, Any]:
    """Say what was found, model by model, for sidecars."""
    return {
        "Verdict": evaluation.verdict,
        "Verdicts": {each.model: each.verdict for each in evaluation.tests},
        "Steps": {each.model: _steps(each) for each in evaluation.tests if each.added},
        "Permutations": {each.model: each.n_permutations for each in evaluation.tests},
        "ExpectedHalfWidth": evaluation.expected_half_width,
        "Selection": evaluation.selection,
        "Duplicates": [
            {
                "First": each.first,
                "Second": each.second,
                "Correlation": each.correlation,
                "SameScan": each.same_scan,
            }
            for each in evaluation.duplicates
        ],
    }


def _steps(test: PermutationTest) -> list[dict[str, Any]]:
    """Tell the steps beyond the first, with what the brain was held against."""
    return [
        {
            "Step": each.step,
            "Reached": each.reached,
            "Reason": each.reason,
            "HeldAgainst": list(each.reference),
            "ReferenceAUROC": _number(each.auroc_reference),
            "AUROC": _number(each.auroc_both),
            "Gain": _number(each.gain),
            "P": _number(each.p),
            "PAdjusted": _number(each.p_adjusted),
        }
        for each in test.added
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


_OPTIMISM = {
    "nested_uncalibrated": "nested",
    "last_epoch": "last_epoch",
    "best_on_test": "best_on_test",
    "optimism": "gap",
}
"""Columns of the metrics, and fields of `OptimismRow`."""


def _metrics(evaluation: Evaluation) -> dict[str, list[Any]]:
    """Put the tests and the optimism beside the metrics they are of."""
    tests = {(each.model, "auroc"): each for each in evaluation.tests}
    optimism = {(each.model, each.metric): each for each in evaluation.optimism}
    columns = _table(evaluation.metrics, MetricRow)
    keys = [(row.model, row.metric) for row in evaluation.metrics]
    for name in ("n_people", "n_folds", "n_permutations", "p", "p_adjusted", "verdict"):
        columns[name] = [getattr(tests.get(key), name, None) for key in keys]
    for name, field in _OPTIMISM.items():
        columns[name] = [getattr(optimism.get(key), field, None) for key in keys]
    return columns


def _write_arms(files: GroupFiles, evaluation: Evaluation) -> None:
    """Write the arms, and below them how they differ."""
    rows: list[tuple[Any, ...]] = [
        (a.model, a.metric, a.arm, None, a.n, a.n_positive, a.value, a.low, a.high)
        for a in evaluation.arms
    ]
    rows += [
        (d.model, d.metric, d.arm, d.other, None, None, d.difference, d.low, d.high)
        for d in evaluation.arm_differences
    ]
    names = ("model", "metric", "arm", "other", "n", "n_positive", "value", "low", "high")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    _write(files.arms, columns, {"Note": f"{PROGNOSIS[0].upper()}{PROGNOSIS[1:]}."})


_MEAN_CURVES = (
    "Rows without a fold are the mean over folds: the area under it is the mean AUROC or average "
    "precision of the metrics. Precision holds for the step that leads to its recall."
)


def _write_curves(files: GroupFiles, evaluation: Evaluation) -> None:
    points = [(each, i) for each in evaluation.curves for i in range(len(each.x))]
    curves = {
        "model": [each.model for each, _ in points],
        "kind": [each.kind for each, _ in points],
        "repeat": [each.repeat for each, _ in points],
        "fold": [each.fold for each, _ in points],
        "x": [float(each.x[i]) for each, i in points],
        "y": [float(each.y[i]) for each, i in points],
    }
    _write(files.curves, curves, {"Note": _MEAN_CURVES})
    bins = [asdict(each) for each in evaluation.calibration]
    names = ("model", "stage", "mean_probability", "observed_share", "low", "high", "n")
    write_tsv(files.calibration, {name: [each[name] for each in bins] for name in names})
    described = {name: describe(name) for name in names}
    stage = {"stage": {"Description": "Before or after calibration."}}
    write_json(files.calibration.with_suffix(".json"), described | stage)


def write_learning(files: GroupFiles, predictions: Sequence[FoldPredictions]) -> None:
    """Write the losses of every model with epochs, training by training and fold by fold."""
    rows = []
    for each in predictions:
        if not MODELS[each.model].is_network:
            continue
        train_loss = np.full(len(each.validation_loss), np.nan)
        train_loss[: len(each.train_loss)] = each.train_loss
        who = (each.model, each.seed, each.fold.repeat, each.fold.fold)
        losses = zip(train_loss, each.validation_loss, strict=True)
        for epoch, (trained, validated) in enumerate(losses, start=1):
            rows.append((*who, epoch, float(trained), float(validated), epoch == each.epoch))
    names = ("model", "seed", "repeat", "fold", "epoch", "train_loss", "validation_loss", "chosen")
    _write(files.learning, {name: [row[i] for row in rows] for i, name in enumerate(names)}, {})


def write_explanation(
    files: GroupFiles,
    explanation: Explanation | None,
    about: Mapping[str, Any],
    image: bytes | None,
) -> None:
    """Write what the models go by; what an earlier run wrote goes.

    Parameters
    ----------
    files
        Names of the group's files.
    explanation
        Its tables have no row where it is held back, and their sidecars say why; None where nothing
        was asked for.
    about
        What the maps are of, for their sidecar.
    image
        Content of the image of the main model's parcels; None where there is none.
    """
    if image is None:
        files.attribution_map.unlink(missing_ok=True)
    if explanation is None:
        withdraw_explanation(files)
        return
    told = {
        "HeldBack": explanation.held_back,
        _EXPLAINED: _digest(files),
        "Supported": not (explanation.unsupported or explanation.held_back),
        **about,
    }
    _write(files.modality, _table(explanation.shares, ModalityShare), told)
    _write(files.attributions, _table(explanation.rows, MapRow), told)
    if image is not None:
        write_bytes(files.attribution_map, image)


_EXPLAINED = "PredictionsSHA256"
"""Key of what a sidecar's maps explain."""


def withdraw_stale_explanation(files: GroupFiles) -> None:
    """Take explanations away that are of other predictions than those that stand there now."""
    try:
        explained = read_json(files.attributions.with_suffix(".json")).get(_EXPLAINED)
    except InputError:
        # Absent or damaged: nothing says what the rest is of.
        explained = None
    if explained != _digest(files):
        withdraw_explanation(files)


def _digest(files: GroupFiles) -> str:
    return digest_of(files.predictions)


def withdraw_explanation(files: GroupFiles) -> None:
    """Take what an earlier run under the label wrote of explanations away."""
    tables = (files.modality, files.attributions)
    for path in (files.attribution_map, *tables, *(each.with_suffix(".json") for each in tables)):
        path.unlink(missing_ok=True)

"""Write the result tables of the group level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.eligibility import eligibility_columns
from fmmtc_bidsapp.bidsio.files.atomic import write_bytes
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.bidsio.files.tsv import Column, write_table
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.output.columns import COLUMNS, columns_of_arms
from fmmtc_bidsapp.group.output.out_of_distribution import Position
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluation.subgroups import PROGNOSIS
from fmmtc_bidsapp.learning.metrics.predictions import PredictionRow
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST
from fmmtc_bidsapp.learning.paper.comparison_table import OPTIMISTIC
from fmmtc_bidsapp.records import (
    CalibrationBin,
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
    "evaluation_keys",
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


def _write(path: Path, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    write_table(path, table, {**COLUMNS, **columns_of_arms(table.columns)}, about)


def _table(rows: Iterable[Sequence[Any]], *names: str) -> pd.DataFrame:
    """Return rows as columns of Python objects, which keep integers beside None."""
    return pd.DataFrame(list(rows), columns=list(names), dtype=object)


def _records(rows: Sequence[Any], kind: type) -> pd.DataFrame:
    """Return records of a dataclass as a table, also without any row."""
    names = [each.name for each in fields(kind)]
    return _table(([getattr(row, name) for name in names] for row in rows), *names)


def write_cohort(
    files: GroupFiles,
    cohort: Cohort,
    people: Sequence[Person],
    exclusions: Sequence[Exclusion],
) -> None:
    """Write how many people each step left, and who was left out and why.

    `cohort` and its exclusions are those before encoding, `people` and `exclusions` those after.
    """
    columns = eligibility_columns([*cohort.eligibility, cohort.count("encoded", people)])
    _write(files.eligibility, pd.DataFrame(columns, dtype=object), {})
    _write(files.exclusions, _records([*cohort.exclusions, *exclusions], Exclusion), {})


def write_folds(files: GroupFiles, people: Sequence[Person], folds: Sequence[Fold]) -> None:
    """Write which person was tested in which fold."""
    tested = [
        (people[row].participant_id, people[row].session_id, fold.repeat, fold.fold)
        for fold in folds
        for row in fold.test
    ]
    _write(files.folds, _table(tested, "participant_id", "session_id", "repeat", "fold"), {})


def write_predictions(
    files: GroupFiles,
    people: Sequence[Person],
    rows: Sequence[PredictionRow],
    *,
    out_of_distribution: Mapping[str, str],
    about: Mapping[str, Any],
) -> None:
    """Write one row per person and repeat of one model.

    A fold, repeat or outcome below 0 becomes n/a; `out_of_distribution` says, by key, in what a
    scan lies outside the training scans.
    """
    by_key = {person.key: person for person in people}
    persons = [by_key[row.key] for row in rows]
    table = _records(rows, PredictionRow).drop(columns="key")
    for name in ("y_true", "fold", "repeat"):
        table[name] = _objects(value if value >= 0 else None for value in table[name])
    table["participant_id"] = _objects(person.participant_id for person in persons)
    table["session_id"] = _objects(person.session_id for person in persons)
    table["n_runs"] = _objects(len(person.runs) for person in persons)
    table["qc_flag"] = _objects(_qc_flag(person) for person in persons)
    table["out_of_distribution"] = _objects(out_of_distribution.get(row.key) for row in rows)
    _write(files.predictions, table[list(_PREDICTIONS)], about)


_PREDICTIONS = (
    *("participant_id", "session_id", "y_true", "logit", "probability_raw", "probability"),
    *("probability_low", "probability_high", "y_pred", "threshold", "fold", "repeat"),
    *("n_runs", "qc_flag", "out_of_distribution"),
)
"""Columns of the predictions, in their order."""


def _objects(values: Iterable[Any]) -> pd.Series[Any]:
    return pd.Series(list(values), dtype=object)


def write_ranges(files: GroupFiles, places: Sequence[Position]) -> None:
    """Write where the scans of new people lie among the training scans."""
    _write(files.ranges, _records(places, Position), {})


def _qc_flag(person: Person) -> str:
    reasons = [run.reasons for run in person.runs if not run.usable]
    return "; ".join(reasons) or "usable"


def write_evaluation(files: GroupFiles, evaluation: Evaluation, about: Mapping[str, Any]) -> None:
    """Write all results of the models, a table of each kind; `about` is for their sidecars."""
    warning = warning_of(evaluation)
    _write(files.metrics, _metrics(evaluation), {**about, **evaluation_keys(evaluation), **warning})
    comparison = _records(evaluation.comparison, ComparisonRow)
    main = {"MainModel": about["MainModel"]} if "MainModel" in about else {}
    _write(files.comparison, comparison, {**main, **warning})
    if evaluation.arms:
        _write_arms(files, evaluation)
    _write_curves(files, evaluation)


def warning_of(evaluation: Evaluation) -> dict[str, str]:
    """Return the warning for sidecars of tables with optimistic figures, which need a network."""
    there = evaluation.selection == BEST_ON_TEST and evaluation.optimism
    return {"Warning": OPTIMISTIC} if there else {}


def evaluation_keys(evaluation: Evaluation) -> dict[str, Any]:
    """Return verdicts, steps and duplicates for sidecars."""
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
    """Return the steps beyond the first, with the references of each."""
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


def _metrics(evaluation: Evaluation) -> pd.DataFrame:
    """Return the metrics, with the tests and the optimism beside them."""
    tests = {(each.model, "auroc"): each for each in evaluation.tests}
    optimism = {(each.model, each.metric): each for each in evaluation.optimism}
    table = _records(evaluation.metrics, MetricRow)
    keys = [(row.model, row.metric) for row in evaluation.metrics]
    for name in ("n_people", "n_folds", "n_permutations", "p", "p_adjusted", "verdict"):
        table[name] = _objects(getattr(tests.get(key), name, None) for key in keys)
    for name, field in _OPTIMISM.items():
        table[name] = _objects(getattr(optimism.get(key), field, None) for key in keys)
    return table


def _write_arms(files: GroupFiles, evaluation: Evaluation) -> None:
    """Write the arms, and below them their differences."""
    rows: list[tuple[Any, ...]] = [
        (a.model, a.metric, a.arm, None, a.n, a.n_positive, a.value, a.low, a.high)
        for a in evaluation.arms
    ]
    rows += [
        (d.model, d.metric, d.arm, d.other, None, None, d.difference, d.low, d.high)
        for d in evaluation.arm_differences
    ]
    names = ("model", "metric", "arm", "other", "n", "n_positive", "value", "low", "high")
    _write(files.arms, _table(rows, *names), {"Note": f"{PROGNOSIS[0].upper()}{PROGNOSIS[1:]}."})


_MEAN_CURVES = (
    "Rows without a fold are the mean over folds: the area under it is the mean AUROC or average "
    "precision of the metrics. Precision holds for the step that leads to its recall."
)


def _write_curves(files: GroupFiles, evaluation: Evaluation) -> None:
    points = (
        (each.model, each.kind, each.repeat, each.fold, x, y)
        for each in evaluation.curves
        for x, y in zip(each.x.tolist(), each.y.tolist(), strict=True)
    )
    curves = _table(points, "model", "kind", "repeat", "fold", "x", "y")
    _write(files.curves, curves, {"Note": _MEAN_CURVES})
    stage = {"stage": Column("Before or after calibration.")}
    bins = _records(evaluation.calibration, CalibrationBin)
    write_table(files.calibration, bins, {**COLUMNS, **stage}, {})


def write_learning(files: GroupFiles, predictions: Sequence[FoldPredictions]) -> None:
    """Write the losses of every model with epochs, by training and fold."""
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
    _write(files.learning, _table(rows, *names), {})


def write_explanation(
    files: GroupFiles,
    explanation: Explanation | None,
    about: Mapping[str, Any],
    image: bytes | None,
) -> None:
    """Write the explanation of the models in place of an earlier one.

    Tables of one that is held back have no row, and their sidecars say why. None removes the
    earlier one. `image` is the content of the map of the main model, None without one.
    """
    if image is None:
        files.attribution_map.unlink(missing_ok=True)
    if explanation is None:
        withdraw_explanation(files)
        return
    shared_keys = {
        "HeldBack": explanation.held_back,
        _EXPLAINED: _digest(files),
        "Supported": not (explanation.unsupported or explanation.held_back),
        **about,
    }
    _write(files.modality, _records(explanation.shares, ModalityShare), shared_keys)
    _write(files.attributions, _records(explanation.rows, MapRow), shared_keys)
    if image is not None:
        write_bytes(files.attribution_map, image)


_EXPLAINED = "PredictionsSHA256"
"""Key of the digest of the explained predictions."""


def withdraw_stale_explanation(files: GroupFiles) -> None:
    """Remove explanations of other predictions than the present ones."""
    try:
        explained = read_json(files.attributions.with_suffix(".json")).get(_EXPLAINED)
    except InputError:
        # Absent or damaged: the predictions explained are unknown.
        explained = None
    if explained != _digest(files):
        withdraw_explanation(files)


def _digest(files: GroupFiles) -> str:
    return digest_of(files.predictions)


def withdraw_explanation(files: GroupFiles) -> None:
    """Remove the explanation of an earlier run under the label."""
    tables = (files.modality, files.attributions)
    for path in (files.attribution_map, *tables, *(each.with_suffix(".json") for each in tables)):
        path.unlink(missing_ok=True)

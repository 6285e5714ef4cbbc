"""Tables of a group report: what the written TSVs say, in the words of the page."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from fmmtc_bidsapp.reports.pages import interval, number

__all__ = [
    "comparison_rows",
    "confusion",
    "eligibility_rows",
    "exclusion_counts",
    "metric_rows",
    "people_rows",
    "per_person",
]


class _Metric(NamedTuple):
    column: str
    name: str
    hint: str


METRICS = (
    _Metric("auroc", "AUROC", "Chance that a positive ranks above a negative; guessing 0.5"),
    _Metric("balanced_accuracy", "Balanced accuracy", "Mean of both rates; guessing 0.5"),
    _Metric("mcc", "MCC", "Correlation of predicted and true; guessing 0"),
    _Metric("f1_macro", "F1 (macro)", "Mean F1 of both classes"),
    _Metric("sensitivity", "Sensitivity", "Positives found"),
    _Metric("specificity", "Specificity", "Negatives found"),
    _Metric("average_precision", "Average precision", "Guessing gives the share of positives"),
    _Metric("brier", "Brier score", "Squared error of the probability; smaller is better"),
    _Metric("brier_skill", "Brier skill", "Against the training share of positives; 0 is no gain"),
    _Metric("log_loss", "Log loss", "Smaller is better"),
    _Metric("log_loss_skill", "Log loss skill", "As the Brier skill"),
    _Metric("calibration_slope", "Calibration slope", "Of all folds together; ideal 1"),
    _Metric("calibration_intercept", "Calibration intercept", "Of all folds together; ideal 0"),
    _Metric("calibration_error", "Calibration error", "Of all folds together, five bins; ideal 0"),
)

_PERSON = ["participant_id", "session_id"]


def metric_rows(metrics: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Lay the metrics out with a row per metric and a cell per model.

    Parameters
    ----------
    metrics
        Rows of ``_metrics.tsv``.
    names
        Readable name of each model, in the order of the cells.

    Returns
    -------
    list of dict
        ``name``, ``hint`` and ``cells``, metrics that nobody has left out.
    """
    by_key = {(row["metric"], row["model"]): row for row in metrics.to_dict("records")}
    present = {metric for metric, _ in by_key}
    return [
        {
            "name": metric.name,
            "hint": metric.hint,
            "cells": [_cell(by_key.get((metric.column, model), {})) for model in names],
        }
        for metric in METRICS
        if metric.column in present
    ]


def _cell(row: Mapping[Any, Any]) -> dict[str, str]:
    # A fold alone is too small for some metrics; what they have is the pooled value.
    shown = "pooled" if pd.isna(row.get("mean")) else "mean"
    return {
        "mean": number(row.get(shown)),
        "interval": interval(row.get(f"{shown}_low"), row.get(f"{shown}_high")),
        "pooled": number(row.get("pooled")),
        "pooled_interval": interval(row.get("pooled_low"), row.get("pooled_high")),
        "fold_sd": number(row.get("fold_sd")),
    }


def comparison_rows(comparison: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    """Spell the rows of ``_comparison.tsv``."""
    metric_names = {metric.column: metric.name for metric in METRICS}
    return [
        {
            "model": names.get(row["model"], row["model"]),
            "metric": metric_names.get(row["metric"], row["metric"]),
            "difference": number(row["difference"]),
            "interval": interval(row["low"], row["high"]) or "n/a",
            "p": number(row["p"], 3),
        }
        for row in comparison.to_dict("records")
    ]


def eligibility_rows(eligibility: pd.DataFrame) -> list[dict[str, Any]]:
    """Give each step its share of the first, in percent, for the bars."""
    rows = eligibility.to_dict("records")
    most = max((row["n"] for row in rows), default=0) or 1
    return [
        {"step": row["step"], "n": int(row["n"]), "share": number(100 * row["n"] / most, 1)}
        for row in rows
    ]


def exclusion_counts(exclusions: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Count the exclusions of each stage and reason, the most frequent first."""
    if exclusions.empty:
        return []
    counts = exclusions.groupby(["stage", "reason"], sort=False, dropna=False).size()
    ordered = counts.sort_values(ascending=False, kind="stable").reset_index(name="n")
    return ordered.to_dict("records")


def per_person(predictions: pd.DataFrame) -> pd.DataFrame:
    """Reduce the predictions to one row per person: probabilities are means over repeats.

    Parameters
    ----------
    predictions
        Rows of ``_predictions.tsv``, one per person and repeat.

    Returns
    -------
    pandas.DataFrame
        In the order of first appearance, with ``positive_share``, the share of repeats that call
        the person positive.
    """
    votes = predictions.assign(positive_share=predictions["y_pred"].eq("1").astype(float))
    means = ("probability", "probability_low", "probability_high", "positive_share")
    how = {
        column: "mean" if column in means else "first"
        for column in votes.columns
        if column not in _PERSON
    }
    return votes.groupby(_PERSON, sort=False, dropna=False).agg(how).reset_index()


def people_rows(people: pd.DataFrame, outcome_names: Mapping[str, str]) -> list[dict[str, str]]:
    """Spell one row per person for the table at the end of the report.

    Parameters
    ----------
    people
        What `per_person` gives.
    outcome_names
        Readable name of the outcomes ``0`` and ``1``.

    Returns
    -------
    list of dict
        Text by column.
    """
    return [
        {
            "participant_id": row["participant_id"],
            "session_id": _text(row["session_id"]),
            "outcome": outcome_names.get(row["y_true"], "n/a"),
            "probability": number(row["probability"]),
            "percent": "0" if pd.isna(row["probability"]) else f"{100 * row['probability']:.0f}",
            "range": interval(row["probability_low"], row["probability_high"]) or "n/a",
            "predicted": outcome_names["1" if row["positive_share"] >= 0.5 else "0"],
            "fold": _text(row["fold"]),
            "n_runs": number(row["n_runs"], 0),
            "qc_flag": _text(row["qc_flag"]),
            # n/a: the scan lies within what the network was trained on.
            "out_of_distribution": _text(row["out_of_distribution"]).replace("n/a", "no"),
        }
        for row in people.to_dict("records")
    ]


def confusion(predictions: pd.DataFrame) -> dict[str, str]:
    """Count right and wrong calls, in people: means over repeats."""
    known = predictions[predictions["y_true"].notna() & predictions["y_pred"].notna()]
    n_repeats = max(known["repeat"].nunique(), 1)
    digits = 0 if n_repeats == 1 else 1
    cells = {"tp": ("1", "1"), "fp": ("0", "1"), "fn": ("1", "0"), "tn": ("0", "0")}
    return {
        name: number(
            (known["y_true"].eq(true) & known["y_pred"].eq(called)).sum() / n_repeats, digits
        )
        for name, (true, called) in cells.items()
    }


def _text(value: object) -> str:
    if value is None or value != value:  # NaN is the only value that differs from itself
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

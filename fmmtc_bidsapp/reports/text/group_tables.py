"""Tables of the group report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from fmmtc_bidsapp.reports.data.metric_columns import HEADLINE, METRICS
from fmmtc_bidsapp.reports.data.number_format import (
    interval,
    interval_or_bound,
    number,
    p_value,
    percent,
)

__all__ = [
    "CALLS",
    "cell_of",
    "confusion",
    "eligibility_rows",
    "exclusion_counts",
    "metric_table",
    "model_rows",
    "people_rows",
    "spelled_apart",
    "text_of",
]


CALLS = {
    ("1", "1"): "true positive",
    ("0", "1"): "false positive",
    ("1", "0"): "false negative",
    ("0", "0"): "true negative",
}
"""What a call is, by outcome and prediction."""

_ROUNDING = 1e-12
_MOST_DIGITS = 6


_BESIDE = ("balanced_accuracy", "f1_macro", "mcc", "brier")
"""Shown beside the AUROC where there is no room for all."""


def model_rows(metrics: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Format one row per model: AUROC, p values, verdict, and the metrics of ``_BESIDE``."""
    by_key = _by_key(metrics)
    rows = []
    for model, name in names.items():
        headline = by_key.get((HEADLINE, model), {})
        shown = [by_key.get((metric, model), {}) for metric in (HEADLINE, *_BESIDE)]
        row = {
            "name": name,
            "cells": [cell_of(each) for each in shown],
            "p": number(headline.get("p"), 3),
            "p_adjusted": number(headline.get("p_adjusted"), 3),
            "p_hint": _of_floor(headline),
            "n_permutations": number(headline.get("n_permutations"), 0),
            "verdict": text_of(headline.get("verdict")),
        }
        rows.append(row)
    return rows


def _of_floor(headline: Mapping[Any, Any]) -> str:
    """State that a p is the smallest possible; else empty."""
    _, _, floor = p_value(headline.get("p"), headline.get("n_permutations")).partition(", the ")
    return floor


def metric_table(metrics: pd.DataFrame, names: Mapping[str, str]) -> dict[str, Any]:
    """Format every metric: ``columns`` that a model has, and ``rows`` with their ``cells``."""
    by_key = _by_key(metrics)
    present = {metric for metric, _ in by_key}
    columns = [metric for metric in METRICS if metric.column in present]
    rows = [
        {"name": name, "cells": [cell_of(by_key.get((each.column, model), {})) for each in columns]}
        for model, name in names.items()
    ]
    return {"columns": columns, "rows": rows}


def _by_key(metrics: pd.DataFrame) -> dict[tuple[str, str], Mapping[Hashable, Any]]:
    return {(row["metric"], row["model"]): row for row in metrics.to_dict("records")}


def cell_of(row: Mapping[Any, Any]) -> dict[str, str]:
    """Format one metric of one model."""
    # A fold alone is too small for some metrics; what they have is the pooled value.
    shown = "pooled" if pd.isna(row.get("mean")) else "mean"
    chance = _if_calibrated(row)
    found = {
        name: interval_or_bound(row.get(f"{name}_low"), row.get(f"{name}_high"), row.get("bound"))
        for name in (shown, "pooled")
    }
    return {
        "mean": number(row.get(shown)),
        "interval": chance or found[shown],
        "pooled": number(row.get("pooled")),
        "pooled_interval": chance or found["pooled"],
        "fold_sd": number(row.get("fold_sd")),
    }


def _if_calibrated(row: Mapping[Any, Any]) -> str:
    """State the calibration error expected by chance; empty for other metrics."""
    expected = number(row.get("pooled_if_calibrated"))
    if expected == "n/a":
        return ""
    return f"{expected} if calibrated, p = {number(row.get('pooled_if_calibrated_p'))}"


def eligibility_rows(eligibility: pd.DataFrame) -> list[dict[str, Any]]:
    """Format each step: counts by outcome and arm, and its share of the first in percent."""
    rows = eligibility.to_dict("records")
    most = max((row["n"] for row in rows), default=0) or 1
    return [
        {
            "step": row["step"],
            "n": int(row["n"]),
            "share": number(100 * row["n"] / most, 1),
            "divided": _divided(row),
        }
        for row in rows
    ]


def _divided(row: Mapping[Hashable, Any]) -> dict[str, str]:
    arms = {
        str(name).removeprefix("n_positive"): str(name)
        for name in row
        if str(name).startswith("n_positive")
    }
    return {
        _divided_title(arm): f"{_whole(row[column])} / {_whole(row[f'n_negative{arm}'])}"
        for arm, column in arms.items()
        if f"n_negative{arm}" in row
    }


def _divided_title(ending: str) -> str:
    return ending.replace("_arm-", "arm: ", 1) if ending else "all"


def _whole(count: float) -> str:
    return number(count, 0)


def exclusion_counts(exclusions: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Count the exclusions of each stage and reason, the most frequent first."""
    if exclusions.empty:
        return []
    counts = exclusions.groupby(["stage", "reason"], sort=False, dropna=False).size()
    ordered = counts.sort_values(ascending=False, kind="stable").reset_index(name="n")
    return ordered.to_dict("records")


def people_rows(people: pd.DataFrame, outcome_names: Mapping[str, str]) -> list[dict[str, str]]:
    """Format one row per participant for the last table of the report."""
    return [
        {
            "participant_id": row["participant_id"],
            "session_id": text_of(row["session_id"]),
            "outcome": outcome_names.get(row["y_true"], "n/a"),
            "is_positive": text_of(row["y_true"]).replace("/", ""),
            "probability": spelled_apart(row["probability"], row["threshold"]),
            "threshold": number(row["threshold"]),
            "exact": text_of(row["probability"]),
            "percent": "0" if pd.isna(row["probability"]) else f"{100 * row['probability']:.0f}",
            "range": interval(row["probability_low"], row["probability_high"]) or "n/a",
            "predicted": outcome_names.get(row["y_pred"], "n/a"),
            "call": CALLS.get((row["y_true"], row["y_pred"]), "n/a"),
            "fold": text_of(row["fold"]),
            "n_runs": number(row["n_runs"], 0),
            "qc_flag": text_of(row["qc_flag"]),
            # n/a: the scan lies within what the network was trained on.
            "out_of_distribution": text_of(row["out_of_distribution"]).replace("n/a", "no"),
        }
        for row in people.to_dict("records")
    ]


def spelled_apart(probability: float, threshold: float) -> str:
    """Format a probability with two digits, or more if the threshold would look equal."""
    digits = 2
    while (
        digits < _MOST_DIGITS
        and abs(probability - threshold) > _ROUNDING
        and number(probability, digits) == number(threshold, digits)
    ):
        digits += 1
    return number(probability, digits)


def confusion(people: pd.DataFrame) -> dict[str, str]:
    """Count right and wrong calls, and their share of each outcome in percent."""
    known = people[people["y_true"].notna() & people["y_pred"].notna()]
    cells = {"tp": ("1", "1"), "fp": ("0", "1"), "fn": ("1", "0"), "tn": ("0", "0")}
    counts = {
        name: int((known["y_true"].eq(true) & known["y_pred"].eq(called)).sum())
        for name, (true, called) in cells.items()
    }
    of_outcome = {name: int(known["y_true"].eq(true).sum()) for name, (true, _) in cells.items()}
    return {name: number(count, 0) for name, count in counts.items()} | {
        f"{name}_share": percent(count / of_outcome[name] if of_outcome[name] else float("nan"))
        for name, count in counts.items()
    }


def text_of(value: object) -> str:
    """Format a value; ``n/a`` where there is none."""
    if value is None or value != value:  # NaN is the only value that differs from itself
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

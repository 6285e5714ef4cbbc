"""Tables that compare models, arms and protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fmmtc_bidsapp.reports.data.metric_columns import HEADLINE, METRICS, MetricColumn
from fmmtc_bidsapp.reports.data.number_format import interval, number
from fmmtc_bidsapp.reports.text.group_tables import cell_of, text_of

__all__ = [
    "arm_differences",
    "arm_rows",
    "arm_sentences",
    "comparison_tables",
    "optimism_rows",
]


def _with_interval(cell: dict[str, str]) -> dict[str, str]:
    """Of a single training the bootstrap's interval is all there is; the note says so."""
    return cell if cell["interval"] else cell | {"interval": cell["pooled_interval"]}


def comparison_tables(comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """Format ``_comparison.tsv`` as the tables of the paper and one of all other rows."""
    if comparison.empty:
        return []
    line = ["table", "row", "model", "title", "selection", "train_on", "test_on"]
    shown = [each for each in METRICS if (comparison["metric"] == each.column).any()]
    tables: dict[str, dict[str, Any]] = {}
    for key, rows in comparison.groupby(line, sort=False, dropna=False):
        named: dict[str, Any] = dict(zip(line, key, strict=True))
        name = "" if pd.isna(named["table"]) else named["table"]
        empty = {"name": name, "metrics": shown, "rows": [], "has_arms": False}
        table = tables.setdefault(name, empty)
        table["rows"].append(_line(named, rows, shown))
        table["has_arms"] |= not pd.isna(named["train_on"])
    plain = [tables.pop("")] if "" in tables else []
    return [*tables.values(), *plain]


def _line(
    named: Mapping[str, Any], rows: pd.DataFrame, metrics: Sequence[MetricColumn]
) -> dict[str, Any]:
    by_metric = {row["metric"]: row for row in rows.to_dict("records")}
    headline = by_metric.get(HEADLINE, {})
    nested = named["selection"] == "nested"
    return {
        "row": number(named["row"], 0),
        "title": named["title"] if nested else f"{named['title']}, epoch: {named['selection']}",
        "arms": "" if pd.isna(named["train_on"]) else f"{named['train_on']} → {named['test_on']}",
        "cells": [_with_interval(cell_of(by_metric.get(each.column, {}))) for each in metrics],
        "difference": number(headline.get("difference")),
        "difference_interval": interval(
            headline.get("difference_low"), headline.get("difference_high")
        ),
        "difference_p": number(headline.get("difference_p_holm", headline.get("difference_p")), 3),
        "note": "" if pd.isna(headline.get("note")) else headline["note"],
    }


def arm_rows(arms: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    """Format the rows of ``_arms.tsv`` that are of one arm, the main model first."""
    return _of_arms(arms, names, differences=False)


def arm_differences(arms: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    """Format the rows of ``_arms.tsv`` that are differences of two arms, the main model first."""
    return _of_arms(arms, names, differences=True)


def _of_arms(
    arms: pd.DataFrame, names: Mapping[str, str], *, differences: bool
) -> list[dict[str, str]]:
    if arms.empty:
        return []
    metric_names = {metric.column: metric.name for metric in METRICS}
    kept = arms[arms["other"].notna() == differences]
    return [
        {
            "model": names[row["model"]],
            "metric": metric_names.get(row["metric"], row["metric"]),
            "arm": f"{row['arm']} − {row['other']}" if differences else text_of(row["arm"]),
            "n": number(row["n"], 0),
            "n_positive": number(row["n_positive"], 0),
            "value": number(row["value"]),
            "interval": interval(row["low"], row["high"]) or "n/a",
        }
        for model in names
        for row in kept[kept["model"] == model].to_dict("records")
    ]


def arm_sentences(arms: pd.DataFrame, main: str, about: Mapping[str, Any]) -> list[str]:
    """State the main model's AUROC in each arm and whether arms differ; empty without arms."""
    if arms.empty:
        return []
    column = about.get("Options", {}).get("subset_by") or "arm"
    own = arms[(arms["model"] == main) & (arms["metric"] == HEADLINE)].to_dict("records")
    alone = [_in_one_arm(row, column) for row in own if pd.isna(row["other"])]
    apart = [_between_arms(row) for row in own if not pd.isna(row["other"])]
    return [*alone, *apart]


def _in_one_arm(row: Mapping[Any, Any], column: str) -> str:
    people = f"{number(row['n'], 0)} people, {number(row['n_positive'], 0)} of them positive"
    if pd.isna(row["value"]):
        return f"{column} = {row['arm']}: no AUROC for {people}."
    limits = interval(row["low"], row["high"]) or "not known"
    return (
        f"{column} = {row['arm']}: AUROC {number(row['value'])} (95 % bootstrap interval {limits}) "
        f"in {people}; not tested separately."
    )


def _between_arms(row: Mapping[Any, Any]) -> str:
    words = f"{row['arm']} minus {row['other']}: {number(row['value'])}"
    limits = interval(row["low"], row["high"])
    if not limits:
        return f"{words}, interval not known."
    clear = row["low"] > 0 or row["high"] < 0
    return f"{words} ({limits}): {'the arms differ' if clear else 'no clear difference'}."


def optimism_rows(metrics: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    """Format the values of other choices of the epoch, where they were computed."""
    if metrics.empty or "last_epoch" not in metrics:
        return []
    metric_names = {metric.column: metric.name for metric in METRICS}
    known = metrics[metrics["last_epoch"].notna()]
    # Tables of older versions compare with the calibrated mean.
    nested = "nested_uncalibrated" if "nested_uncalibrated" in known else "mean"
    return [
        {
            "model": names.get(row["model"], row["model"]),
            "metric": metric_names.get(row["metric"], row["metric"]),
            **{
                name: number(row[column])
                for name, column in (
                    ("nested", nested),
                    ("last_epoch", "last_epoch"),
                    ("best_on_test", "best_on_test"),
                    ("optimism", "optimism"),
                )
            },
        }
        for row in known.to_dict("records")
    ]

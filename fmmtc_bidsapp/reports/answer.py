"""The first sentences of a group report: the result, and what it is worth at this size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fmmtc_bidsapp.reports.pages import interval, number

__all__ = ["answer_of_application", "answer_of_training", "meaning"]

CHANCE = 0.5


def answer_of_training(
    metrics: pd.DataFrame, main: str, name: str, about: Mapping[str, Any]
) -> str:
    """Say in one sentence how well people nobody trained on were predicted.

    Parameters
    ----------
    metrics
        Rows of ``_metrics.tsv``.
    main, name
        Key and readable name of the main model.
    about
        Content of ``_metrics.json``.

    Returns
    -------
    str
        The headline AUROC with its interval.
    """
    row = _metric(metrics, main, "auroc")
    if row is None or pd.isna(row["mean"]):
        return f"{name} could not be judged: there is no AUROC."
    limits = interval(row["mean_low"], row["mean_high"]) or "not known"
    return (
        f"On people it had not seen, {name} reached an AUROC of {number(row['mean'])} "
        f"(95 % interval {limits}; guessing gives 0.50) for "
        f"{about.get('Target', 'the outcome')} in {about.get('N', 'n/a')} people."
    )


def answer_of_application(people: pd.DataFrame, name: str, positive: str) -> str:
    """Say how many people a trained model calls positive, where nothing was judged."""
    n, called = len(people), int((people["positive_share"] >= CHANCE).sum())
    noun = "person" if n == 1 else "people"
    truth = (
        "Performance was not computed for them."
        if people["y_true"].notna().any()
        else "Their outcomes are not known here, so how often it is right cannot be said."
    )
    return f"{name} was applied to {n} {noun} and calls {called} of them {positive}. {truth}"


def meaning(
    metrics: pd.DataFrame,
    comparison: pd.DataFrame,
    main: str,
    names: Mapping[str, str],
    about: Mapping[str, Any],
) -> list[str]:
    """Say in plain words what the result is worth at this sample size.

    Parameters
    ----------
    metrics, comparison
        Rows of ``_metrics.tsv`` and ``_comparison.tsv``.
    main
        Key of the main model.
    names
        Readable name of each model.
    about
        Content of ``_metrics.json``.

    Returns
    -------
    list of str
        Sentences; those whose figures are not there are left out.
    """
    auroc, skill = (_metric(metrics, main, each) for each in ("auroc", "brier_skill"))
    return [
        *_size(about),
        *([] if auroc is None else _against_chance(auroc)),
        *_against_baselines(comparison, names),
        *([] if skill is None else _of_probabilities(skill)),
    ]


def _metric(metrics: pd.DataFrame, model: str, metric: str) -> pd.Series | None:
    rows = metrics[(metrics["model"] == model) & (metrics["metric"] == metric)]
    return None if rows.empty else rows.iloc[0]


def _size(about: Mapping[str, Any]) -> list[str]:
    half = about.get("ExpectedHalfWidth")
    if not isinstance(half, int | float):
        return []
    return [
        f"{about.get('NPositive', 'n/a')} of {about.get('N', 'n/a')} people are positive. At this "
        f"size an AUROC is known to about ±{number(half)}: a model that knows nothing can land "
        f"anywhere from {number(CHANCE - half)} to {number(CHANCE + half)}."
    ]


def _against_chance(auroc: pd.Series) -> list[str]:
    low, high = auroc["mean_low"], auroc["mean_high"]
    if pd.isna(low) or pd.isna(high):
        return []
    if low > CHANCE:
        return [
            "The interval lies above 0.5. Only a permutation run tests whether that is more "
            "than luck."
        ]
    if high < CHANCE:
        return [
            "The interval lies below 0.5: worse than guessing, which small samples and "
            "stratified folds can produce, or mixed-up labels."
        ]
    return ["The interval includes 0.5: these data do not tell the model from guessing."]


def _against_baselines(comparison: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    if comparison.empty:
        return []
    rows = comparison[comparison["metric"] == "auroc"].to_dict("records")
    return [_one_baseline(row, names.get(row["model"], row["model"])) for row in rows]


def _one_baseline(row: Mapping[Any, Any], name: str) -> str:
    words = f"Its AUROC minus that of {name} is {number(row['difference'])}"
    limits = interval(row["low"], row["high"])
    if not limits:
        return f"{words}."
    if row["low"] > 0:
        return f"{words} ({limits}): it does better."
    if row["high"] < 0:
        return f"{words} ({limits}): it does worse."
    return f"{words} ({limits}): no clear difference."


def _of_probabilities(skill: pd.Series) -> list[str]:
    if pd.isna(skill["mean"]):
        return []
    limits = interval(skill["mean_low"], skill["mean_high"]) or "interval not known"
    words = (
        f"Brier skill of its probabilities: {number(skill['mean'])} ({limits}), where 0 is telling "
        "everyone the share of positives"
    )
    if skill["mean"] <= 0:
        return [f"{words}: they are no better than that."]
    clear = skill["mean_low"] > 0
    return [f"{words}: {'they are better' if clear else 'no clear gain'}."]

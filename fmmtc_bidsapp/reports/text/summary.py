"""Summary of the group report: the result, and what it is worth at this sample size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fmmtc_bidsapp.records.verdict import (
    LEVEL,
    NOT_TESTED,
    added_steps,
    predicts,
    untested_steps,
)
from fmmtc_bidsapp.reports.data.number_format import interval, number, p_value, shows_spread
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words

__all__ = [
    "answer_of_application",
    "answer_of_training",
    "answer_of_validation",
    "meaning",
    "notices",
    "people_of",
    "titled_verdict",
    "verdict_of",
]

CHANCE = 0.5
_NESTED = "nested"
_BASELINES = ("dummy", "covariates", "motion", "acquisition", "fc-logistic")
_NAME = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")


def answer_of_training(
    metrics: pd.DataFrame, main: str, name: str, about: Mapping[str, Any]
) -> str:
    """State the verdict and the main model's AUROC in held-out participants, in one sentence."""
    row = _metric(metrics, main, "auroc")
    if row is None or pd.isna(row["mean"]):
        return f"{name} was not evaluated: there is no AUROC."
    limits = _interval_in_words(row, "mean", "95 % interval")
    p = row.get("p_adjusted")
    tested = "" if pd.isna(p) else f"; adjusted p = {p_value(p, row.get('n_permutations'))}"
    words = verdict_of(row)
    return (
        f"{words[0].upper()}{words[1:]}: in held-out people, {name} reached an AUROC of "
        f"{number(row['mean'])} ({limits}; chance level 0.50{tested}) for "
        f"{_asked(about)} in {people_of(about, main)}."
        f"{_left_out(about, main) if predicts(words) else ''}"
    )


def _left_out(about: Mapping[str, Any], main: str) -> str:
    """List the steps that could not be tested, with reasons; empty if there are none."""
    steps = about.get("Steps", {}).get(main, ())
    reasons = untested_steps(
        [(each["Step"], each["Reason"]) for each in steps if each["Reached"] is None]
    )
    return f" {reasons[0].upper()}{reasons[1:]}." if reasons else ""


def people_of(about: Mapping[str, Any], model: str) -> str:
    """State of how many people a model's figures are: ``8 of 24 people (1 of 3 folds)``."""
    n, own = about.get("N", "n/a"), about.get("People", {}).get(model)
    folds, planned = about.get("FoldsFitted", {}).get(model), about.get("FoldsPlanned")
    if folds is None or folds == planned:
        return f"{n} people"
    return f"{own} of {n} people ({folds} of {planned} folds)"


def answer_of_validation(
    metrics: pd.DataFrame, main: str, name: str, about: Mapping[str, Any]
) -> str:
    """State the pooled AUROC of a trained model in participants whose outcomes are known."""
    row = _metric(metrics, main, "auroc")
    if row is None or pd.isna(row["pooled"]):
        return f"{name} was not evaluated in these people: there is no AUROC."
    limits = _interval_in_words(row, "pooled", "95 % bootstrap interval")
    return (
        f"On {about.get('N', 'n/a')} {_who(about)} {name} without refitting reached an AUROC of "
        f"{number(row['pooled'])} ({limits}; chance level 0.50) for "
        f"{_asked(about)}."
    )


def _asked(about: Mapping[str, Any]) -> str:
    """Name the predicted column, and its outcomes if they have words."""
    if "Target" not in about:
        return "the outcome"
    words = outcome_words(about)
    has_words = about.get("PositiveMeaning") and about.get("NegativeMeaning")
    words_of_outcomes = f" ({words['1']} or {words['0']})" if has_words else ""
    return f"{about['Target']}{words_of_outcomes}"


def _who(about: Mapping[str, Any]) -> str:
    """Call people new only where the bundle knows whom it was trained on."""
    left_out = about.get("TrainingPeopleLeftOut")
    if not about.get("TrainingPeopleKnown"):
        return "people, of whom it is not known whether they were in training,"
    return f"new people ({left_out} of the training people left out)" if left_out else "new people"


def _interval_in_words(row: pd.Series, what: str, name: str) -> str:
    """Format the interval of an AUROC, or without a spread the lower bound."""
    bound = number(row.get("bound"))
    if bound != "n/a" and not shows_spread(row[f"{what}_low"], row[f"{what}_high"]):
        same = "the AUROC was the same in every " + ("fold" if what == "mean" else "bootstrap draw")
        return f"no interval: {same}; with so few people, the true AUROC may be as low as {bound}"
    if what == "mean" and row.get("fold_sd") == 0:
        return "no interval: the AUROC was the same in every fold"
    return f"{name} {interval(row[f'{what}_low'], row[f'{what}_high']) or 'not known'}"


def verdict_of(row: Mapping[Any, Any] | pd.Series) -> str:
    """Read the verdict of a model from its AUROC row; without one nothing was tested."""
    words = row.get("verdict")
    return words if isinstance(words, str) else NOT_TESTED


def titled_verdict(verdict: str, names: Mapping[str, str]) -> str:
    """Call the models in a verdict as the report does; words that are also plain stay."""
    plain = {"acquisition", "covariates", "dummy", "motion", "random"}
    return _NAME.sub(
        lambda word: word[0] if word[0] in plain else names.get(word[0], word[0]), verdict
    )


def answer_of_application(people: pd.DataFrame, name: str, positive: str) -> str:
    """State how many people a trained model calls positive, where nothing was judged."""
    n, called = len(people), int(people["y_pred"].eq("1").sum())
    noun = "person" if n == 1 else "people"
    truth = (
        "Performance was not computed."
        if people["y_true"].notna().any()
        else "Their outcomes are not known, so performance cannot be computed."
    )
    return (
        f"{name} was applied to {n} {noun} and classifies {called} of them as {positive}. {truth}"
    )


def notices(about: Mapping[str, Any], kind: str, main: str) -> list[tuple[str, str]]:
    """List what must be known before the result, as heading and sentence."""
    messages: list[tuple[str, str]] = []
    if about.get("Warning"):
        messages.append(
            (
                f"{about['Warning']}.",
                "Values under this name show the effect of the published protocol. No other value "
                "was selected on test participants.",
            )
        )
    if about.get("Duplicates"):
        pairs = [f"{each['First']} and {each['Second']}" for each in about["Duplicates"]]
        messages.append(
            (
                "A scan or a person may be included twice.",
                f"The connectivity of {', '.join(pairs)} is nearly identical, or far more similar "
                "than that of all others. They were kept in one fold and permuted together.",
            )
        )
    if about.get("AcquisitionWarnings"):
        messages.append(
            (
                "Scan properties are associated with the outcome.",
                f"{'; '.join(about['AcquisitionWarnings'])}. A model may use these properties "
                "instead of the brain: see the step beyond motion and acquisition.",
            )
        )
    if kind == "compare":
        messages.append(
            (
                "No model was saved.",
                f"A comparison writes no bundle. The probabilities below are those of {main}, the "
                "first model.",
            )
        )
    if about.get("AtlasFallback") and about.get("Encoder") == "brainlm":
        messages.append(
            (
                f"The atlas is {about.get('Atlas', 'another')}, not A424.",
                "BrainLM was trained on A424; results on other parcels cannot be compared with it.",
            )
        )
    if about.get("Notice"):
        messages.append(("Note.", about["Notice"]))
    return messages


def meaning(
    metrics: pd.DataFrame,
    comparison: pd.DataFrame,
    main: str,
    names: Mapping[str, str],
    about: Mapping[str, Any],
) -> list[str]:
    """State what the result means at this sample size; missing values have no sentence."""
    auroc, skill = (_metric(metrics, main, each) for each in ("auroc", "brier_skill"))
    return [
        *_size(about),
        *([] if auroc is None else _of_the_test(auroc, main, about)),
        *([] if auroc is None else _of_the_interval(auroc)),
        *_against_baselines(comparison, main, names),
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
        f"{about.get('NPositive', 'n/a')} of {about.get('N', 'n/a')} people are positive"
        f"{_meant(about)}. At this "
        f"size an AUROC has a 95 % interval of about ±{number(half)}: a model without information "
        f"can reach any value from {number(CHANCE - half)} to {number(CHANCE + half)}."
    ]


def _meant(about: Mapping[str, Any]) -> str:
    return f" ({outcome_words(about)['1']})" if "Target" in about else ""


def _of_the_test(auroc: pd.Series, main: str, about: Mapping[str, Any]) -> list[str]:
    """State the result of the permutation test, with the written verdict."""
    words, p = verdict_of(auroc), auroc.get("p")
    adjusted = float(auroc.get("p_adjusted", float("nan")))
    if words == NOT_TESTED or pd.isna(p):
        why = about.get("NotTested", {}).get(main)
        return [
            f"It was not tested against permuted outcomes{f': {why}' if why else ''}. Whether it "
            "predicts better than chance is not known."
        ]
    n_permutations = auroc.get("n_permutations")
    reached = adjusted <= LEVEL and not words.startswith("no ")
    found = (
        f"Against {number(n_permutations, 0)} permutations of the outcome, p = "
        f"{p_value(p, n_permutations)}, and {number(adjusted, 3)} when adjusted for all models "
        f"tested: {words}."
    )
    steps = about.get("Steps", {}).get(main, ())
    return [found, *(_of_a_step(step) for step in steps if reached)]


def _of_a_step(step: Mapping[str, Any]) -> str:
    """State whether the model adds to the reference columns."""
    name = f"{step['Step'][:1].upper()}{step['Step'][1:]}"
    if step["Reached"] is None:
        return f"{name}: {NOT_TESTED}, since {step['Reason']}."
    against = ", ".join(step["HeldAgainst"])
    meaning = next(each.meaning for each in added_steps() if each.name == step["Step"])
    shown = "" if step["Reached"] else "not shown that it "
    unknown = f" ({step['Reason']})" if step["Reason"] else ""
    return (
        f"{name}{unknown}: {shown}{meaning}. The AUROC of {against} alone is "
        f"{number(step['ReferenceAUROC'])}, and {number(step['AUROC'])} with the model's score "
        f"added; adjusted p = {number(step['PAdjusted'], 3)}."
    )


def _of_the_interval(auroc: pd.Series) -> list[str]:
    if pd.isna(auroc["mean_high"]) or auroc["mean_high"] >= CHANCE:
        return []
    return [
        "The interval lies below 0.5, worse than chance. Small samples with stratified folds can "
        "cause this, and so can swapped labels."
    ]


def _against_baselines(comparison: pd.DataFrame, main: str, names: Mapping[str, str]) -> list[str]:
    if comparison.empty:
        return []
    plain = comparison[
        (comparison["metric"] == "auroc")
        & (comparison["selection"] == _NESTED)
        & comparison["train_on"].isna()
        & comparison["model"].isin(_BASELINES)
        & (comparison["model"] != main)
    ].drop_duplicates("model")
    return [
        _one_baseline(row, names.get(row["model"], row["model"]))
        for row in plain.to_dict("records")
    ]


def _one_baseline(row: Mapping[Any, Any], name: str) -> str:
    words = f"AUROC minus that of {name}: {number(row['difference'])}"
    limits = interval(row["difference_low"], row["difference_high"])
    if not limits:
        return f"{words}."
    if row["difference_low"] > 0:
        return f"{words} ({limits}), higher."
    if row["difference_high"] < 0:
        return f"{words} ({limits}), lower."
    return f"{words} ({limits}), no clear difference."


def _of_probabilities(skill: pd.Series) -> list[str]:
    if pd.isna(skill["mean"]):
        return []
    limits = interval(skill["mean_low"], skill["mean_high"]) or "interval not known"
    words = (
        f"Brier skill: {number(skill['mean'])} ({limits}), where 0 is a "
        "prediction of the share of positives for everyone"
    )
    if skill["mean"] <= 0:
        return [f"{words}: they are no better than that."]
    clear = skill["mean_low"] > 0
    return [f"{words}: {'they are better' if clear else 'no clear gain'}."]

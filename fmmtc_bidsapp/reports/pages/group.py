"""The group report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import (
    GroupFiles,
    model_card,
    participant_report,
    sheet_path,
)
from fmmtc_bidsapp.reports.data.group_analysis import Analysis, read_analysis
from fmmtc_bidsapp.reports.data.metric_columns import HEADLINE
from fmmtc_bidsapp.reports.data.number_format import number
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table
from fmmtc_bidsapp.reports.figures import group_figures as figures
from fmmtc_bidsapp.reports.figures import group_forests as forests
from fmmtc_bidsapp.reports.figures.group_bands import BAND_DRAWS, curve_bands
from fmmtc_bidsapp.reports.pages.group_about import about_section
from fmmtc_bidsapp.reports.pages.group_explanation import explanation_section
from fmmtc_bidsapp.reports.pages.group_motion import motion_section, qcfc_section
from fmmtc_bidsapp.reports.pages.heading import group_heading
from fmmtc_bidsapp.reports.pages.render import card_html, methods_html, render_page
from fmmtc_bidsapp.reports.text import group_comparison as comparisons
from fmmtc_bidsapp.reports.text import group_tables as tables
from fmmtc_bidsapp.reports.text.methods import group_methods
from fmmtc_bidsapp.reports.text.summary import (
    answer_of_application,
    answer_of_training,
    answer_of_validation,
    meaning,
    notices,
    titled_verdict,
)

__all__ = ["group_answer", "write_group_report"]

_BASELINES = ("fc-logistic", "covariates", "dummy")
_MOST_LINES = 4
"""Of a figure with a line a model."""

_KINDS = {
    "train": "training",
    "compare": "comparing models",
    "apply": "applying a trained model",
}


def write_group_report(output_dir: Path, label: str) -> Path:
    """Write ``group_desc-<label>_report.html`` from the tables of the label."""
    files = GroupFiles(output_dir, label)
    analysis = read_analysis(files)
    explanation = explanation_section(files)
    html = render_page(
        "group.html.jinja",
        _opening(analysis, explanation)
        | _cohort(analysis)
        | _performance(analysis)
        | _comparison(analysis)
        | _probabilities(analysis)
        | {"explanation": explanation}
        | motion_section(analysis)
        | qcfc_section(output_dir)
        | _participants(analysis)
        | {
            "methods": methods_html(group_methods(output_dir, label)),
            "card": _card(analysis),
        }
        | about_section(analysis),
    )
    write_text(files.report, html)
    return files.report


def group_answer(output_dir: Path, label: str) -> str:
    """Read the answer of a group analysis from its tables: the sentence that opens the report."""
    analysis = read_analysis(GroupFiles(output_dir, label))
    return _answer(analysis, analysis.main_name)


def _opening(analysis: Analysis, explanation: Mapping[str, Any]) -> dict[str, Any]:
    about, main = analysis.about, analysis.main_name
    measured = not analysis.metrics.empty
    there = {
        "performance": measured,
        "comparison": measured and analysis.trained,
        "learning": _has_learning(analysis),
        "explanation": bool(explanation),
        "card": analysis.kind != "compare",
    }
    sections = {
        "answer": "Result",
        "people": "Participants",
        "performance": "Performance",
        "comparison": "Comparison",
        "probabilities": "Probabilities",
        "learning": "Learning",
        "explanation": "Explanation",
        "motion": "Head motion",
        "participants": "Predictions",
        "methods": "Methods",
        "card": "Model card",
        "about": "About",
    }
    return {
        "title": analysis.files.label,
        "heading": group_heading(analysis.files, about),
        "stem": analysis.files.report.stem.removesuffix("_report"),
        "lead": f"{main} · {analysis.outcome_names['1']}" if "Target" in about else main,
        "trained": analysis.trained,
        "sections": [(key, name) for key, name in sections.items() if there.get(key, True)],
        "notices": notices(about, analysis.kind, main),
        "kind": _KINDS[analysis.kind],
        "main_name": main,
        "answer": _answer(analysis, main),
        "in_arms": comparisons.arm_sentences(analysis.arms, analysis.main, about),
        "verdict": titled_verdict(about.get("Verdict", ""), analysis.model_names)
        if measured
        else "",
        "n": about.get("N", len(analysis.people)),
        "meaning": meaning(
            analysis.metrics, analysis.comparison, analysis.main, analysis.model_names, about
        )
        if measured
        else [],
    }


def _answer(analysis: Analysis, main: str) -> str:
    if analysis.metrics.empty:
        return answer_of_application(analysis.people, main, analysis.outcome_names["1"])
    judge = answer_of_training if analysis.trained else answer_of_validation
    return judge(analysis.metrics, analysis.main, main, analysis.about)


def _has_learning(analysis: Analysis) -> bool:
    return analysis.trained and not analysis.own_learning.empty


def _cohort(analysis: Analysis) -> dict[str, Any]:
    exclusions = read_table(analysis.files.exclusions)
    listed = exclusions.astype(object).where(exclusions.notna(), "n/a")
    return {
        "eligibility": tables.eligibility_rows(read_table(analysis.files.eligibility)),
        "exclusions_known": analysis.files.exclusions.exists(),
        "exclusions": listed.to_dict("records"),
        "exclusion_counts": tables.exclusion_counts(listed),
    }


def _performance(analysis: Analysis) -> dict[str, Any]:
    names = analysis.model_names
    if analysis.metrics.empty:
        return {"models": []}
    return {
        "models": tables.model_rows(analysis.metrics, names),
        "metrics": tables.metric_table(analysis.metrics, names),
        "forest": forests.forest(analysis.metrics, HEADLINE, names, chance=0.5),
    } | _curves(analysis)


def _curves(analysis: Analysis) -> dict[str, Any]:
    curves = read_table(analysis.files.curves)
    if curves.empty:
        return {"roc": "", "precision_recall": "", "roc_caption": "", "pr_caption": ""}
    # Over folds the folds themselves show how uncertain a curve is.
    bands = {} if analysis.trained else curve_bands(analysis.predictions)
    drawn = _few(analysis.model_names, analysis.main)
    what, band = _what_is_drawn(analysis, curves), _of_band(analysis, bands)
    return {
        "roc": figures.roc(curves, drawn, bands.get("roc")),
        "precision_recall": figures.precision_recall(
            curves, drawn, bands.get("pr"), _prevalence(analysis.people)
        ),
        "roc_caption": f"{what} its AUROC. The diagonal is chance. {band}".rstrip(),
        "pr_caption": f"{what} its average precision. Dashed: the share of positives, the "
        f"precision of chance. {band}".rstrip(),
    }


def _what_is_drawn(analysis: Analysis, curves: pd.DataFrame) -> str:
    """Describe a line and its area, up to the name of the metric."""
    if not analysis.trained:
        return "All participants pooled. The area under a line is"
    if "fold" not in curves:
        return (
            "Pooled held-out predictions of an older version. The tables give means over folds, so "
            "the area under a line is not"
        )
    return (
        f"Lines: mean over the held-out folds. Grey: folds of {analysis.main_name}. "
        "The area under a line is"
    )


def _of_band(analysis: Analysis, bands: Mapping[str, Any]) -> str:
    if analysis.trained:
        return ""
    if not bands:
        return "No band: too few people of an outcome."
    return (
        f"Shaded: pointwise 95 % band of {analysis.main_name} over {BAND_DRAWS} bootstrap draws of "
        "participants (for ROC within outcome), for this fit."
    )


def _few(names: Mapping[str, str], main: str) -> dict[str, str]:
    """Keep only the main model and the baselines if there are more models than colours."""
    if len(names) <= _MOST_LINES:
        return dict(names)
    return {model: names[model] for model in dict.fromkeys((main, *_BASELINES)) if model in names}


def _prevalence(people: pd.DataFrame) -> float | None:
    known = people["y_true"].dropna()
    return float(known.eq("1").mean()) if len(known) else None


def _comparison(analysis: Analysis) -> dict[str, Any]:
    names, arms = analysis.model_names, analysis.arms
    paired = forests.paired_differences(analysis.comparison)
    return {
        "differences": ""
        if paired.empty
        else forests.difference_forest(analysis.comparison, names, analysis.main_name),
        "comparison": comparisons.comparison_tables(analysis.comparison),
        "arm_forest": "" if arms.empty else forests.arm_forest(arms, analysis.main),
        "arms": comparisons.arm_rows(arms, names),
        "arm_differences": comparisons.arm_differences(arms, names),
        "arm_note": read_json(analysis.files.arms.with_suffix(".json")).get("Note", ""),
        "optimism": comparisons.optimism_rows(analysis.metrics, names),
    }


def _probabilities(analysis: Analysis) -> dict[str, Any]:
    names = analysis.outcome_names
    bins = read_table(analysis.files.calibration)
    thresholds = analysis.people["threshold"]
    known = dict(sorted(names.items(), reverse=True)) if analysis.has_outcome else {}
    unknown = {"n/a": "Outcome unknown"} if analysis.people["y_true"].isna().any() else {}
    dots = analysis.people.assign(group=analysis.people["y_true"].fillna("n/a"))
    low, high = thresholds.min(), thresholds.max()
    return {
        "probabilities": figures.probabilities(dots, known | unknown, float(thresholds.median())),
        "reliability": "" if bins.empty else figures.reliability(bins, analysis.main),
        "confusion": tables.confusion(analysis.people) if analysis.has_outcome else {},
        "threshold": number(low) if low == high else f"{number(low)} to {number(high)}",
        "positive_name": names["1"],
        "negative_name": names["0"],
        "n_repeats": max(analysis.predictions["repeat"].nunique(), 1),
        "learning": figures.learning_curves(analysis.own_learning)
        if _has_learning(analysis)
        else "",
    }


def _participants(analysis: Analysis) -> dict[str, Any]:
    people, names = analysis.people, analysis.outcome_names
    folds = sorted(people["fold"].dropna().unique(), key=lambda fold: (len(fold), fold))
    rows = [row | _links(analysis, row) for row in tables.people_rows(people, names)]
    return {
        "people": rows,
        "has_sheets": any(row["sheet"] for row in rows),
        "folds": folds,
        "calls": list(tables.CALLS.values()),
        "outcomes": names | ({"na": "unknown"} if people["y_true"].isna().any() else {}),
        "has_sessions": bool(people["session_id"].notna().any()),
        "has_outcome": analysis.has_outcome,
        "has_thresholds": len({row["threshold"] for row in rows}) > 1,
        "has_range": bool(people["probability_low"].notna().any()),
    }


def _links(analysis: Analysis, person: Mapping[str, str]) -> dict[str, str]:
    """Return the links to a participant's report and sheet, empty where there is none.

    Sheets are written for everyone a finished model predicted.
    """
    files = analysis.files
    participant, session = person["participant_id"], person["session_id"]
    key = participant if session == "n/a" else f"{participant}_{session}"
    report, start = participant_report(files.output_dir, participant), files.report.parent
    links = {"report": "", "sheet": ""}
    if report.exists():
        links["report"] = quote(os.path.relpath(report, start))
    if not analysis.trained:
        links["sheet"] = quote(os.path.relpath(sheet_path(files, key), start))
    return links


def _card(analysis: Analysis) -> Markup | str:
    """Read the card of the model that predicted, where it was kept in this folder."""
    label = analysis.about.get("Bundle", analysis.files.label)
    path = model_card(analysis.files.output_dir, label)
    return card_html(path.read_text(encoding="utf-8")) if path.is_file() else ""

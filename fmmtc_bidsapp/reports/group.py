"""The report of a group analysis: the answer first, then everything it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.write import write_text
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports import group_comparison as comparisons
from fmmtc_bidsapp.reports import group_figures as figures
from fmmtc_bidsapp.reports import group_tables as tables
from fmmtc_bidsapp.reports.answer import (
    answer_of_application,
    answer_of_training,
    answer_of_validation,
    meaning,
    notices,
    titled_verdict,
)
from fmmtc_bidsapp.reports.methods import flat_options, group_methods
from fmmtc_bidsapp.reports.pages import methods_html, number, render_page
from fmmtc_bidsapp.reports.written import program_version, read_json, read_table

__all__ = ["write_group_report"]

MAIN_MODEL, MAIN_NAME = "fmmtc", "FMM_TC"
_BASELINES = ("fc-logistic", "covariates", "dummy")
_MOST_LINES = 4
"""Of a figure with a line a model."""

_KINDS = {
    "train": "training",
    "compare": "comparing models",
    "apply": "applying a trained model",
}


@dataclass(frozen=True, eq=False)
class _Analysis:
    """The written tables of one label."""

    files: GroupFiles
    about: Mapping[str, Any]
    predictions: pd.DataFrame
    people: pd.DataFrame
    metrics: pd.DataFrame
    learning: pd.DataFrame

    @property
    def trained(self) -> bool:
        """Whether people were predicted by models that never saw them; else one was applied."""
        return bool(self.predictions["fold"].notna().any())

    @property
    def kind(self) -> str:
        if not self.trained:
            return "apply"
        return str(self.about.get("Analysis", "train"))

    @property
    def main(self) -> str:
        return str(self.about.get("MainModel", MAIN_MODEL))

    @property
    def model_names(self) -> dict[str, str]:
        """Readable names, the main model first."""
        names: dict[str, str] = dict(self.about.get("ModelNames", {}))
        first = {self.main: names.pop(self.main, MAIN_NAME)}
        present = {} if self.metrics.empty else {m: m for m in self.metrics["model"].unique()}
        return first | {model: names.get(model, model) for model in present if model != self.main}

    @property
    def outcome_names(self) -> dict[str, str]:
        target, value = self.about.get("Target"), self.about.get("PositiveValue")
        positive = "positive" if target is None else f"{target} = {value}"
        return {"1": positive, "0": "negative" if target is None else f"{target} ≠ {value}"}

    @property
    def has_outcome(self) -> bool:
        return bool(self.predictions["y_true"].notna().any())


def write_group_report(output_dir: Path, label: str) -> Path:
    """Write the HTML report of a group analysis from its tables.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    label
        Of the analysis, as in ``group_desc-<label>_…``.

    Returns
    -------
    Path
        ``group/group_desc-<label>_report.html``, one file without outside assets.

    Raises
    ------
    InputError
        If there are no predictions under the label, or a file cannot be read.
    OutputError
        If the report cannot be written.
    """
    analysis = _read(GroupFiles(output_dir, label))
    html = render_page(
        "group.html.jinja",
        _opening(analysis)
        | _cohort(analysis)
        | _performance(analysis)
        | _probabilities(analysis)
        | _participants(analysis)
        | {
            "methods": methods_html(group_methods(output_dir, label)),
            "about": _about(analysis),
            "options": _options(analysis),
        },
    )
    write_text(analysis.files.report, html)
    return analysis.files.report


def _options(analysis: _Analysis) -> list[tuple[str, str]]:
    """Spell every option as a reader would: lists by their members."""
    flat = sorted(flat_options(analysis.about.get("Options", {})).items())
    return [
        (name, ", ".join(map(str, value)) or "none")
        if isinstance(value, list)
        else (name, tables.text_of(value))
        for name, value in flat
    ]


def _read(files: GroupFiles) -> _Analysis:
    predictions = read_table(files.predictions)
    if predictions.empty:
        raise InputError(
            f"{files.predictions} is absent or has no rows, and a report needs predictions. "
            f"Run the group level with --label {files.label} first."
        )
    about = read_json(files.metrics.with_suffix(".json")) or read_json(
        files.predictions.with_suffix(".json")
    )
    # As text they are groups with names; a column with unknown outcomes is read as 0.0 and 1.0.
    classes = {0: "0", 1: "1"}
    predictions = predictions.assign(
        y_true=predictions["y_true"].map(classes), y_pred=predictions["y_pred"].map(classes)
    )
    return _Analysis(
        files,
        about,
        predictions,
        tables.per_person(predictions),
        read_table(files.metrics),
        read_table(files.learning),
    )


def _opening(analysis: _Analysis) -> dict[str, Any]:
    about, label = analysis.about, analysis.files.label
    measured = not analysis.metrics.empty
    main = analysis.model_names[analysis.main]
    comparison = read_table(analysis.files.comparison)
    sections = {
        "answer": "Answer",
        "people": "Who was in",
        **({"performance": "Performance"} if measured else {}),
        "probabilities": "Probabilities",
        **({"learning": "Learning"} if _has_learning(analysis) else {}),
        "participants": "Participants",
        "methods": "Methods",
        "about": "About",
    }
    return {
        "title": label,
        "lead": f"{main} · {analysis.outcome_names['1']}" if "Target" in about else main,
        "trained": analysis.trained,
        "sections": list(sections.items()),
        "notices": notices(about, analysis.kind, main),
        "kind": _KINDS[analysis.kind],
        "answer": _answer(analysis, main),
        "verdict": titled_verdict(about.get("Verdict", ""), analysis.model_names)
        if measured
        else "",
        "n": about.get("N", len(analysis.people)),
        "meaning": meaning(analysis.metrics, comparison, analysis.main, analysis.model_names, about)
        if measured
        else [],
    }


def _answer(analysis: _Analysis, main: str) -> str:
    if analysis.metrics.empty:
        return answer_of_application(analysis.people, main, analysis.outcome_names["1"])
    judge = answer_of_training if analysis.trained else answer_of_validation
    return judge(analysis.metrics, analysis.main, main, analysis.about)


def _has_learning(analysis: _Analysis) -> bool:
    return analysis.trained and not _own_learning(analysis).empty


def _own_learning(analysis: _Analysis) -> pd.DataFrame:
    """Take the first training of the main model."""
    learning = analysis.learning
    if learning.empty or "model" not in learning:
        return learning
    return learning[(learning["model"] == analysis.main) & (learning["seed"] == 0)]


def _cohort(analysis: _Analysis) -> dict[str, Any]:
    exclusions = read_table(analysis.files.exclusions)
    listed = exclusions.astype(object).where(exclusions.notna(), "n/a")
    return {
        "eligibility": tables.eligibility_rows(read_table(analysis.files.eligibility)),
        "exclusions_known": analysis.files.exclusions.exists(),
        "exclusions": listed.to_dict("records"),
        "exclusion_counts": tables.exclusion_counts(listed),
    }


def _performance(analysis: _Analysis) -> dict[str, Any]:
    names = analysis.model_names
    if analysis.metrics.empty:
        return {"models": []}
    curves = read_table(analysis.files.curves)
    drawn = _few(names, analysis.main)
    arms = read_table(analysis.files.arms)
    return {
        "models": tables.model_rows(analysis.metrics, names),
        "metrics": tables.metric_table(analysis.metrics, names),
        "main_name": names[analysis.main],
        "forest": figures.forest(analysis.metrics, "auroc", names, chance=0.5),
        "comparison": comparisons.comparison_tables(read_table(analysis.files.comparison)),
        "arms": comparisons.arm_rows(arms, names),
        "arm_differences": comparisons.arm_differences(arms, names),
        "arm_note": read_json(analysis.files.arms.with_suffix(".json")).get("Note", ""),
        "optimism": comparisons.optimism_rows(analysis.metrics, names),
        "roc": "" if curves.empty else figures.roc(curves, drawn),
        "precision_recall": ""
        if curves.empty
        else figures.precision_recall(curves, drawn, _prevalence(analysis.people)),
    }


def _few(names: Mapping[str, str], main: str) -> dict[str, str]:
    """Keep as many models as there are colours to tell them apart: the main one and baselines."""
    if len(names) <= _MOST_LINES:
        return dict(names)
    return {model: names[model] for model in (main, *_BASELINES) if model in names}


def _prevalence(people: pd.DataFrame) -> float | None:
    known = people["y_true"].dropna()
    return float(known.eq("1").mean()) if len(known) else None


def _probabilities(analysis: _Analysis) -> dict[str, Any]:
    names = analysis.outcome_names
    bins = read_table(analysis.files.calibration)
    thresholds = analysis.predictions["threshold"]
    known = dict(sorted(names.items(), reverse=True)) if analysis.has_outcome else {}
    unknown = {"n/a": "Outcome unknown"} if analysis.people["y_true"].isna().any() else {}
    dots = analysis.people.assign(group=analysis.people["y_true"].fillna("n/a"))
    low, high = thresholds.min(), thresholds.max()
    return {
        "probabilities": figures.probabilities(dots, known | unknown, float(thresholds.median())),
        "reliability": "" if bins.empty else figures.reliability(bins, analysis.main),
        "confusion": tables.confusion(analysis.predictions) if analysis.has_outcome else {},
        "threshold": number(low) if low == high else f"{number(low)} to {number(high)}",
        "positive_name": names["1"],
        "negative_name": names["0"],
        "n_repeats": max(analysis.predictions["repeat"].nunique(), 1),
        "learning": figures.learning_curves(_own_learning(analysis))
        if _has_learning(analysis)
        else "",
    }


def _participants(analysis: _Analysis) -> dict[str, Any]:
    people = analysis.people
    return {
        "people": tables.people_rows(people, analysis.outcome_names),
        "has_sessions": bool(people["session_id"].notna().any()),
        "has_outcome": analysis.has_outcome,
        "has_range": bool(people["probability_low"].notna().any()),
    }


def _about(analysis: _Analysis) -> list[tuple[str, str]]:
    version = program_version(analysis.files.output_dir) or "n/a"
    keys = {
        "Atlas": "Atlas",
        "Encoder": "Encoder",
        "EncoderDigest": "Digest of its weights",
        "Normalisation": "Normalisation",
        "Device": "Computed on",
        "Precision": "Arithmetic",
        "NumberOfWindows": "Windows encoded",
        "PatchesLeftOut": "Patches that short series do not fill",
        "ParcelsLeftOut": "Parcels without data, over people",
        "EdgesImputed": "Edges filled from the training people",
        "OrderSpread": "Relative spread over token orders",
        "Selection": "Choice of the epoch",
        "Seeds": "Trainings of each network",
    }
    told = [
        (name, f"{value:.3g}" if isinstance(value, float) else str(value))
        for key, name in keys.items()
        if (value := analysis.about.get(key)) is not None
    ]
    return [("Program", f"fmmtc_bidsapp {version}"), ("Label", analysis.files.label), *told]

"""The prediction sheet of a new participant.

It is made from the written tables of ``apply`` alone, so it can be written anew without the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, sheet_path
from fmmtc_bidsapp.records.verdict import EVIDENCE, NOT_TESTED, meaning_of_verdict
from fmmtc_bidsapp.reports.data.number_format import interval, number, p_value, percent
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table
from fmmtc_bidsapp.reports.figures.sheet_figures import scale, strips
from fmmtc_bidsapp.reports.pages.heading import Heading, group_heading
from fmmtc_bidsapp.reports.pages.render import render_page
from fmmtc_bidsapp.reports.text.group_tables import spelled_apart, text_of
from fmmtc_bidsapp.reports.text.summary import notices

__all__ = ["write_sheets"]

_USABLE = "usable"
_MOST_REASONS = 4
_MOST_CHARACTERS = 300
"""Of a notice: what fits on the page beside everything else."""
_REST = " … (see the group report)"

_THRESHOLDS = {
    "0.5": "It was set to 0.5.",
    "tuned": "It gave the best balanced accuracy in the training participants.",
}


@dataclass(frozen=True, eq=False)
class _Application:
    """The written tables of one label."""

    files: GroupFiles
    about: Mapping[str, Any]
    ranges: pd.DataFrame

    @property
    def model(self) -> str:
        main = self.about.get("MainModel", "the model")
        return str(self.about.get("ModelNames", {}).get(main, main))

    @property
    def positive(self) -> str:
        return outcome_words(self.about)["1"]

    @property
    def evidence(self) -> Mapping[str, Any]:
        """What its bundle says of the model's worth; empty where it does not say."""
        return self.about.get("Evidence") or {}


def write_sheets(output_dir: Path, label: str) -> list[Path]:
    """Write a page for each participant that a finished model predicted, delete all others."""
    files = GroupFiles(output_dir, label)
    predictions = read_table(files.predictions)
    written = []
    if not predictions.empty and predictions["fold"].isna().all():
        about = read_json(files.predictions.with_suffix(".json"))
        application = _Application(files, about, read_table(files.ranges))
        provenance, heading = _provenance(application), group_heading(files, about)
        for person in predictions.to_dict("records"):
            path = sheet_path(files, _key(person))
            write_text(path, _sheet(application, person, provenance, heading))
            written.append(path)
    # Of an earlier run of the label: what no table says any more must not be handed out.
    for path in set(files.sheets_dir.glob("*.html")) - set(written):
        path.unlink()
    return written


def _key(person: Mapping[Any, Any]) -> str:
    named = (person["participant_id"], person["session_id"])
    return "_".join(each for each in named if isinstance(each, str))


def _sheet(
    application: _Application,
    person: Mapping[Any, Any],
    provenance: Sequence[tuple[str, str]],
    heading: Heading,
) -> str:
    reached = person["probability"] >= person["threshold"]
    return render_page(
        "sheet.html.jinja",
        {
            "title": _key(person).replace("_", " "),
            "heading": heading,
            "model": application.model,
            "positive": application.positive,
            "probability": spelled_apart(person["probability"], person["threshold"]),
            "called": outcome_words(application.about)["1" if reached else "0"],
            "notices": _notices(application, person),
            "sentences": _sentences(application, person),
            "scale": scale(application.evidence, person),
            "strips": strips(application.ranges, person),
            "worth": _worth(application),
            "facts": [("Runs", number(person["n_runs"], 0)), *provenance],
            "digest": text_of(application.about.get("BundleDigest")),
            "report": application.files.report.name,
        },
    )


def _notices(application: _Application, person: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """List what must be known before the number is read."""
    messages = [*_of_worth(application.evidence)]
    reasons = person["out_of_distribution"]
    if isinstance(reasons, str):
        messages.append(
            ("This scan is unlike those the model was trained on.", f"{_shortened(reasons)}.")
        )
    quality = text_of(person["qc_flag"])
    if quality not in (_USABLE, "n/a"):
        messages.append(("This scan has a quality warning.", f"{quality}."))
    messages += notices(application.about, "apply", application.model)
    return [
        (heading, shorten(text, _MOST_CHARACTERS, placeholder=_REST)) for heading, text in messages
    ]


def _of_worth(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    verdict = evidence.get("verdict")
    if verdict == EVIDENCE:
        return []
    if verdict is None:
        return [("How well this model predicts is not known.", "Its bundle does not state it.")]
    if verdict == NOT_TESTED:
        return [
            (
                "This model was not tested.",
                "Whether it predicts better than chance is not known, so the probability may mean "
                "nothing.",
            )
        ]
    return [(meaning_of_verdict(verdict), "Do not rely on this probability.")]


def _shortened(reasons: str) -> str:
    each = reasons.split("; ")
    rest = len(each) - _MOST_REASONS
    shown = "; ".join(each[:_MOST_REASONS])
    return f"{shown}; and {rest} more in the table of predictions" if rest > 0 else shown


def _sentences(application: _Application, person: Mapping[Any, Any]) -> list[str]:
    """State what the probability, its interval and the threshold mean."""
    evidence, positive = application.evidence, application.positive
    n, n_positive = evidence.get("n_people"), evidence.get("n_positive")
    base = (
        [
            f"Of its {n} training participants, {n_positive} ({percent(n_positive / n)}) were "
            f"{positive}; without a scan, this share is the best estimate."
        ]
        if n
        else []
    )
    how = _THRESHOLDS.get(str(evidence.get("threshold")), "It was taken from the bundle.")
    return [
        _spread(application, person),
        *base,
        f"Threshold {number(person['threshold'])}: at or above it the model classifies a person as "
        f"{positive}. {how} It is not a clinical cut-off.",
    ]


def _spread(application: _Application, person: Mapping[Any, Any]) -> str:
    limits = interval(person["probability_low"], person["probability_high"])
    if not limits:
        return (
            "Interval: n/a. The model was trained once, so the variation of this probability over "
            "training runs, or over other training participants, is not known."
        )
    n = application.about.get("Trainings", "n/a")
    return (
        f"Interval: {limits}, the 2.5 and 97.5 % quantiles of {n} training runs of this model. It "
        "leaves out the variation over other training participants."
    )


def _worth(application: _Application) -> str:
    """State the cross-validated performance of the procedure that made the model."""
    evidence = application.evidence
    if not evidence:
        return (
            "The bundle does not state the performance of the model in held-out people; see its "
            "model card."
        )
    limits = _limits(evidence)
    p = evidence["p_adjusted"]
    tested = "" if p is None else f"; adjusted p = {p_value(p, evidence['n_permutations'])}"
    why = evidence["not_tested"]
    steps = evidence.get("steps_not_tested")
    return (
        f"In cross-validation on {_predicted(evidence)}, the procedure that made this model "
        f"reached an AUROC of {number(evidence['auroc'])} ({limits}; chance level "
        f"0.50{tested}): {evidence['verdict']}{f', since {why}' if why else ''}"
        f"{f'; {steps}' if steps else ''}."
    )


def _predicted(evidence: Mapping[str, Any]) -> str:
    n, predicted = evidence["n_people"], evidence.get("n_predicted")
    return f"{n} people" if predicted in (None, n) else f"{predicted} of {n} people"


def _limits(evidence: Mapping[str, Any]) -> str:
    limits = interval(evidence["auroc_low"], evidence["auroc_high"])
    if limits:
        return f"95 % interval {limits}"
    least = number(evidence.get("auroc_bound"))
    return (
        "no interval" if least == "n/a" else f"no interval; compatible with a true AUROC of {least}"
    )


def _provenance(application: _Application) -> list[tuple[str, str]]:
    """Describe the model and the label of its application."""
    about, files = application.about, application.files
    keys = {
        "BundlePeople": "Training participants",
        "Trainings": "Training runs",
        "Atlas": "Atlas",
        "EncoderTitle" if "EncoderTitle" in about else "Encoder": "Encoder",
        "Bundle": "Bundle",
    }
    facts = [(name, str(about[key])) for key, name in keys.items() if about.get(key) is not None]
    return [
        *facts,
        ("Label", files.label),
    ]

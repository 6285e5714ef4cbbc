"""The model card of a bundle: the items of TRIPOD+AI, filled from the run.

Collins et al. (2024), doi:10.1136/bmj-2023-078378, list what a report of a prediction model must
say; the numbers in the headings are theirs. What a run cannot know is left to the authors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.group.bundle.bundle import Bundle
from fmmtc_bidsapp.learning.evaluation.subgroups import PROGNOSIS
from fmmtc_bidsapp.models.encoders.registry import ENCODERS, spec_of
from fmmtc_bidsapp.records import AddedValue, EligibilityStep, Evaluation, MetricRow
from fmmtc_bidsapp.records.verdict import NOT_TESTED
from fmmtc_bidsapp.reports.data.bibliography import escaped
from fmmtc_bidsapp.reports.data.number_format import interval_or_bound, p_value
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words
from fmmtc_bidsapp.reports.text.summary import people_of, titled_verdict

__all__ = ["CardFacts", "model_card"]

_AUTHORS = "**To be filled in by the authors**"
_HEADLINE = ("auroc", "balanced_accuracy", "f1_macro", "mcc", "brier")
_CALIBRATION = ("calibration_slope", "calibration_intercept", "calibration_error")
_DERIVED = ("brainlm-tuned",)
"""Models whose tensors are pre-trained weights after further training."""

_READ: Mapping[str, str] = {
    "encoder": "the encoder's summary of the parcel series",
    "random encoder": "the summary of the parcel series by an encoder without pre-training",
    "fc": "functional connectivity (correlation of parcels)",
    "series": "the parcel series",
    "coordinates": "coordinates of the parcels",
    "covariates": "covariates",
    "motion": "mean framewise displacement",
    "acquisition": "volumes, repetition time, runs and the like",
}


@dataclass(frozen=True, eq=False)
class CardFacts:
    """Facts of the run that trained the model."""

    about: Mapping[str, Any]
    """Sidecar of the metrics table."""
    evaluation: Evaluation
    bundle: Bundle
    eligibility: tuple[EligibilityStep, ...]
    excluded: Mapping[str, int]
    """People left out, by stage."""
    covariates_missing: Mapping[str, int]
    """People without a value, by covariate."""
    edges_missing: int
    """Missing edges of all people, each counted once."""
    series_missing: int
    """Missing values of the first windows; 0 if the model reads none."""
    epochs: tuple[int, ...]
    """Epochs chosen by the inner folds, by training; empty without epochs."""
    calibrations: tuple[str, ...]
    """Calibration of each training, in words."""
    keeps_people: bool
    """Whether the tensors hold features of single training people."""
    versions: Mapping[str, str]
    """Versions of libraries, by name."""


def model_card(facts: CardFacts) -> str:
    """Return the card in Markdown: the model, its training people, performance and limits."""
    lines = [
        f"# {facts.bundle.title}: a model of {_outcome_of(facts)} from resting-state fMRI",
        "",
        "Model card, with the items of TRIPOD+AI (Collins et al. 2024, doi:10.1136/bmj-2023-078378;"
        " their numbers in brackets). Facts are those of the run that trained the model.",
        *_banner(facts),
    ]
    for title, section in _SECTIONS:
        lines += ["", f"## {title}", "", *section(facts)]
    return "\n".join(lines) + "\n"


def _banner(facts: CardFacts) -> list[str]:
    """Return the warning of a model trained on simulated data."""
    if facts.about.get("Simulated") is not True:
        return []
    return ["", "**SIMULATED DATA.** Nobody was scanned: this model was trained on computed data."]


def _made_by(facts: CardFacts) -> str:
    named = ", ".join(facts.about.get("InputGeneratedBy", ())) or "not stated"
    return escaped(f"{named}; dataset {facts.about.get('InputDataset', 'n/a')}")


def _outcome_of(facts: CardFacts) -> str:
    """Return the outcome in words, such as ``responder``, escaped."""
    return escaped(outcome_words(facts.about)["1"])


def _open(item: str) -> str:
    return f"- {item}: {_AUTHORS}."


def _use(facts: CardFacts) -> list[str]:
    return [
        "- Research use only. Not a medical device; not for decisions about a person's care.",
        f"- It estimates the probability of this outcome, of one person, from a scan: "
        f"{_outcome_of(facts)}.",
        f"- A {PROGNOSIS}.",
        _open("Health context, and the people it is meant for [3a, 3b]"),
        _open("Known inequalities in health between groups [3c]"),
    ]


def _data(facts: CardFacts) -> list[str]:
    steps = "; ".join(f"{escaped(each.step)}: {_count(each)}" for each in facts.eligibility)
    left_out = ", ".join(f"{stage} {n}" for stage, n in facts.excluded.items()) or "none"
    return [
        f"- Eligibility, step by step [6b, 20a]: {steps}.",
        f"- Left out, by stage (reasons in the exclusions table) [20a]: {left_out}.",
        f"- Scans [9b]: {_ranges(facts)}.",
        f"- Images or series made by [9b]: {_made_by(facts)}.",
        _open("Source of the data, and when they were collected [5a, 5b]"),
        _open("Setting, number and place of centres [6a]"),
        _open("Treatments that participants received [6c]"),
        _open("Age, sex and other characteristics of the participants [20b]"),
    ]


def _count(step: EligibilityStep) -> str:
    arms = ", ".join(f"{escaped(each.arm)} {each.n}" for each in step.arms)
    known = step.n_positive is not None
    parts = [f"{step.n_positive} positive, {step.n_negative} negative"] if known else []
    parts += [arms] if arms else []
    return f"{step.n} ({'; '.join(parts)})" if parts else str(step.n)


def _ranges(facts: CardFacts) -> str:
    ranges = facts.bundle.training_range
    known = [
        ("repetition time", ranges.tr_s, "{:g} to {:g} s"),
        ("length", ranges.n_volumes, "{} to {} volumes"),
        ("mean framewise displacement", ranges.mean_fd_mm, "{:.2f} to {:.2f} mm"),
    ]
    return ", ".join(
        f"{name} {text.format(*limits) if limits else 'not known'}" for name, limits, text in known
    )


def _outcome(facts: CardFacts) -> list[str]:
    coding = facts.bundle.coding
    return [
        f"- The column {escaped(coding.column)} of the participants table [8a]. "
        f"{escaped(str(coding))}.",
        _open("How and when the outcome was assessed, by whom, and whether blind [8a, 8b, 8c]"),
    ]


def _predictors(facts: CardFacts) -> list[str]:
    bundle = facts.bundle
    names = ", ".join(escaped(each.name) for each in bundle.covariates)
    read = ", ".join(_READ.get(need, need) for need in bundle.needs)
    encoder = (
        f"{bundle.model.encoder} (sha256 of its weights {bundle.encoder_digest}), series "
        f"normalised by {bundle.model.normalisation}, windows of {bundle.model.window} volumes"
    )
    return [
        f"- Read by the model [9a, 9b]: {read or 'nothing'}.",
        f"- Atlas: {escaped(bundle.atlas_label or 'unnamed')}, {len(bundle.parcels)} parcels.",
        f"- Encoder: {encoder if bundle.encodes else 'none'}.",
        f"- Covariates: {names or 'none'}"
        + (
            "; regressed out of the columns that the model's weighted sum reads, within each "
            "training set."
            if bundle.adjust
            else "."
        ),
        *([f"- Note: {escaped(facts.about['Notice'])}"] if facts.about["Notice"] else []),
    ]


def _size(facts: CardFacts) -> list[str]:
    about = facts.about
    return [
        f"- {about['N']} people, {about['NPositive']} of them positive and "
        f"{about['N'] - about['NPositive']} negative [10, 21].",
        "- At this size an AUROC of 0.5 would be measured with a 95 % interval of about ± "
        f"{facts.evaluation.expected_half_width:.2f} (Hanley and McNeil 1982).",
        "- Outcomes were neither weighted nor resampled; folds keep their shares [13].",
        _open("Why this number of people [10]"),
    ]


def _missing(facts: CardFacts) -> list[str]:
    lacking = {name: n for name, n in facts.covariates_missing.items() if n}
    listed = ", ".join(f"{escaped(name)} {n}" for name, n in lacking.items()) or "none"
    return [
        "- People without the outcome were left out.",
        f"- Connectivity edges without a value, over all people [11]: {facts.edges_missing}, each "
        "replaced by the mean of the training people.",
        f"- Values of the series without data, over all people [11]: {facts.series_missing}.",
        f"- People without a covariate [11]: {listed}; replaced by the training mean.",
    ]


def _building(facts: CardFacts) -> list[str]:
    options, bundle = facts.about["Options"], facts.bundle
    epochs = ", ".join(map(str, facts.epochs))
    return [
        f"- Model [12c, 22]: {bundle.title} (--network {bundle.main}"
        + (f", --fusion {bundle.model.fusion})." if bundle.main == "fmmtc" else ")."),
        f"- Data usage [12a]: {options['folds']} outer folds, repeats: {options['repeats']}; "
        f"{options['inner_folds']} inner folds within each training set. Nothing is fitted outside "
        "the training rows.",
        *(
            [f"- Epochs, chosen by the inner folds of at most {options['epochs']} [12c]: {epochs}."]
            if epochs
            else []
        ),
        f"- Trainings: {bundle.trainings}; random seed {bundle.seed}.",
        f"- Output [15]: a calibrated probability ({options['calibration']}); positive from a "
        f"threshold on ({options['threshold']}).",
        *(f"- Calibration [12c]: {each}." for each in facts.calibrations),
        "- The model in this folder is the same procedure on everyone. It was never tested itself: "
        "the figures below are the procedure's, cross-validated [12a, 16].",
    ]


def _performance(facts: CardFacts) -> list[str]:
    evaluation = facts.evaluation
    rows = [row for row in evaluation.metrics if row.metric in _HEADLINE]
    own = [row for row in evaluation.metrics if row.model == facts.bundle.main]
    calibration = [row for row in own if row.metric in _CALIBRATION]
    return [
        f"- Verdict: {titled_verdict(evaluation.verdict, facts.about['ModelNames'])}",
        f"- These figures of this model are of {people_of(facts.about, facts.bundle.main)}.",
        f"- Permutation test of this model [23a]: {_tested(facts)}.",
        *_steps(facts),
        f"- Choice of the epoch in these figures: {evaluation.selection}.",
        "",
        "Mean over folds and repeats with its Nadeau-Bengio corrected 95 % interval [12e, 23a]:",
        "",
        "| model | metric | mean (interval) |",
        "|---|---|---|",
        *(_row(facts, row, row.mean, row.mean_low, row.mean_high) for row in rows),
        "",
        "Calibration of this model's pooled predictions, with bootstrap intervals [12e, 23a]:",
        "",
        "| model | metric | pooled (interval) |",
        "|---|---|---|",
        *(_calibration_row(facts, row) for row in calibration),
    ]


def _tested(facts: CardFacts) -> str:
    tests = {each.model: each for each in facts.evaluation.tests}
    own = tests.get(facts.bundle.main)
    if own is None or not own.n_permutations:
        return f"{NOT_TESTED}, since {own.not_tested}" if own and own.not_tested else NOT_TESTED
    return (
        f"p = {p_value(own.p, own.n_permutations)}, adjusted for all models p = "
        f"{p_value(own.p_adjusted, own.n_permutations)}, "
        f"{own.n_permutations} shuffles: {own.verdict}"
    )


def _steps(facts: CardFacts) -> list[str]:
    """Return the steps of the verdict beyond the first."""
    own = next((each for each in facts.evaluation.tests if each.model == facts.bundle.main), None)
    return [] if own is None else [_step(each) for each in own.added]


def _step(value: AddedValue) -> str:
    if value.reached is None:
        return f"- {value.step} [23a]: {NOT_TESTED}, since {value.reason}."
    against = ", ".join(escaped(each) for each in value.reference)
    unknown = f"; {value.reason}" if value.reason else ""
    return (
        f"- {value.step} [23a]: {'reached' if value.reached else 'not shown'}. AUROC of {against} "
        f"alone {value.auroc_reference:.2f}, with the brain's score {value.auroc_both:.2f}, "
        f"adjusted p = {value.p_adjusted:.3f}{unknown}."
    )


def _row(facts: CardFacts, row: MetricRow, value: float, low: float, high: float) -> str:
    title = facts.about["ModelNames"].get(row.model, row.model)
    limits = interval_or_bound(low, high, row.bound) or "interval n/a"
    return f"| {title} | {row.metric} | {_number(value)} ({limits}) |"


def _calibration_row(facts: CardFacts, row: MetricRow) -> str:
    """Return a row; the calibration error has no interval, but an expectation by chance."""
    if math.isnan(row.pooled_if_calibrated):
        return _row(facts, row, row.pooled, row.pooled_low, row.pooled_high)
    title = facts.about["ModelNames"].get(row.model, row.model)
    return (
        f"| {title} | {row.metric} | {_number(row.pooled)} ({_number(row.pooled_if_calibrated)} "
        f"expected if calibrated, p = {_number(row.pooled_if_calibrated_p)}) |"
    )


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.2f}"


def _groups(facts: CardFacts) -> list[str]:
    own = [
        each
        for each in facts.evaluation.arms
        if each.model == facts.bundle.main and each.metric in _HEADLINE
    ]
    if not own:
        return ["- No column of arms was given [12d, 14, 23b].", _open("Fairness [14]")]
    return [
        "Pooled over folds, with bootstrap intervals [12d, 14, 23b]:",
        "",
        "| arm | people (positive) | metric | value (interval) |",
        "|---|---|---|---|",
        *(
            f"| {escaped(each.arm)} | {each.n} ({each.n_positive}) | {each.metric} | "
            f"{_number(each.value)} ({_number(each.low)} to {_number(each.high)}) |"
            for each in own
        ),
        "",
        f"- A {PROGNOSIS}.",
        _open("Fairness towards other groups [14]"),
    ]


def _limitations(facts: CardFacts) -> list[str]:
    evaluation = facts.evaluation
    found = len(evaluation.duplicates)
    return [
        f"- {facts.about['N']} people; intervals are wide, and no one outside this cohort was "
        "predicted [26].",
        *(
            [
                f"- Pairs of people that seem to be one scan or one person: {found}; they were "
                "kept together in folds and shuffles [26]."
            ]
            if found
            else []
        ),
        *(
            f"- What the scans were like goes with the outcome: {escaped(each)} [26]."
            for each in facts.about.get("AcquisitionWarnings", ())
        ),
        *(
            ["- The atlas is not A424, for which the method was made [26]."]
            if facts.about["AtlasFallback"]
            else []
        ),
        "- Scans unlike those of the training (repetition time, length, motion, distance of the "
        "connectome) are flagged when the model is applied; the prediction is made all the same "
        "[27a].",
        _open("Interpretation, and other limitations [25, 26]"),
    ]


def _licence(facts: CardFacts) -> list[str]:
    bundle, lines = facts.bundle, []
    if bundle.main in _DERIVED and bundle.model.encoder == "brainlm":
        lines.append(
            "- These weights are BrainLM's, trained on. BrainLM is under CC BY-NC-ND 4.0, which "
            "allows no sharing of changed versions: do not pass this folder on."
        )
    elif bundle.encodes and _has_weights(bundle):
        spec = ENCODERS[bundle.model.encoder].spec
        lines.append(
            f"- The pre-trained encoder ({spec.title}, {spec.weights_licence}) is not in this "
            f"folder; who applies the model fetches it. {spec.terms}"
        )
    if facts.keeps_people:
        lines.append(
            "- The tensors hold features of single training people: share this folder only where "
            "their data may be shared."
        )
    return [*lines, _open("Licence of these weights")]


def _has_weights(bundle: Bundle) -> bool:
    """Return whether the encoder has published weights."""
    spec = spec_of(bundle.model.encoder)
    return spec is not None and spec.is_pretrained


def _open_science(facts: CardFacts) -> list[str]:
    return [
        _open("Ethical approval and consent [17]"),
        _open("Funding and conflicts of interest [18a, 18b]"),
        _open("Protocol and registration [18c, 18d]"),
        _open("Where data and code can be had [18e, 18f]"),
        _open("Involvement of patients and the public [19]"),
    ]


def _software(facts: CardFacts) -> list[str]:
    libraries = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return [
        f"- fmmtc_bidsapp {__version__}; {libraries}.",
        f"- Device {facts.about['Device']}, precision {facts.about['Precision']}.",
    ]


def _how(facts: CardFacts) -> list[str]:
    weights = facts.bundle.encodes and _has_weights(facts.bundle)
    return [
        "The new people's series must be made as these were: same atlas, same cleaning [27b].",
        "",
        "    fmmtc BIDS_DIR OUTPUT_DIR group --analysis apply --model THIS_FOLDER --label NAME"
        + (" \\\n        --encoder-weights FOLDER_OF_WEIGHTS" if weights else ""),
        "",
        "Where the participants table has the outcome, the model is judged on these people as it "
        "is, and recalibrated beside it [12f, 12g, 24].",
    ]


_SECTIONS: Sequence[tuple[str, Callable[[CardFacts], list[str]]]] = (
    ("Intended use [1, 3, 4]", _use),
    ("Data and participants [5, 6, 20]", _data),
    ("Outcome [8]", _outcome),
    ("Predictors [7, 9]", _predictors),
    ("Sample size [10, 13, 21]", _size),
    ("Missing data [11]", _missing),
    ("Model building [12, 15, 16, 22]", _building),
    ("Performance [12e, 23a]", _performance),
    ("Performance in arms [12d, 14, 23b]", _groups),
    ("Limitations [25, 26, 27]", _limitations),
    ("Licence", _licence),
    ("Ethics, funding and openness [17, 18, 19]", _open_science),
    ("Software", _software),
    ("How to apply it [12f, 12g, 24, 27]", _how),
)
"""Headings, and the functions of their lines."""

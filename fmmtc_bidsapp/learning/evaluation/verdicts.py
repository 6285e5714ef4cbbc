"""The verdict of each model: predicts, beyond covariates, beyond motion and acquisition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fmmtc_bidsapp.learning.estimators.models import REFERENCE_MODELS
from fmmtc_bidsapp.learning.evaluation.added_value import Gain, gains
from fmmtc_bidsapp.learning.evaluation.reference_models import Reference, reference_columns
from fmmtc_bidsapp.learning.model_selection.permutations import permutation_p
from fmmtc_bidsapp.records import AddedValue, Examples, Floats, Fold, Ints, PermutationTest
from fmmtc_bidsapp.records.verdict import (
    EVIDENCE,
    LEVEL,
    NO_EVIDENCE,
    NOT_TESTED,
    PREDICTS,
    Step,
    added_steps,
    predicts,
    untested_steps,
    verdict_of_steps,
)

__all__ = ["added_values", "permutation_tests", "verdict_sentence", "with_people"]

_UNKNOWN = {
    "covariates": "no covariates were given",
    "motion": "head motion is not known",
    "acquisition": "no known property of the acquisition differs between people",
}
"""By reference model, what it means that it has no column."""


def added_values(
    scores: Mapping[str, Floats], examples: Examples, folds: Sequence[Fold]
) -> dict[str, tuple[AddedValue, ...]]:
    """Test by model and step whether the brain adds to what is known without it.

    `scores` are (1 + permutation, person) of `brain_scores` and `carry_back`. The adjusted p
    compares with the best of all models in each exchange. Reference models have no steps.
    """
    brains = {name: own for name, own in scores.items() if name not in REFERENCE_MODELS}
    first = [each for each in folds if each.repeat == min(fold.repeat for fold in folds)]
    found: dict[str, tuple[AddedValue, ...]] = dict.fromkeys(brains, ())
    for step in added_steps():
        reference, reason = _reference(step, examples)
        if reference is None:
            of_step = dict.fromkeys(brains, AddedValue(step.name, reason=reason))
        else:
            of_step = _of_step(step, reference, reason, brains, examples.y, first)
        found = {name: (*own, of_step[name]) for name, own in found.items()}
    return found


def _reference(step: Step, examples: Examples) -> tuple[Reference | None, str]:
    """Return a step's columns and which are unknown; None if it has none."""
    known = {name: bool(reference_columns(examples, (name,)).names) for name in step.references}
    named_for = [name for name in known if name in step.name]
    missing = [_UNKNOWN[name] for name in named_for if not known[name]]
    if len(missing) == len(named_for):
        return None, step.without
    reference = reference_columns(examples, step.references)
    if reference.problem:
        return None, reference.problem
    return reference, "; ".join(missing)


def _of_step(
    step: Step,
    reference: Reference,
    reason: str,
    brains: Mapping[str, Floats],
    y: Ints,
    folds: Sequence[Fold],
) -> dict[str, AddedValue]:
    found: dict[str, Gain] = {name: gains(own, reference, y, folds) for name, own in brains.items()}
    common = min((len(gain.exchanged) for gain in found.values()), default=0)
    best = np.max([gain.exchanged[:common] for gain in found.values()], axis=0) if found else None
    values = {}
    for name, gain in found.items():
        p = permutation_p(gain.auroc_both, gain.exchanged)
        adjusted = p if best is None else max(p, permutation_p(gain.auroc_both, best))
        values[name] = AddedValue(
            step.name,
            reference.names,
            gain.auroc_reference,
            gain.auroc_both,
            p,
            adjusted,
            reached=adjusted <= LEVEL and gain.auroc_both > gain.auroc_reference,
            reason=reason,
        )
    return values


def permutation_tests(
    observed: Mapping[str, float],
    permuted: Mapping[str, Floats],
    added: Mapping[str, Sequence[AddedValue]] | None = None,
    untested: Mapping[str, str] | None = None,
) -> tuple[PermutationTest, ...]:
    """Return the verdict of every model, in the order of `observed`.

    `observed` is the headline AUROC, `permuted` (permutation,) that of `permuted_labels`; one
    without a value counts as at least as good. The adjusted p compares with the best of all
    tested models (Westfall & Young 1993, Resampling-based multiple testing) over their common
    permutations. A model predicts with an adjusted p of 0.05 or less and an AUROC above 0.5.
    Reference models (`REFERENCE_MODELS`) have a p, and are no evidence themselves.
    """
    refused, steps = untested or {}, added or {}
    tested = [
        name
        for name in observed
        if len(permuted.get(name, ())) and not np.isnan(observed[name]) and name not in refused
    ]
    common = min((len(permuted[name]) for name in tested), default=0)
    best = np.max([permuted[name][:common] for name in tested], axis=0) if tested else np.zeros(0)
    tests = []
    for name, auroc in observed.items():
        if name not in tested:
            nan, why = float("nan"), refused.get(name, "")
            tests.append(PermutationTest(name, auroc, 0, nan, nan, NOT_TESTED, not_tested=why))
            continue
        own, values = permuted[name], tuple(steps.get(name, ()))
        p = permutation_p(auroc, own)
        adjusted = max(p, permutation_p(auroc, best))
        reached = {PREDICTS: adjusted <= LEVEL and auroc > 0.5 and name not in REFERENCE_MODELS}
        words = verdict_of_steps(reached | {each.step: each.reached for each in values})
        tests.append(PermutationTest(name, auroc, len(own), p, adjusted, words, values))
    return tuple(tests)


def verdict_sentence(tests: Sequence[PermutationTest], y: Ints, half_width: float) -> str:
    """Describe whether any model predicts, and the interval to expect of an AUROC."""
    width = (
        f"With {int((y == 1).sum())} positive and {int((y == 0).sum())} negative outcomes, an "
        f"AUROC of 0.5 would be measured with a 95 % interval of about ± {half_width:.2f}."
    )
    models = [each for each in tests if each.model not in REFERENCE_MODELS]
    tested = [each for each in models if each.n_permutations]
    if not tested:
        why = next((each.not_tested for each in models if each.not_tested), "")
        return (
            f"{NOT_TESTED}: {why or 'no permutation run was made'}, so these figures do not say "
            f"whether any model predicts better than chance. {width}"
        )
    left_out = [each.model for each in models if not each.n_permutations]
    sentences = [
        _named_models(tested),
        f"Not tested: {', '.join(left_out)}." if left_out else "",
        _steps_left_out(tested),
        width,
    ]
    return " ".join(filter(None, sentences))


def _named_models(tested: Sequence[PermutationTest]) -> str:
    """Name the models of the best verdict, then those that predict with a lesser one."""
    found: dict[str, list[str]] = {}
    for each in sorted(tested, key=lambda each: each.verdict != EVIDENCE):
        if predicts(each.verdict):
            found.setdefault(each.verdict, []).append(_named(each))
    if found:
        return " ".join(f"{words}: {', '.join(named)}." for words, named in found.items())
    best = min(tested, key=lambda each: each.p_adjusted)
    how_many = "the one tested model" if len(tested) == 1 else f"{len(tested)} tested models"
    return f"{NO_EVIDENCE} in {how_many}; the smallest adjusted p is that of {_named(best)}."


def _named(test: PermutationTest) -> str:
    missed = [each for each in test.added if each.reached is False]
    gained = "".join(
        f"; {each.step}: {each.gain:+.2f} to an AUROC of {each.auroc_reference:.2f}, adjusted "
        f"p = {each.p_adjusted:.3f}"
        for each in missed
        if predicts(test.verdict)
    )
    return f"{test.model} (AUROC {test.auroc:.2f}, adjusted p = {test.p_adjusted:.3f}{gained})"


def _steps_left_out(tested: Sequence[PermutationTest]) -> str:
    """Describe the steps that no model was tested on, if any model predicts."""
    if not any(predicts(each.verdict) for each in tested):
        return ""
    reasons = {
        each.step: each.reason for test in tested for each in test.added if each.reached is None
    }
    sentences = untested_steps(tuple(reasons.items()))
    return f"{sentences[0].upper()}{sentences[1:]}." if sentences else ""


def with_people(test: PermutationTest, folds: Sequence[Fold], planned: int) -> PermutationTest:
    """Add to a test how many people and folds its figures are based on."""
    people = {int(row) for fold in folds for row in fold.test}
    return replace(test, n_people=len(people), n_folds=len(folds), n_folds_planned=planned)

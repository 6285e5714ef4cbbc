"""The steps beyond the first: does the brain add to what is known without it?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from changed_examples import changed
from learning_fits import fit_fold
from sklearn.linear_model import LinearRegression

from fmmtc_bidsapp.learning.evaluation.added_value import brain_scores, carry_back, gains
from fmmtc_bidsapp.learning.evaluation.leakage import copies_together
from fmmtc_bidsapp.learning.evaluation.reference_models import reference_columns
from fmmtc_bidsapp.learning.evaluation.verdicts import added_values, permutation_tests
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis
from fmmtc_bidsapp.learning.model_selection.permutations import (
    aurocs_of_shuffles,
    exchange_blocks,
    exchanged_rows,
    headline,
    permuted_labels,
    permuted_outputs,
)
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Duplicate, Examples

EVALUATION = EvaluationOptions(bootstrap=20)
N, FOLDS, SHUFFLES, BRAIN = 56, 5, 59, 20
MODEL = "ridge-encoder"
MOTION_STEP = "beyond motion and acquisition"


def cohort(seed, *, carries=None, effect=0.0, known=0.0, as_what="motion", extra=None):
    """People whose outcome shows in one known variable and, with `effect`, in the brain itself.

    `carries` makes the brain carry a function of that variable and nothing else of the outcome.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], [30, 26]))
    variable = rng.normal(size=N) + known * y
    if extra is not None:
        variable = extra(rng, y)
    loading = rng.normal(size=BRAIN) * 3 / np.sqrt(BRAIN)
    brain = rng.normal(size=(N, BRAIN))
    if carries is not None:
        brain += np.outer(carries(variable), loading)
    if effect:
        brain += np.outer(rng.normal(size=N) + effect * y, loading)
    people = Examples(
        keys=tuple(f"sub-{i:03d}" for i in range(N)),
        arrays={
            "cls": brain,
            "fc": np.empty((N, 0, 0), np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )
    known_as = {
        "motion": {"mean_fd_mm": variable},
        "acquisition": {"acquisition": variable[:, None], "acquisition_names": ("volumes",)},
        "covariates": {"covariates": variable[:, None], "covariate_names": ("age",)},
    }
    return changed(people, **known_as[as_what])


def judged(examples, setup, seed, shuffles=SHUFFLES):
    """Judge one model of the brain as a run does, from fits on real and on shuffled outcomes."""
    folds = outer_folds(examples.strata, FOLDS, 1, seed, examples.groups)
    blocks = exchange_blocks(examples, folds)
    labels = permuted_labels(examples.y, blocks, shuffles, seed)
    both = np.vstack([examples.y[None], labels])
    outputs, aurocs = [], []
    for fold in folds:
        analysis = Analysis(examples, setup, EVALUATION, seed)
        own = permuted_outputs(analysis, [MODEL], fold, both)[0]
        outputs.append(own)
        aurocs.append(aurocs_of_shuffles(own[None], fold, both)[0])
    rows = np.vstack([np.arange(N)[None], exchanged_rows(blocks, shuffles, seed)])
    scores = carry_back(outputs, folds, rows)
    found = headline(np.array(aurocs))
    (test,) = permutation_tests(
        {MODEL: found[0]}, {MODEL: found[1:]}, added_values({MODEL: scores}, examples, folds)
    )
    return test


def step_of(test, name):
    return next(each for each in test.added if each.step == name)


def test_a_brain_that_adds_is_found_beyond_motion_and_is_evidence(setup):
    test = judged(cohort(1, effect=2.0, known=1.0), setup, 1)
    step = step_of(test, MOTION_STEP)
    assert step.reached
    assert step.gain > 0.05
    assert step.p == step.p_adjusted == 1 / (SHUFFLES + 1)
    assert step.reference == ("mean_fd_mm",)
    assert test.verdict == "evidence of prediction"


@pytest.mark.parametrize("as_what", ["motion", "acquisition", "covariates"])
def test_a_brain_that_carries_only_what_is_known_without_it_predicts_and_is_shown_no_more(
    as_what, setup
):
    examples = cohort(3, carries=lambda known: known, known=2.0, as_what=as_what)
    test = judged(examples, setup, 3)
    name = "beyond covariates" if as_what == "covariates" else MOTION_STEP
    assert test.p_adjusted <= 0.05
    assert step_of(test, name).reached is False
    assert test.verdict == f"predicts; not shown {name}"


def test_a_step_without_columns_is_not_tested_and_says_why(setup):
    examples = replace(cohort(1, effect=2.0), mean_fd_mm=None)
    test = judged(examples, setup, 1)
    assert [(each.reached, each.reason) for each in test.added] == [
        (None, "no covariates were given"),
        (
            None,
            "head motion is not known, and no known property of the acquisition differs between "
            "people",
        ),
    ]
    assert test.verdict == "evidence of prediction"


def test_a_brain_that_carries_covariates_and_motion_does_not_pass_by_adding_each_to_the_other(
    setup,
):
    rng = np.random.default_rng(5)
    examples = cohort(5, carries=lambda known: known, known=1.5)
    age = rng.normal(size=N) + 1.5 * examples.y
    loading = rng.normal(size=BRAIN) * 3 / np.sqrt(BRAIN)
    examples = replace(
        examples.with_arrays(cls=examples.cls + np.outer(age, loading)),
        covariates=age[:, None],
        covariate_names=("age",),
    )
    test = judged(examples, setup, 5)
    assert step_of(test, "beyond covariates").reached
    assert step_of(test, MOTION_STEP).reached is False
    assert step_of(test, MOTION_STEP).reference == ("age", "mean_fd_mm")
    assert test.verdict == f"predicts; not shown {MOTION_STEP}"


def test_exchanging_brains_is_shuffling_outcomes_and_references_together(setup):
    """Carried back, a fit to shuffled outcomes is the fit of people whose brains were exchanged."""
    examples = cohort(2, effect=1.0)
    folds = outer_folds(examples.strata, FOLDS, 1, 2)
    blocks = exchange_blocks(examples, folds)
    labels = permuted_labels(examples.y, blocks, 3, 2)
    rows = exchanged_rows(blocks, 3, 2)
    analysis = Analysis(examples, setup, EVALUATION, 0)
    outputs = [permuted_outputs(analysis, [MODEL], fold, labels)[0] for fold in folds]
    found = carry_back(outputs, folds, rows)
    for shuffle in range(3):
        brains = np.empty_like(examples.cls)
        brains[rows[shuffle]] = examples.cls
        exchanged = examples.with_arrays(cls=brains)
        whole = [fit_fold(MODEL, exchanged, fold, setup, EVALUATION, seed=0) for fold in folds]
        np.testing.assert_allclose(found[shuffle], brain_scores(whole, N), atol=1e-6)


def test_the_score_is_the_mean_over_repeats_of_outputs_standardised_in_their_fold(setup):
    examples = cohort(2, effect=1.0)
    folds = outer_folds(examples.strata, FOLDS, 2, 2)
    fits = [fit_fold(MODEL, examples, fold, setup, EVALUATION, seed=0) for fold in folds]
    expected = np.zeros(N)
    for fold, fit in zip(folds, fits, strict=True):
        output = fit.output
        expected[fold.test] += (output - output.mean()) / output.std() / 2
    np.testing.assert_allclose(brain_scores(fits, N), expected)


def test_only_what_the_reference_does_not_explain_of_the_brain_counts():
    rng = np.random.default_rng(0)
    examples = cohort(0, known=1.0)
    folds = outer_folds(examples.strata, FOLDS, 1, 0)
    reference = reference_columns(examples, ("motion",))
    brain = rng.normal(size=(1, N))
    design = np.hstack(
        [reference.columns, [[row in fold.test for fold in folds] for row in range(N)]]
    )
    explained = LinearRegression().fit(design, rng.normal(size=N)).predict(design)
    plain = gains(brain, reference, examples.y, folds)
    with_more = gains(brain + 3 * explained, reference, examples.y, folds)
    assert with_more.auroc_both == pytest.approx(plain.auroc_both)
    nothing = gains(explained[None], reference, examples.y, folds)
    assert nothing.auroc_both == nothing.auroc_reference


def test_references_are_lines_squares_and_ranks_and_unknown_values_are_told_apart():
    examples = cohort(0)
    fd = examples.mean_fd_mm.copy()
    fd[:5] = np.nan
    found = reference_columns(replace(examples, mean_fd_mm=fd), ("motion",))
    assert found.names == ("mean_fd_mm", "mean_fd_mm unknown")
    assert found.curved
    filled = np.where(np.isnan(fd), np.nanmean(fd), fd)
    for of_known in (filled, np.isnan(fd), filled**2):
        centred = of_known - np.mean(of_known)
        fitted = LinearRegression().fit(found.columns, centred).predict(found.columns)
        np.testing.assert_allclose(fitted, centred, atol=1e-8)
    assert found.columns.shape[1] == 5


def test_references_of_more_columns_than_half_the_people_leave_nothing_to_test():
    examples = cohort(0)
    many = np.random.default_rng(0).normal(size=(N, 30))
    examples = replace(examples, covariates=many, covariate_names=tuple(map(str, range(30))))
    found = reference_columns(examples, ("covariates",))
    assert found.problem == "30 columns for 56 participants leave nothing for the brain to add"


def quadratic(rng, y):
    return rng.choice([-1, 1], N) * np.sqrt(np.abs(rng.normal(size=N) + 1.5 * y))


SCENES = {
    "motion": {"carries": lambda known: known, "known": 1.0},
    "acquisition": {"carries": lambda known: known, "known": 1.0, "as_what": "acquisition"},
    "covariates": {"carries": lambda known: known, "known": 1.0, "as_what": "covariates"},
    "skewed motion": {
        "carries": lambda known: known,
        "extra": lambda rng, y: np.exp(0.6 * (rng.normal(size=N) + y)),
    },
    "square of motion": {"carries": np.square, "extra": quadratic},
    "motion beyond a threshold": {"carries": lambda known: 2.0 * (known > 0.8), "known": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_a_brain_that_carries_motion_acquisition_or_covariates_alone_passes_in_at_most_8_of_100(
    scene, setup
):
    passed, predicted = 0, 0
    for seed in range(200):
        test = judged(cohort(seed, **SCENES[scene]), setup, seed)
        name = "beyond covariates" if scene == "covariates" else MOTION_STEP
        passed += bool(step_of(test, name).reached)
        predicted += test.p_adjusted <= 0.05
    print(f"{scene}: passed {passed / 200:.3f}, predicts {predicted / 200:.3f}")
    assert passed <= 0.08 * 200
    assert predicted >= 0.2 * 200  # it does predict: there is something to be held against


@pytest.mark.slow
def test_a_brain_that_adds_is_found_more_often_than_by_two_point_estimates(setup):
    found, alone, brains = 0, [], []
    for seed in range(200):
        examples = cohort(seed, effect=1.4, known=1.0)
        test = judged(examples, setup, seed)
        found += test.verdict == "evidence of prediction"
        brains.append(test.auroc)
        alone.append(step_of(test, MOTION_STEP).auroc_reference)
    print(f"found {found / 200:.3f}, brain {np.mean(brains):.3f}, reference {np.mean(alone):.3f}")
    assert np.mean(brains) == pytest.approx(0.77, abs=0.02)
    assert np.mean(alone) == pytest.approx(0.74, abs=0.03)
    assert found > 0.57 * 200


@pytest.mark.slow
def test_where_nothing_is_every_step_is_passed_in_at_most_one_of_twenty(setup):
    tests = [judged(cohort(seed), setup, seed) for seed in range(300)]
    predicted = np.mean([each.p_adjusted <= 0.05 for each in tests])
    beyond = np.mean([step_of(each, MOTION_STEP).p_adjusted <= 0.05 for each in tests])
    print(f"predicts {predicted:.3f}, beyond {beyond:.3f}")
    assert predicted <= 0.075  # one of twenty, and two standard errors of 300 cohorts
    assert beyond <= 0.075
    assert np.mean([each.verdict == "evidence of prediction" for each in tests]) <= 0.05


@pytest.mark.slow
def test_eight_of_56_people_who_are_copies_of_others_make_evidence_in_at_most_8_of_100(setup):
    found = 0
    for seed in range(200):
        examples = cohort(seed)
        original = np.where(np.arange(N) < 8, np.arange(N) + 8, np.arange(N))
        y = examples.y[original]
        pairs = [Duplicate(f"sub-{i:03d}", f"sub-{i + 8:03d}", 1.0) for i in range(8)]
        copied = replace(
            examples.with_arrays(cls=examples.cls[original]),
            y=y, strata=tuple(map(str, y)), mean_fd_mm=examples.mean_fd_mm[original],
        )  # fmt: skip
        test = judged(copies_together(copied, pairs), setup, seed)
        found += test.verdict == "evidence of prediction"
    print(f"evidence in {found / 200:.3f}")
    assert found <= 0.08 * 200


ACQUISITIONS = {
    "volumes": lambda y, rng: np.where(y == 1, 120.0, 90.0)[:, None],
    "repetition time": lambda y, rng: np.where(y == 1, 2.0, 2.4)[:, None],
    "runs": lambda y, rng: 1.0 + y[:, None],
    "site and parcels left out": lambda y, rng: np.stack([y, 20.0 * y + rng.integers(0, 3, N)], 1),
}


@pytest.mark.parametrize("case", ACQUISITIONS)
def test_scans_that_differ_as_the_outcome_does_predict_and_are_never_evidence(case, setup):
    """The brain reads the acquisition, as noisier estimates of fewer volumes let it."""
    for seed in range(5):
        examples = cohort(seed)
        rng = np.random.default_rng(seed)
        values = ACQUISITIONS[case](examples.y, rng).astype(float)
        carried = np.outer(values[:, 0] == values[:, 0].max(), rng.normal(size=BRAIN) * 0.6)
        examples = replace(
            examples.with_arrays(cls=examples.cls + carried),
            acquisition=values,
            acquisition_names=tuple(f"{case} {i}" for i in range(values.shape[1])),
        )
        test = judged(examples, setup, seed, shuffles=39)
        assert test.p_adjusted <= 0.05
        assert test.verdict == f"predicts; not shown {MOTION_STEP}"

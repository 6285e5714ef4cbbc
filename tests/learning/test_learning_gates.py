"""The gates of honest prediction, on models without epochs: nothing is found where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from learning_fits import fit_fold, permuted_aurocs
from scipy.stats import kstest

from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.evaluation.verdicts import permutation_tests
from fmmtc_bidsapp.learning.metrics.intervals import corrected_interval
from fmmtc_bidsapp.learning.model_selection.permutations import (
    exchange_blocks,
    headline,
    permuted_labels,
)
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions

COHORTS, N, FOLDS = 200, 40, 5
EVALUATION = EvaluationOptions(bootstrap=20)
LINEAR = [name for name, model in MODELS.items() if not model.is_network and name != "dummy"]
QUICK = ("ridge-fc", "knn-encoder")
"""Those that learn all shuffles at once."""


def fold_aurocs(name, examples, labels, setup, seed):
    """(fold, shuffle) AUROCs, the first of the real outcomes."""
    folds = outer_folds(examples.strata, FOLDS, 1, seed)
    own = [
        permuted_aurocs([name], examples, f, labels, setup, EVALUATION, seed=seed) for f in folds
    ]
    return np.concatenate(own)


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_null_cohorts_are_at_chance_and_the_headline_interval_says_so(name, setup, whole_cohort):
    means, covered = [], 0
    for seed in range(COHORTS):
        examples = whole_cohort(n=N, seed=seed)
        aurocs = fold_aurocs(name, examples, examples.y[None], setup, seed)[:, 0]
        low, high = corrected_interval(aurocs, n_train=32, n_test=8)
        means.append(aurocs.mean())
        covered += low <= 0.5 <= high
    assert np.mean(means) == pytest.approx(0.5, abs=0.02)
    assert np.std(means) > 0.05  # chance is their mean, not a constant
    assert covered >= 0.9 * COHORTS


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_on_null_cohorts_the_permutation_p_is_uniform(name, setup, whole_cohort):
    p = []
    for seed in range(COHORTS):
        examples = whole_cohort(n=N, seed=seed)
        folds = outer_folds(examples.strata, FOLDS, 1, seed)
        shuffled = permuted_labels(examples.y, exchange_blocks(examples, folds), 99, seed)
        labels = np.vstack([examples.y, shuffled])
        found = headline(fold_aurocs(name, examples, labels, setup, seed))
        (test,) = permutation_tests({name: found[0]}, {name: found[1:]})
        p.append(test.p)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.04)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_with_several_models_a_null_cohort_passes_for_evidence_in_one_of_twenty(
    setup, whole_cohort
):
    named = 0
    for seed in range(COHORTS):
        examples = whole_cohort(n=N, seed=seed)
        folds = outer_folds(examples.strata, FOLDS, 1, seed)
        shuffled = permuted_labels(examples.y, exchange_blocks(examples, folds), 39, seed)
        labels = np.vstack([examples.y, shuffled])
        models = ("ridge-fc", "ridge-encoder", "knn-fc", "knn-encoder")
        found = {
            name: headline(fold_aurocs(name, examples, labels, setup, seed)) for name in models
        }
        tests = permutation_tests(
            {name: each[0] for name, each in found.items()},
            {name: each[1:] for name, each in found.items()},
        )
        named += any(each.verdict == "evidence of prediction" for each in tests)
    assert named / COHORTS == pytest.approx(0.05, abs=0.04)


def test_a_planted_effect_is_evidence(setup, whole_cohort):
    examples = whole_cohort(n=N, effect=1.5, seed=0)
    folds = outer_folds(examples.strata, FOLDS, 1, 0)
    shuffled = permuted_labels(examples.y, exchange_blocks(examples, folds), 99, 0)
    labels = np.vstack([examples.y, shuffled])
    found = headline(fold_aurocs("ridge-encoder", examples, labels, setup, 0))
    predictions = [fit_fold("ridge-encoder", examples, f, setup, EVALUATION, seed=0) for f in folds]
    tests = permutation_tests({"ridge-encoder": found[0]}, {"ridge-encoder": found[1:]})
    judged = evaluate(predictions, examples.y, EVALUATION, 0, tests)
    assert judged.verdict.startswith("evidence of prediction: ridge-encoder")
    assert judged.tests == tests

"""Shuffled outcomes: who may swap with whom, the p, and what it allows to be said."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from learning_fits import fit_fold, permuted_aurocs
from scipy.stats import kstest, norm
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.evaluation.verdicts import permutation_tests, verdict_sentence
from fmmtc_bidsapp.learning.metrics.scores import shuffled_aurocs
from fmmtc_bidsapp.learning.model_selection.ensemble import merge_trainings
from fmmtc_bidsapp.learning.model_selection.permutations import (
    exchange_blocks,
    exchanged_rows,
    headline,
    permuted_labels,
)
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.seeds import (
    ARMS,
    BOOTSTRAP,
    GUESSES,
    RECALIBRATION,
    SHUFFLES,
    derive_seed,
)
from fmmtc_bidsapp.options import EvaluationOptions, ProtocolOptions
from fmmtc_bidsapp.records import AddedValue, Examples, Fold

EVALUATION = EvaluationOptions(bootstrap=20)


def single(*blocks):
    """Blocks of people who are exchanged one by one."""
    return [[[row] for row in block] for block in blocks]


def test_outcomes_are_swapped_within_stratum_group_and_test_fold(whole_cohort):
    examples = whole_cohort(n=48)
    arms = tuple(f"{y}|{'drug' if i % 2 else 'placebo'}" for i, y in enumerate(examples.y))
    examples = replace(examples, strata=arms, groups=tuple(f"site-{i % 3}" for i in range(48)))
    folds = outer_folds(arms, folds=2, repeats=2, seed=0)
    blocks = exchange_blocks(examples, folds)
    for labels in permuted_labels(examples.y, blocks, 20, seed=0):
        for kind in (
            [each.partition("|")[2] for each in arms],
            examples.groups,
            [0 if row in set(folds[0].test) else 1 for row in range(48)],
        ):
            pairs = (Counter(zip(kind, y, strict=True)) for y in (labels, examples.y))
            assert next(pairs) == next(pairs)


def test_shuffles_differ_come_from_the_seed_and_begin_alike():
    y, cells = np.tile([0, 1], 20), single(range(40))
    long = permuted_labels(y, cells, 50, seed=1)
    assert len(np.unique(long, axis=0)) == 50
    np.testing.assert_array_equal(permuted_labels(y, cells, 10, seed=1), long[:10])
    assert (permuted_labels(y, cells, 10, seed=2) != long[:10]).any()


def test_every_arrangement_is_as_likely():
    y, cells = np.array([0, 0, 1, 1, 0, 0, 1, 1]), single(range(4), range(4, 8))
    drawn = Counter(map(tuple, permuted_labels(y, cells, 18000, seed=0).tolist()))
    assert len(drawn) == 6 * 6
    assert min(drawn.values()) > 400
    assert max(drawn.values()) < 600


def test_too_few_arrangements_for_a_small_p_are_refused():
    families = single(*([i, i + 1] for i in range(0, 12, 2)))
    y = np.repeat([0, 1, 0, 1, 0, 1], 2)
    with pytest.raises(InputError, match=r"only 1 ways.*--permutations 0"):
        permuted_labels(y, families, 99, seed=0)
    assert permuted_labels(y, families, 0, seed=0).shape == (0, 12)


def people_of(y, groups, strata=None):
    return Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(len(y))),
        arrays={
            "cls": np.zeros((len(y), 1)),
            "fc": np.zeros((len(y), 2, 2), np.float32),
        },
        y=np.asarray(y),
        strata=tuple(f"{a}|{b}" for a, b in zip(y, strata or [""] * len(y), strict=True)),
        groups=tuple(groups),
    )


def test_families_of_one_outcome_are_exchanged_whole_and_people_of_mixed_ones_within():
    #          twins  twins  twins  mixed  four single people; strata differ in the last twins
    groups = [*"aabbccdd", "e", "f", "g", "h"]
    y = np.array([0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0])
    strata = [*"mmmmmfmm", "m", "m", "m", "f"]
    examples = people_of(y, groups, strata)
    everyone = [Fold(0, 0, np.array([], dtype=int), np.arange(12))]
    drawn = y[exchanged_rows(exchange_blocks(examples, everyone), 2000, seed=0)]
    with pytest.raises(InputError, match="in only 12 ways"):
        permuted_labels(y, exchange_blocks(examples, everyone), 2000, seed=0)
    # By hand: twins a and b change places or not; d's two do or not; e, f, g (one of them 0) have
    # three orders; c and h have nobody alike.
    expected = {
        (*ab, 1, 1, *d, *efg, 0)
        for ab in ((0, 0, 1, 1), (1, 1, 0, 0))
        for d in ((0, 1), (1, 0))
        for efg in set(itertools.permutations((0, 1, 1)))
    }
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == expected
    assert min(counts.values()) > 2000 / 12 / 1.5


def test_members_of_families_take_the_outcome_of_members_of_their_own_stratum():
    examples = people_of([0] * 4 + [1] * 4, [*"abababab"], [*"mffmmffm"])
    examples = replace(examples, groups=tuple("aabbccdd"))
    everyone = [Fold(0, 0, np.array([], dtype=int), np.arange(8))]
    sexes = np.array([*"mffmmffm"])
    for rows in exchanged_rows(exchange_blocks(examples, everyone), 50, seed=0):
        assert (sexes[rows] == sexes).all()
        assert sorted(rows) == list(range(8))


def test_a_cohort_of_mostly_single_people_is_tested_though_families_are_named(whole_cohort):
    examples = whole_cohort(n=40)
    groups = [f"family-{max(i, 4)}" if i < 6 else f"family-{i}" for i in range(40)]
    examples = replace(examples, groups=tuple(groups))
    folds = outer_folds(examples.strata, 5, 1, 0, examples.groups)
    labels = permuted_labels(examples.y, exchange_blocks(examples, folds), 99, seed=0)
    assert len(np.unique(labels, axis=0)) == 99


@pytest.mark.slow
def test_on_null_cohorts_of_families_the_p_is_uniform(setup, whole_cohort):
    """Twins share brain and outcome; half of the people are twins."""
    p = []
    for seed in range(200):
        examples = whole_cohort(n=48, seed=seed)
        twin = np.where(np.arange(48) < 24, np.arange(48) // 2 * 2, np.arange(48))
        rng = np.random.default_rng(seed)
        brain = examples.cls[twin] + 0.002 * rng.normal(size=examples.cls.shape)
        y = examples.y[twin]
        examples = replace(
            examples.with_arrays(cls=brain),
            y=y,
            strata=tuple(map(str, y)),
            groups=tuple(map(str, twin)),
        )
        folds = outer_folds(examples.strata, 4, 1, seed, examples.groups)
        shuffled = permuted_labels(y, exchange_blocks(examples, folds), 59, seed)
        labels = np.vstack([y[None], shuffled])
        aurocs = np.concatenate(
            [
                permuted_aurocs(
                    ["ridge-encoder"], examples, fold, labels, setup, EVALUATION, seed=seed
                )
                for fold in folds
            ]
        )
        found = headline(aurocs)
        p.append(permutation_tests({"m": found[0]}, {"m": found[1:]})[0].p)
    print(f"p <= 0.05 in {np.mean(np.array(p) <= 0.05):.3f}")
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.08


@pytest.mark.parametrize("name", ["svm-pca-fc", "xgboost-encoder", "fc-logistic", "dummy", "fmmtc"])
def test_the_quick_way_gives_what_the_whole_procedure_gives(name, setup, whole_cohort):
    examples = whole_cohort(effect=0.5)
    fold = outer_folds(examples.strata, 2, 1, seed=0)[0]
    labels = permuted_labels(examples.y, exchange_blocks(examples, [fold, _other(fold)]), 3, seed=0)
    (found,) = permuted_aurocs([name], examples, fold, labels, setup, EVALUATION, seed=4)
    for auroc, y in zip(found, labels, strict=True):
        shuffled = replace(examples, y=y, strata=tuple(map(str, y)))
        whole = fit_fold(name, shuffled, fold, setup, EVALUATION, seed=4)
        assert auroc == pytest.approx(roc_auc_score(y[fold.test], whole.logit))


def test_models_of_one_training_share_it_and_all_trainings_are_merged(setup, whole_cohort):
    examples = whole_cohort(effect=0.5)
    setup = replace(setup, train=replace(setup.train, seeds=2))
    fold = outer_folds(examples.strata, 2, 1, seed=0)[0]
    labels = permuted_labels(examples.y, exchange_blocks(examples, [fold, _other(fold)]), 1, seed=0)
    names = ["fmmtc", "ridge-fused"]
    found = permuted_aurocs(names, examples, fold, labels, setup, EVALUATION, seed=4)
    shuffled = replace(examples, y=labels[0], strata=tuple(map(str, labels[0])))
    for name, (auroc,) in zip(names, found, strict=True):
        trainings = [
            fit_fold(name, shuffled, fold, setup, EVALUATION, seed=4, training=k) for k in (0, 1)
        ]
        (merged,) = merge_trainings(trainings)
        assert auroc == pytest.approx(roc_auc_score(labels[0][fold.test], merged.raw))


def test_shuffled_strata_too_small_for_the_inner_folds_are_balanced_on_the_outcome_alone(
    setup, whole_cohort
):
    examples = whole_cohort()
    arms = np.where(np.arange(24) < 4, "rare", "common")
    labels = np.where(np.arange(24) < 3, 1, np.arange(24) % 2)
    labels[3] = 0
    examples = replace(
        examples, strata=tuple(f"{y}|{arm}" for y, arm in zip(examples.y, arms, strict=True))
    )
    fold = Fold(1, 0, np.arange(16), np.arange(16, 24))
    found = permuted_aurocs(["lstm"], examples, fold, labels[None], setup, EVALUATION, seed=0)
    alone = replace(examples, y=labels, strata=tuple(map(str, labels)))
    whole = fit_fold("lstm", alone, fold, setup, EVALUATION, seed=0)
    assert found[0, 0] == pytest.approx(roc_auc_score(labels[16:], whole.logit))


def _other(fold):
    return replace(fold, fold=1 - fold.fold, train=fold.test, test=fold.train)


def test_the_real_outcomes_give_the_headline(setup, whole_cohort):
    examples = whole_cohort(effect=0.5)
    folds = outer_folds(examples.strata, 3, 2, seed=0)
    predictions = [fit_fold("knn-fc", examples, f, setup, EVALUATION, seed=4) for f in folds]
    metrics = evaluate(predictions, examples.y, EVALUATION, 0).metrics
    mean = next(each.mean for each in metrics if each.metric == "auroc")
    aurocs = [
        permuted_aurocs(["knn-fc"], examples, f, examples.y[None], setup, EVALUATION, seed=4)[0]
        for f in folds
    ]
    assert headline(np.array(aurocs))[0] == pytest.approx(mean)


def test_a_fold_of_one_outcome_is_left_out_of_the_headline():
    found = headline(np.array([[0.5, np.nan], [0.7, 0.8]]))
    np.testing.assert_allclose(found, [0.6, 0.8])


def test_a_shuffle_without_a_value_in_any_fold_has_no_headline_and_counts_as_doing_as_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = headline(np.array([[np.nan, 0.4, 0.4], [np.nan, 0.5, 0.4]]))
    np.testing.assert_array_equal(found, [np.nan, 0.45, 0.4])
    tests = permutation_tests({"svm-fc": 0.6, "fmmtc": np.nan}, {"svm-fc": found, "fmmtc": found})
    assert (tests[0].p, tests[0].p_adjusted) == (2 / 4, 2 / 4)
    assert (tests[1].n_permutations, tests[1].verdict) == (0, "not tested")
    assert np.isnan([tests[1].p, tests[1].p_adjusted]).all()


def test_aurocs_of_many_shuffles_are_scikit_learns():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 4, (5, 20)).astype(float)
    labels = rng.integers(0, 2, (5, 20))
    labels[4] = 1
    found = shuffled_aurocs(logits, labels)
    expected = [roc_auc_score(y, s) for y, s in zip(labels[:4], logits[:4], strict=True)]
    np.testing.assert_allclose(found[:4], expected)
    assert np.isnan(found[4])


def test_p_counts_the_real_run_among_the_shuffles():
    permuted = {"svm-fc": np.array([0.4, 0.5, 0.6, 0.7])}
    for auroc, p in ((0.75, 1 / 5), (0.7, 2 / 5), (0.65, 2 / 5), (0.3, 5 / 5)):
        (test,) = permutation_tests({"svm-fc": auroc}, permuted)
        assert test.p == test.p_adjusted == pytest.approx(p)


def test_the_adjusted_p_is_of_the_best_model_of_each_shuffle():
    rng = np.random.default_rng(0)
    permuted = {f"m{i}": rng.normal(0.5, 0.08, 999) for i in range(10)}
    tests = permutation_tests(dict.fromkeys(permuted, 0.66), permuted)
    best = np.max(list(permuted.values()), axis=0)
    assert {each.p_adjusted for each in tests} == {(1 + (best >= 0.66).sum()) / 1000}
    # Ten independent tests: 1 - (1 - p) ** 10.
    assert tests[0].p_adjusted == pytest.approx(1 - norm.cdf(2) ** 10, abs=0.03)
    assert all(each.p < each.p_adjusted for each in tests)


def test_models_with_fewer_shuffles_are_judged_on_those_that_all_have():
    rng = np.random.default_rng(0)
    permuted = {"svm-fc": rng.normal(0.5, 0.08, 999), "fmmtc": rng.normal(0.5, 0.08, 99)}
    linear, network = permutation_tests({"svm-fc": 0.9, "fmmtc": 0.9}, permuted)
    assert (linear.p, linear.p_adjusted) == (1 / 1000, 1 / 100)
    assert (network.p, network.p_adjusted) == (1 / 100, 1 / 100)
    assert (linear.n_permutations, network.n_permutations) == (999, 99)


def test_the_adjusted_p_is_never_below_the_p():
    long = np.concatenate([np.full(99, 0.4), np.full(61, 0.9), np.full(839, 0.5)])
    tests = permutation_tests(
        {"svm-fc": 0.7, "fmmtc": 0.5}, {"svm-fc": long, "fmmtc": np.full(99, 0.45)}
    )
    assert tests[0].p == tests[0].p_adjusted == 62 / 1000


COVARIATES, MOTION = "beyond covariates", "beyond motion and acquisition"


def steps(covariates, motion):
    return [
        AddedValue(
            name,
            ("age",),
            0.6,
            0.7,
            0.01,
            0.01,
            reached=reached,
            reason="" if reached is not None else "why",
        )
        for name, reached in ((COVARIATES, covariates), (MOTION, motion))
    ]


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        ((True, True), "evidence of prediction"),
        ((None, True), "evidence of prediction"),
        ((True, False), "predicts; not shown beyond motion and acquisition"),
        ((False, True), "predicts; not shown beyond covariates"),
        (
            (False, False),
            "predicts; not shown beyond covariates and not beyond motion and acquisition",
        ),
        ((None, False), "predicts; not shown beyond motion and acquisition"),
    ],
)
def test_evidence_needs_every_step_that_could_be_tested(reached, words):
    chance = np.linspace(0.3, 0.6, 99)
    observed = {"fmmtc": 0.7, "svm-fc": 0.55, "motion": 0.9, "lstm": 0.9}
    permuted = {name: chance for name in observed if name != "lstm"}
    tests = permutation_tests(
        observed, permuted, {"fmmtc": steps(*reached), "svm-fc": steps(True, True)}
    )
    assert {each.model: each.verdict for each in tests} == {
        "fmmtc": words,
        "svm-fc": "no evidence of prediction",
        "motion": "no evidence of prediction",  # it knows nothing of the brain, whatever its p
        "lstm": "not tested",
    }
    assert np.isnan(tests[-1].p_adjusted)
    assert tests[2].p_adjusted == 0.01
    sentence = verdict_sentence(tests, np.tile([0, 1], 20), 0.2)
    assert sentence.startswith(f"{words}: fmmtc (AUROC 0.70, adjusted p = 0.010")
    assert ("Not tested: beyond covariates (why)." in sentence) == (reached[0] is None)
    alone = permutation_tests({"motion": 0.9}, {"motion": chance})
    assert verdict_sentence(alone, np.tile([0, 1], 20), 0.2).startswith("not tested")


def test_the_sentence_of_the_run_names_what_was_found_and_what_was_not_tested(setup, whole_cohort):
    examples = whole_cohort()
    folds = outer_folds(examples.strata, 2, 1, 0)
    predictions = [fit_fold("dummy", examples, f, setup, EVALUATION, seed=0) for f in folds]
    chance = np.linspace(0.3, 0.6, 99)

    def sentence(observed):
        tests = permutation_tests(observed, {"svm-fc": chance})
        return evaluate(predictions, examples.y, EVALUATION, 0, tests).verdict

    found = sentence({"svm-fc": 0.8, "fmmtc": 0.9})
    assert found.startswith("evidence of prediction: svm-fc (AUROC 0.80, adjusted p = 0.010).")
    assert "Not tested: fmmtc." in found
    nothing = sentence({"svm-fc": 0.5})
    assert nothing.startswith("no evidence of prediction in the one tested model;")
    untested = permutation_tests({"fmmtc": 0.9}, {})
    assert evaluate(predictions, examples.y, EVALUATION, 0, untested).verdict.startswith(
        "not tested"
    )


def test_networks_are_shuffled_by_default_only_on_a_gpu():
    auto = ProtocolOptions()
    assert auto.n_permutations(is_network=False, device="cpu") == 999
    assert auto.n_permutations(is_network=True, device="cpu") == 0
    assert auto.n_permutations(is_network=True, device="cuda:1") == 99
    assert ProtocolOptions(permutations="19").n_permutations(is_network=True, device="cpu") == 19
    with pytest.raises(UsageError, match="--permutations is 'many'"):
        ProtocolOptions(permutations="many")


def test_networks_can_be_left_untested_where_models_without_epochs_are_tested():
    options = ProtocolOptions(permutations="99", network_permutations="0")
    assert options.n_permutations(is_network=False, device="cuda") == 99
    assert options.n_permutations(is_network=True, device="cuda") == 0
    alike = ProtocolOptions(permutations="99")
    assert alike.n_permutations(is_network=True, device="cpu") == 99
    with pytest.raises(UsageError, match=r"--network-permutations is 5.*Give 19 or more"):
        ProtocolOptions(network_permutations="5")


def test_shuffles_too_few_for_a_small_p_are_wrong_use():
    assert ProtocolOptions(permutations="0").permutations == "0"
    for few in ("1", "18"):
        with pytest.raises(UsageError, match=r"too large for evidence. Give 19 or more, or 0"):
            ProtocolOptions(permutations=few)


def test_the_parts_of_a_run_draw_from_seeds_of_their_own():
    parts = (BOOTSTRAP, GUESSES, ARMS, SHUFFLES, RECALIBRATION)
    seeds = [derive_seed(0), *(derive_seed(0, part) for part in (*range(1000), *parts))]
    assert len(set(seeds)) == len(seeds)
    y = np.tile([0, 1], 20)
    shuffled = permuted_labels(y, single(range(40)), 1, seed=3)[0]
    assert (shuffled == np.random.default_rng(derive_seed(3, SHUFFLES)).permutation(y)).all()

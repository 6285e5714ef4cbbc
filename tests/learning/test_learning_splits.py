"""Folds of people."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.model_selection.splits import (
    SplitPlan,
    check_strata,
    outer_folds,
    split_rows,
)
from fmmtc_bidsapp.options import TrainOptions

STRATA = ("1|drug",) * 9 + ("0|drug",) * 10 + ("1|placebo",) * 17 + ("0|placebo",) * 20


def test_everyone_is_tested_once_per_repeat_and_never_trained_on_at_once():
    folds = outer_folds(STRATA, folds=5, repeats=3, seed=1)
    assert len(folds) == 15
    for repeat in range(3):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(len(STRATA)))
    assert all(not set(fold.train) & set(fold.test) for fold in folds)


def test_every_fold_holds_its_share_of_every_stratum():
    for fold in outer_folds(STRATA, folds=5, repeats=2, seed=3):
        found = Counter(STRATA[row] for row in fold.test)
        assert all(abs(found[name] - size / 5) < 1 for name, size in Counter(STRATA).items())


def test_repeats_and_seeds_have_splits_of_their_own_and_a_seed_always_the_same():
    first, second = (outer_folds(STRATA, 5, 2, seed=7)[i].test.tolist() for i in (0, 5))
    assert first != second
    assert first == outer_folds(STRATA, 5, 2, seed=7)[0].test.tolist()
    assert first != outer_folds(STRATA, 5, 2, seed=8)[0].test.tolist()


def test_split_rows_cover_the_training_people():
    splits = split_rows(STRATA, folds=3, seed=0)
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(STRATA)))


def test_a_stratum_smaller_than_the_folds_is_named():
    with pytest.raises(InputError, match=r"'1\|rare' has 3 participants.*need 5"):
        outer_folds((*STRATA, *("1|rare",) * 3), folds=5, repeats=1, seed=0)


@pytest.mark.parametrize(("size", "passes"), [(3, False), (4, False), (5, True)])
def test_a_stratum_must_last_for_the_split_rows_of_the_worst_outer_fold(size, passes):
    # With 3 folds a test fold takes 2 of 4 or of 5 people: 2 or 3 are left for 3 inner folds.
    strata = ("0",) * 20 + ("1",) * size
    if passes:
        check_strata(strata, folds=3, inner=3)
        for fold in outer_folds(strata, 3, 1, seed=0):
            split_rows([strata[row] for row in fold.train], 3, seed=0)
    else:
        with pytest.raises(InputError, match="need 5"):
            check_strata(strata, folds=3, inner=3)


def test_one_outcome_only_is_refused():
    with pytest.raises(InputError, match="same outcome"):
        outer_folds(("1|a",) * 10 + ("1|b",) * 10, folds=2, repeats=1, seed=0)


SITES = tuple(f"site-{i % 9}" for i in range(len(STRATA)))


def test_nobody_is_tested_by_a_model_that_saw_someone_of_their_group():
    folds = outer_folds(STRATA, folds=4, repeats=2, seed=1, groups=SITES)
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(len(STRATA)))
    for fold in folds:
        assert not {SITES[row] for row in fold.train} & {SITES[row] for row in fold.test}
        own = [SITES[row] for row in fold.train]
        for fit, held_out in split_rows([STRATA[r] for r in fold.train], 3, 0, own):
            assert not {own[i] for i in fit} & {own[i] for i in held_out}


def test_groups_keep_outcomes_as_even_as_they_can():
    groups = tuple(f"family-{i // 2}" for i in range(60))
    strata = tuple("1" if i % 4 < 2 else "0" for i in range(60))
    for fold in outer_folds(strata, folds=5, repeats=1, seed=0, groups=groups):
        assert Counter(strata[row] for row in fold.test) == {"0": 6, "1": 6}


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(InputError, match=r"There are 3 groups .* but 5 folds"):
        check_strata(("0", "1") * 15, 5, 2, [f"site-{i % 3}" for i in range(30)])


def test_a_group_that_has_an_outcome_to_itself_is_named():
    strata = ("1",) * 6 + ("0",) * 20
    groups = ("trial",) * 6 + tuple(f"site-{i}" for i in range(20))
    with pytest.raises(InputError, match="Everyone with outcome 1 is in one group, 'trial'"):
        check_strata(strata, 3, 2, groups)


def test_splits_that_only_fail_inside_are_found_before_fitting():
    train = TrainOptions(folds=2, inner_folds=2)
    SplitPlan(STRATA, SITES, train, 0).check()
    # Two groups hold the positives: the training set of an outer fold may be left with one.
    strata = ("1",) * 12 + ("0",) * 24
    groups = ("a",) * 6 + ("b",) * 6 + tuple(f"site-{i // 4}" for i in range(24))
    check_strata(strata, 2, 2, groups)
    with pytest.raises(InputError, match=r"outcome 1 is in one group|cannot be split 2 ways"):
        SplitPlan(strata, groups, train, 0).check()


def test_a_calibration_is_refused_for_the_people_it_would_be_fitted_on():
    strata, train = ["0", "1"] * 120, TrainOptions(folds=5)
    with pytest.raises(InputError, match="isotonic needs 200 training participants, found 192"):
        SplitPlan(strata, None, train, 0, "isotonic").check()
    SplitPlan(strata * 2, None, train, 0, "isotonic").check()

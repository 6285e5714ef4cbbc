"""Scans that are there twice, and columns that reveal the outcome."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.learning.evaluation.leakage import (
    acquisition_leaks,
    copies_together,
    find_duplicates,
    leaking_covariates,
    refuse_leaks,
)
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.records import Duplicate, Examples

Y = np.tile([0, 1], 20)


def test_a_scan_under_two_names_is_found_whatever_parcels_either_lacks(whole_cohort):
    examples = whole_cohort(n=20)
    fc = examples.fc.copy()
    noise = np.random.default_rng(0).normal(scale=1e-3, size=fc[3].shape)
    fc[7] = fc[3] + noise + noise.T
    fc[7, 2] = fc[7, :, 2] = fc[5, 4] = fc[5, :, 4] = np.nan
    (found,) = find_duplicates(examples.with_arrays(fc=fc))
    assert (found.first, found.second) == ("sub-003", "sub-007")
    both = ~np.isnan(fc[7][np.triu_indices(8, 1)])
    edges = [each[np.triu_indices(8, 1)][both] for each in fc[[3, 7]]]
    assert found.correlation == pytest.approx(np.corrcoef(edges)[0, 1], abs=1e-9)


def test_different_people_are_no_duplicates_and_empty_matrices_are_not_judged(whole_cohort):
    examples = whole_cohort(n=20)
    fc = examples.fc.copy()
    fc[3], fc[4], fc[5] = np.nan, 0.0, 0.0
    assert find_duplicates(examples.with_arrays(fc=fc)) == ()


def test_a_column_that_ranks_people_as_the_outcome_does_is_refused_with_the_reason():
    rng = np.random.default_rng(0)
    columns = np.stack([rng.normal(size=40), 30 * Y + rng.normal(size=40)], axis=1)
    with pytest.raises(UsageError, match=r"--covariates: % change has an AUROC of 1\.00"):
        refuse_leaks(("age", "% change"), columns, Y)
    refuse_leaks(("age",), columns[:, :1], Y)


def test_the_best_and_the_worst_rank_are_both_refused():
    score = np.where(np.arange(40) == 0, 2.0, Y) + np.linspace(0, 0.1, 40)
    for sign in (1, -1):
        (found,) = leaking_covariates(("score",), sign * score[:, None], Y)
        assert "AUROC" in found.reason


def test_levels_that_together_determine_the_outcome_are_refused():
    grade = np.where(Y == 1, 0, np.arange(40) // 2 % 2 + 1)
    shuffled = (grade + 1) % 3  # no level is the outcome's highest
    columns = (shuffled[:, None] == np.arange(3)).astype(float)
    names = tuple(f"grade={each}" for each in "abc")
    (found,) = leaking_covariates(names, columns, Y)
    assert found.name == "grade"


def test_a_middle_value_that_only_responders_have_determines_the_outcome():
    score = np.where(Y == 1, 2.0, np.where(np.arange(40) % 4 == 0, 1.0, 3.0))
    (found,) = leaking_covariates(("score",), score[:, None], Y)
    assert found.reason == "determines the outcome"


def test_a_column_that_is_filled_in_for_responders_only_is_refused():
    column = np.where(Y == 1, np.random.default_rng(0).normal(size=40), np.nan)
    (found,) = leaking_covariates(("follow-up",), column[:, None], Y)
    assert "missing depending on the outcome" in found.reason


def test_honest_columns_pass_even_when_every_value_is_unique():
    rng = np.random.default_rng(0)
    site = (rng.integers(0, 3, 40)[:, None] == np.arange(3)).astype(float)
    columns = np.column_stack([rng.normal(size=40) + 0.5 * Y, site])
    columns[rng.uniform(size=columns.shape) < 0.1] = np.nan
    assert leaking_covariates(("age", "site=a", "site=b", "site=c"), columns, Y) == ()


@pytest.mark.parametrize(("known", "told"), [(4, False), (5, True)])
def test_values_that_few_people_have_are_not_judged(known, told):
    column = np.full(40, np.nan)
    for outcome in (0, 1):
        rows = np.flatnonzero(outcome == Y)[:known]
        column[rows] = outcome + np.linspace(0, 0.1, known)
    assert bool(leaking_covariates(("rare",), column[:, None], Y)) == told
    grade = np.where(np.isnan(column), np.nan, np.round(column * 2) % 2)
    assert leaking_covariates(("grade",), np.column_stack([grade, grade]), Y) == ()
    level = np.where(np.isnan(column), np.nan, np.floor(column))
    assert bool(leaking_covariates(("level",), level[:, None], Y)) == told


def brains(n, seed, twice=0, volumes=200, likeness=0.4):
    """Series of people with a pattern of their own beside the common one; some scanned twice."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(30, 30)) / np.sqrt(30)
    fc = []
    for person in range(n - twice):
        own = common + likeness * rng.normal(size=(30, 30)) / np.sqrt(30)
        fc += [
            np.corrcoef((rng.normal(size=(volumes, 30)) @ (np.eye(30) + own)).T)
            for _ in range(2 if person < twice else 1)
        ]
    y = rng.permutation(np.arange(n) % 2)
    return Examples(
        keys=tuple(f"sub-{i:03d}" for i in range(n)),
        arrays={
            "cls": np.empty((n, 0)),
            "fc": np.array(fc, np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def test_one_person_scanned_twice_stands_out_of_the_cohort_though_the_scans_differ():
    found = find_duplicates(brains(56, 0, twice=3))
    assert {(each.first, each.second) for each in found} == {
        ("sub-000", "sub-001"), ("sub-002", "sub-003"), ("sub-004", "sub-005"),
    }  # fmt: skip
    assert not any(each.same_scan for each in found)
    assert max(each.correlation for each in found) < 0.95


def test_strangers_hardly_ever_stand_out():
    cohorts = [find_duplicates(brains(56, seed, volumes=100)) for seed in range(40)]
    assert sum(map(len, cohorts)) <= 1


def test_copies_are_one_group_in_folds_and_join_the_groups_they_are_in():
    examples = brains(40, 0)
    pairs = (Duplicate("sub-000", "sub-010", 1.0), Duplicate("sub-010", "sub-020", 1.0))
    alone = copies_together(examples, pairs)
    assert len(set(alone.groups)) == 38
    assert len({alone.groups[row] for row in (0, 10, 20)}) == 1
    for fold in outer_folds(alone.strata, 5, 2, 0, alone.groups):
        assert len({0, 10, 20} & set(fold.test.tolist())) in (0, 3)
    sites = replace(examples, groups=tuple(f"site-{i % 4}" for i in range(40)))
    joined = copies_together(sites, pairs[:1])
    assert {joined.groups[row] for row in range(0, 40, 4)} == {joined.groups[10]}
    assert joined.groups[1] == "site-1"
    assert copies_together(examples, ()) is examples


CASES = {
    "volumes": (("volumes",), lambda y, rng: np.where(y == 1, 120.0, 90.0)[:, None]),
    "repetition time": (("repetition time",), lambda y, rng: np.where(y == 1, 2.0, 2.4)[:, None]),
    "runs": (("runs", "volumes"), lambda y, rng: np.stack([1 + y, rng.normal(size=len(y))], 1)),
    "site": (("site=a",), lambda y, rng: (y == 1)[:, None]),
}


@pytest.mark.parametrize("case", CASES)
def test_scans_that_differ_as_the_outcome_does_are_warned_of(case):
    examples, (names, columns) = brains(56, 0), CASES[case]
    values = columns(examples.y, np.random.default_rng(0)).astype(float)
    examples = replace(examples, acquisition=values, acquisition_names=names)
    (found,) = acquisition_leaks(examples)
    assert (found.name, found.reason) == (names[0], "has an AUROC of "
        f"{0.0 if case == 'repetition time' else 1.0:.2f} against the outcome")  # fmt: skip
    noise = np.random.default_rng(1).normal(size=(56, 5))
    many = replace(examples, acquisition=noise, acquisition_names=tuple("abcde"))
    assert acquisition_leaks(many) == ()
    assert acquisition_leaks(brains(56, 0)) == ()

"""Scans that are there twice, and columns that give the outcome away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.learning.leaks import find_duplicates, leaking_covariates, refuse_leaks

Y = np.tile([0, 1], 20)


def test_a_scan_under_two_names_is_found_whatever_parcels_either_lacks(whole_cohort):
    examples = whole_cohort(n=20)
    fc = examples.fc.copy()
    noise = np.random.default_rng(0).normal(scale=1e-3, size=fc[3].shape)
    fc[7] = fc[3] + noise + noise.T
    fc[7, 2] = fc[7, :, 2] = fc[5, 4] = fc[5, :, 4] = np.nan
    (found,) = find_duplicates(replace(examples, fc=fc))
    assert (found.first, found.second) == ("sub-003", "sub-007")
    both = ~np.isnan(fc[7][np.triu_indices(8, 1)])
    edges = [each[np.triu_indices(8, 1)][both] for each in fc[[3, 7]]]
    assert found.correlation == pytest.approx(np.corrcoef(edges)[0, 1], abs=1e-9)


def test_different_people_are_no_duplicates_and_empty_matrices_are_not_judged(whole_cohort):
    examples = whole_cohort(n=20)
    fc = examples.fc.copy()
    fc[3], fc[4], fc[5] = np.nan, 0.0, 0.0
    assert find_duplicates(replace(examples, fc=fc)) == ()


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
    assert "missing according to the outcome" in found.reason


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

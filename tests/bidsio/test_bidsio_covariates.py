"""Columns of text to columns of numbers."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.covariates import CovariateLevels, covariate_columns
from fmmtc_bidsapp.errors import InputError, UsageError

NAMES = ("age", "drug")
PEOPLE = [("30", "placebo"), ("41.5", "verum"), ("n/a", "placebo"), ("28", "n/a")]
NAN = np.nan


def test_numbers_are_one_column_and_text_is_one_a_level():
    found = covariate_columns(PEOPLE, NAMES)
    assert found.names == ("age", "drug=placebo", "drug=verum")
    np.testing.assert_array_equal(
        found.values, [[30, 1, 0], [41.5, 0, 1], [NAN, 1, 0], [28, NAN, NAN]]
    )
    assert found.notes == ()


def test_people_to_come_are_encoded_as_those_of_the_training_were():
    trained = covariate_columns(PEOPLE, NAMES).levels
    levels = [CovariateLevels(**each) for each in json.loads(json.dumps([*map(asdict, trained)]))]
    assert tuple(levels) == trained
    found = covariate_columns([("verum", "50")], ("drug", "age"), levels)
    assert found.names == ("age", "drug=placebo", "drug=verum")
    np.testing.assert_array_equal(found.values, [[50, 0, 1]])


def test_a_level_that_the_training_had_not_is_missing_and_told():
    trained = covariate_columns(PEOPLE, NAMES).levels
    found = covariate_columns([("50", "ketamine")], NAMES, trained)
    np.testing.assert_array_equal(found.values, [[50, NAN, NAN]])
    assert "drug is ketamine for 1, which the training had not: taken as n/a" in found.notes


def test_text_where_the_training_had_numbers_is_refused():
    trained = covariate_columns(PEOPLE, NAMES).levels
    with pytest.raises(InputError, match="age holds 'old'"):
        covariate_columns([("old", "verum")], NAMES, trained)


def test_other_covariates_than_the_trainings_are_refused():
    trained = covariate_columns(PEOPLE, NAMES).levels
    with pytest.raises(UsageError, match=r"--covariates are age; .* trained with age, drug"):
        covariate_columns([("50",)], ("age",), trained)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["n/a", "", "nan"], "x is n/a for everyone"),
        (["2", "2.0", "n/a"], "x is 2 for everyone who has it"),
        (["a", "a", "a"], "x is a for everyone who has it"),
        (
            ["1", "1", "1", "2", "2", "many", "many"],
            "x holds numbers, but also many: each of its 3",
        ),
        (["a", "b", "c"], "x has a level of its own for 3 of 3 people"),
    ],
)
def test_a_column_that_says_nothing_or_is_of_two_kinds_is_told(values, note):
    found = covariate_columns([(value,) for value in values], ("x",))
    assert any(note in each for each in found.notes)


def test_infinity_is_no_number():
    assert covariate_columns([("inf",), ("1",)], ("x",)).names == ("x=1", "x=inf")


def test_nobody_and_nothing_have_columns_of_no_length():
    assert covariate_columns([(), ()], ()).values.shape == (2, 0)
    assert covariate_columns(
        [], NAMES, [CovariateLevels("age"), CovariateLevels("drug", ("a",))]
    ).values.shape == (0, 2)

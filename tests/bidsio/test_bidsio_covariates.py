"""Columns of text to columns of numbers."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels, covariate_columns
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
    assert "drug: ketamine (n = 1) was not in the training: read as n/a" in found.notes


def test_text_where_the_training_had_numbers_is_refused():
    trained = covariate_columns(PEOPLE, NAMES).levels
    with pytest.raises(InputError, match="age has 'old'"):
        covariate_columns([("old", "verum")], NAMES, trained)


def test_other_covariates_than_the_trainings_are_refused():
    trained = covariate_columns(PEOPLE, NAMES).levels
    with pytest.raises(UsageError, match=r"--covariates are age; .* trained with age, drug"):
        covariate_columns([("50",)], ("age",), trained)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["n/a", "", "nan"], "x is n/a for all participants"),
        (["2", "2.0", "n/a"], "x is 2 for all participants with a value"),
        (["a", "a", "a"], "x is a for all participants with a value"),
        (
            ["1", "1", "1", "2", "2", "many", "many"],
            "x has numbers, but also many: its 3 values",
        ),
        (["a", "b", "c"], "x has a unique level for 3 of 3 participants"),
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


def trained(*values, **meanings):
    """Levels of one covariate, x, as a bundle brings them back."""
    described = {"x": meanings} if meanings else None
    levels = covariate_columns([(value,) for value in values], ("x",), meanings=described).levels
    return [CovariateLevels(**each) for each in json.loads(json.dumps([*map(asdict, levels)]))]


def applied(levels, *values, **meanings):
    described = {"x": meanings} if meanings else None
    return covariate_columns([(value,) for value in values], ("x",), levels, described)


def test_levels_are_compared_by_value():
    assert trained("1", "1.0", "2", "many")[0].levels == ("1", "2", "many")
    found = applied(trained("1", "2", "many"), "1.0", "02", "many", "n/a")
    np.testing.assert_array_equal(found.values, [*np.eye(3), [NAN] * 3])
    assert not any("had not" in note for note in found.notes)


@pytest.mark.parametrize("values", [("1", "2"), ("2", "2"), ("0", "1", "2")])
def test_two_codes_of_the_training_are_not_read_as_two_others(values):
    levels = trained("0", "1", "1", "0", "n/a")
    with pytest.raises(InputError, match="training had only 0 and 1, so the meaning of 2 and"):
        applied(levels, *values)
    np.testing.assert_array_equal(applied(levels, "1.0", "0").values, [[1], [0]])


def test_a_sex_of_letters_is_not_read_from_numbers_and_the_other_way_round():
    found = applied(trained("F", "M", "F"), "1", "2")
    assert np.isnan(found.values).all()
    assert any("x: 1, 2 (n = 2) was not in the training" in note for note in found.notes)
    with pytest.raises(InputError, match="x has 'F'"):
        applied(trained("1", "2", "1"), "F", "M")


def test_the_same_codes_with_another_meaning_are_refused():
    levels = trained("1", "2", "1", **{"1": "male", "2": "female"})
    with pytest.raises(InputError, match=r"x = 1 means 'female' in the JSON .* 'male' in"):
        applied(levels, "1", "2", **{"1": "female", "2": "male"})
    applied(levels, "1", "2", **{"1.0": "Male", "2": "female "})
    applied(levels, "1", "2")


AGES = [str(age) for age in range(20, 61)]


@pytest.mark.parametrize("code", ["-9", "-99", "-999", "999", "9999", "99", "1e6"])
def test_a_value_far_off_is_warned_of_and_no_part_of_the_range(code):
    found = covariate_columns([(age,) for age in [*AGES, code, code]], ("x",))
    (note,) = found.notes
    assert f"x is {float(code):g} for 2 of 43 participants, far from the other values" in note
    assert found.levels[0].range == (20, 60)


@pytest.mark.parametrize(
    "values",
    [
        AGES,
        [*AGES, "77"],
        ["-9", "-8", "-10", "-12", "-7"],
        ["0", "1", "0", "1", "1"],
        ["0"] * 30 + ["5"],
        [str(each) for each in range(95, 103)],
        ["7", "7"],
    ],
)
def test_values_of_one_distribution_are_not_called_far_off(values):
    assert not any("far off" in note for note in covariate_columns(list(zip(values)), ("x",)).notes)


def test_a_new_value_outside_the_trainings_range_is_told():
    (levels,) = trained(*AGES, "-9")
    assert levels.outside("-999") == "x -999, trained on 20 to 60"
    assert levels.outside("60.5") == "x 60.5, trained on 20 to 60"
    assert [levels.outside(each) for each in ("20", "60.0", "n/a", "")] == [None] * 4
    found = applied([levels], "30", "-999", "n/a")
    assert any(
        "x is -999 for 1 of 2 participants, outside the 20 to 60" in each for each in found.notes
    )
    (text,) = trained("a", "b")
    assert text.outside("c") == "x c, not in the training"


def test_a_bundle_without_ranges_says_nothing_of_them():
    assert CovariateLevels("x").outside("-999") is None

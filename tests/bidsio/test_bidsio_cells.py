"""One comparison for all columns: numbers by value, text trimmed, lookalikes told."""

import itertools
from decimal import Decimal

import pytest

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels, covariate_columns
from fmmtc_bidsapp.bidsio.cohort.eligibility import read_eligible
from fmmtc_bidsapp.bidsio.tables.cells import as_number, lookalikes, same_value, sizes, spelled
from fmmtc_bidsapp.options import CohortOptions

NUMBERS = ["1", "1.0", "01", "+1", "1e0", "1.", "10", "0.1", ".1", "-1", "0", "-0", "0.10", "1E1"]
TEXTS = ["S1", "S01", "s1", "1_0", "1,5", "1 0", "inf", "infinity", "0x10", "\u0661", "1/2", "--"]


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations_with_replacement(NUMBERS, 2)])
def test_numbers_are_compared_by_their_exact_value(one, other):
    assert same_value(one, other) is (Decimal(one) == Decimal(other))


def test_numbers_too_long_for_a_float_stay_apart():
    assert not same_value("12345678901234567890", "12345678901234567891")


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations([*TEXTS, "1", "10"], 2)])
def test_text_that_python_would_take_for_a_number_is_text(one, other):
    assert not same_value(one, other)
    assert same_value(f" {one}\u00a0", one)


def test_the_letters_of_both_forms_of_unicode_are_the_same():
    assert same_value("Zu\u0308rich", "Z\u00fcrich")


@pytest.mark.parametrize("cell", ["", " ", "n/a", "N/A", "N/a", "NA", "na", "NaN", "NAN", "#N/A"])
def test_nothing_is_spelled_in_one_way(cell):
    assert spelled(cell) == "n/a"
    assert as_number(cell) is None


def test_values_that_differ_in_case_blanks_or_zeros_only_are_told_with_their_number():
    cells = ["S1", "s1", "S01", "S01", "north  a", "North A", "10", "S10", "n/a", "N/A"]
    first, second = lookalikes("site", cells)
    assert first.startswith("site has 'S01' (2), 'S1' (1), 's1' (1), which differ only in case")
    assert "read as 3 different values" in first
    assert "'North A' (1), 'north  a' (1)" in second
    (zeros,) = lookalikes("site", ["1", "01", "1.0", "2"])
    assert "'01' (1), '1' (1)" in zeros
    assert "read as one value" in zeros


def test_numbers_of_other_values_are_no_lookalikes():
    assert lookalikes("age", ["1.05", "1.5", "1.50", "10", "100", "-1", "1"]) == []


def test_sizes_are_listed_from_the_largest():
    assert sizes(["a", "b", "b", "c", "c", "c"]) == "c: 3, b: 2, a: 1"
    assert sizes(map(str, range(30))).endswith(", and 20 other values with 1 to 1")


FLAGS = {
    "group_by": lambda label: label.group,
    "stratify_by": lambda label: label.strata[0],
    "covariates": lambda label: label.covariates[0],
    "subset_by": lambda label: label.arm,
}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "participants.tsv"
    rows = ["1\t1", "1.0\t0", "01\t1", " 2 \t0", "2\t1.0", "Basel\t0.0", "Basel \t1", "basel\t0"]
    lines = [f"sub-{i}\t{row}" for i, row in enumerate(rows)]
    path.write_text("\n".join(["participant_id\tsite\ty", *lines]) + "\n")
    return path


@pytest.mark.parametrize("flag", FLAGS)
def test_one_site_in_several_spellings_is_one_site_for_every_flag(table, flag):
    heard = []
    own = {flag: "site" if flag in ("group_by", "subset_by") else ("site",)}
    subset_by = own.pop("subset_by", None)
    options = CohortOptions(target="y", **own)
    eligible = read_eligible(table, options, subset_by=subset_by, warn=heard.append)
    assert [FLAGS[flag](row) for row in eligible.rows] == [*"11122", "Basel", "Basel", "basel"]
    assert [row.y for row in eligible.rows] == [1, 0, 1, 0, 1, 0, 1, 0]
    assert any("'Basel' (2), 'basel' (1)" in line for line in heard)
    assert any("'01' (1), '1' (1)" in line for line in heard)


@pytest.mark.parametrize("asked", ["1", "1.0", "01", " 1"])
def test_a_filter_takes_every_spelling_of_its_value(table, asked):
    options = CohortOptions(target="y", where=(f"site={asked}",))
    rows = read_eligible(table, options).rows
    assert [row.participant_id for row in rows] == ["sub-0", "sub-1", "sub-2"]


def test_a_level_of_the_training_is_met_in_another_spelling():
    trained = covariate_columns([("1.0",), ("2",), ("x",)], ("site",)).levels
    assert trained == (CovariateLevels("site", ("1", "2", "x")),)
    found = covariate_columns([("01",), (" x ",)], ("site",), trained)
    assert found.values.tolist() == [[1, 0, 0], [0, 0, 1]]
    # A bundle of an older version has the spelling of its table.
    old = CovariateLevels("site", ("1.0", "2", "x"))
    assert covariate_columns([("1",)], ("site",), [old]).values.tolist() == [[1, 0, 0]]

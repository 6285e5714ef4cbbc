"""Ids of tables and files that do not meet: told with the likely cause, and never matched."""

import pytest

from fmmtc_bidsapp.bidsio.tables.person_ids import first_ids, likely_cause, unmatched


@pytest.mark.parametrize(
    ("one", "other", "cause"),
    [
        ("sub-1", "sub-001", "leading zeros were restored (001 for 1)"),
        ("sub-1.0", "sub-01", "zeros, decimals, signs"),
        ("sub-abc", "sub-ABC", "upper and lower case"),
        ("sub-S-01", "sub-S01", "zeros, decimals, signs"),
        ("sub-sub01", "sub-SUB01", "upper and lower case"),
    ],
)
def test_the_likely_cause_is_named_with_the_first_pair(one, other, cause):
    said = likely_cause([one], [other, "sub-999"])
    assert cause in said
    assert f"{one} and {other}" in said
    assert "Similar ids are not matched" in said


def test_other_people_have_no_likely_cause():
    assert likely_cause(["sub-1", "sub-2"], ["sub-3", "sub-10", "sub-21"]) == ""


def test_the_first_ids_are_three():
    assert first_ids({f"sub-{i}" for i in range(9)}) == "sub-0, sub-1, sub-2, …"
    assert first_ids(["sub-1"]) == "sub-1"


def test_lists_that_share_people_are_in_order_unless_the_rest_looks_alike():
    assert unmatched({"sub-01", "sub-02"}, {"sub-01", "sub-03"}) == ""
    said = unmatched({"sub-10", "sub-1"}, {"sub-10", "sub-01"})
    assert "1 participants of the table (sub-1) have no files" in said
    assert "leading zeros" in said
    assert "sub-02" in unmatched({"sub-01"}, {"sub-02"})

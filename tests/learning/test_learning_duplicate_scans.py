"""Scans that are there twice are told in one line, and refused where everybody's is."""

import itertools

import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.evaluation.duplicate_scans import describe_duplicates, refuse_duplicates
from fmmtc_bidsapp.records import Duplicate

PEOPLE = [f"sub-{i:02}" for i in range(24)]
ALL_PAIRS = [Duplicate(*pair, 1.0) for pair in itertools.combinations(PEOPLE, 2)]


def test_all_pairs_of_identical_scans_are_one_line_with_their_number():
    said = describe_duplicates(ALL_PAIRS, "have the same scan", "Look.")
    assert "\n" not in said
    assert said.startswith("276 pairs of 24 participants have the same scan")
    assert said.endswith("Look.")
    assert len(said) < 300


def test_a_single_pair_is_named():
    said = describe_duplicates([Duplicate("sub-1", "sub-2", 0.9995)], "have the same scan", "Look.")
    assert said == (
        "sub-1 and sub-2 have the same scan (their connectomes correlate at 0.9995). Look."
    )
    assert describe_duplicates([], "have the same scan", "Look.") == ""


IN_TWOS = [Duplicate(*PEOPLE[i : i + 2], 0.9999) for i in range(0, 24, 2)]


@pytest.mark.parametrize("pairs", [ALL_PAIRS, IN_TWOS])
def test_a_cohort_in_which_everybody_is_a_twin_is_refused(pairs):
    with pytest.raises(InputError, match="All 24 participants have the same scan as another"):
        refuse_duplicates(PEOPLE, pairs)


def test_a_cohort_with_one_scan_of_its_own_goes_on():
    refuse_duplicates([*PEOPLE, "sub-99"], ALL_PAIRS)
    refuse_duplicates(PEOPLE, [])
    # Brothers and sisters are alike, but have scans of their own.
    refuse_duplicates(PEOPLE[:2], [Duplicate(*PEOPLE[:2], 0.95)])

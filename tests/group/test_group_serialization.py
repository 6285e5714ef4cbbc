"""Arrays between nodes come back as they went."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.encode.serialization import load_examples, save_examples
from fmmtc_bidsapp.records import Examples


def examples() -> Examples:
    rng = np.random.default_rng(0)
    return Examples(
        keys=("sub-1", "sub-2", "sub-3"),
        arrays={
            "cls": rng.normal(size=(3, 2)),
            "fc": rng.normal(size=(3, 4, 4)).astype(np.float32),
            "series": rng.normal(size=(3, 4, 5)).astype(np.float32),
            "cls_random": rng.normal(size=(3, 2)),
            "snps": np.array([[0.0, 2.0], [np.nan, np.nan], [1.0, np.nan]]),
        },
        y=np.array([0, 1, 0]),
        strata=("0", "1", "0"),
        covariates=np.array([[1.0], [np.nan], [2.0]]),
        covariate_names=("age",),
        mean_fd_mm=np.array([0.1, np.nan, 0.2]),
        present={"snps": np.array([True, False, True])},
        acquisition=np.array([[120.0], [90.0], [np.nan]]),
        acquisition_names=("volumes",),
        groups=("a", "a", "b"),
        arms=("drug", "n/a", "drug"),
        coordinates_mm=rng.normal(size=(4, 3)),
    )


_OPTIONAL = ("covariates", "mean_fd_mm", "groups", "arms", "coordinates_mm")


@pytest.mark.parametrize("kept", ["all", "only what every cohort has"])
def test_examples_come_back_as_they_went(tmp_path, kept):
    whole = examples()
    if kept != "all":
        absent = dict.fromkeys(_OPTIONAL)
        whole = whole.with_arrays(cls=np.empty((3, 0)), series=None, cls_random=None, snps=None)
        whole = replace(whole, covariate_names=(), **absent)
    found = load_examples(save_examples(tmp_path / "examples.json", whole))
    for each in fields(Examples):
        wanted, read = getattr(whole, each.name), getattr(found, each.name)
        if not isinstance(wanted, dict):
            wanted, read = {"": wanted}, {"": read}
        assert sorted(read) == sorted(wanted)
        for name in wanted:
            np.testing.assert_array_equal(read[name], wanted[name])


def test_equal_examples_are_equal_files_and_others_are_not(tmp_path):
    path = tmp_path / "examples.json"
    texts = []
    for each in (examples(), examples(), replace(examples(), arms=("drug",) * 3)):
        save_examples(path, each)
        texts.append(path.read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_some_people_are_taken_with_everything_that_is_theirs():
    taken = examples().take(np.array([2, 0]))
    assert (taken.keys, taken.groups) == (("sub-3", "sub-1"), ("b", "a"))
    np.testing.assert_array_equal(taken.covariates, [[2.0], [1.0]])
    np.testing.assert_array_equal(taken.series, examples().series[[2, 0]])


def test_what_has_not_one_row_a_person_is_refused():
    with pytest.raises(InputError, match="mean_fd_mm has 2 rows for 3 people"):
        replace(examples(), mean_fd_mm=np.zeros(2))
    with pytest.raises(InputError, match="1 covariate columns have 2 names"):
        replace(examples(), covariate_names=("age", "sex"))

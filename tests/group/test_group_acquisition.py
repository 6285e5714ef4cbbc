"""What the scans of each person were like, as columns of the reference model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmmtc_bidsapp.group.cohort.dataset import warn_of_acquisition
from fmmtc_bidsapp.group.encode.acquisition import acquisition_columns
from fmmtc_bidsapp.records import Examples, Origin, Person, SeriesFile


def run(name: str = "a", **facts: Any) -> SeriesFile:
    known = {"tr_s": 2.0, "n_volumes": 120, "n_volumes_retained": 110, "cleaning": "simple"}
    given = {**known, **facts}
    entities = given.pop("entities", {})
    return SeriesFile(Path(f"{name}.tsv"), entities, given.pop("tr_s"), None, None, None, **given)


def people(*runs_of: tuple[SeriesFile, ...], groups: tuple[str, ...] | None = None) -> list[Person]:
    return [
        Person(f"sub-{i}", None, i % 2, runs, group=None if groups is None else groups[i])
        for i, runs in enumerate(runs_of)
    ]


def columns_of(cohort: list[Person], about: Any = None) -> dict[str, list[float]]:
    values, names = acquisition_columns(cohort, about)
    return {} if values is None else dict(zip(names, values.T.tolist(), strict=True))


def test_scans_that_were_all_alike_have_no_columns() -> None:
    assert columns_of(people(*[(run(),)] * 6)) == {}


@pytest.mark.parametrize(
    ("name", "facts", "other", "usual"),
    [
        ("volumes", {"n_volumes": 90}, 90, 120),
        ("retained volumes", {"n_volumes_retained": 80}, 80, 110),
        ("repetition time", {"tr_s": 2.4}, 2.4, 2.0),
        ("cleaning=simple", {"cleaning": "simple; no cosines"}, 0, 1),
        ("acq=multiband", {"entities": {"acq": "multiband"}}, 1, 0),
        ("task=movie", {"entities": {"task": "movie"}}, 1, 0),
        ("made by=fMRIPrep 23.1.0", {"origin": Origin(made_by=("fMRIPrep 23.1.0",))}, 1, 0),
    ],
)
def test_what_differs_between_people_is_a_column(
    name: str, facts: dict[str, Any], other: float, usual: float
) -> None:
    found = columns_of(people(*[(run(**facts),)] * 3, *[(run(),)] * 3))
    assert found == {name: [other] * 3 + [usual] * 3}


def test_the_volumes_of_all_runs_are_summed_and_the_runs_counted() -> None:
    found = columns_of(people((run("a"), run("b")), (run("a"),), (run("a"),)))
    assert found["volumes"] == [240, 120, 120]
    assert found["runs"] == [2, 1, 1]


def test_what_is_not_known_is_unknown_and_never_0() -> None:
    found = columns_of(people((run(n_volumes=None),), (run(n_volumes=90),), (run(),)))
    assert np.isnan(found["volumes"][0])
    assert found["volumes"][1:] == [90, 120]
    assert found["volumes unknown"] == [1, 0, 0]


def test_what_was_read_counts_where_no_sidecar_tells_the_volumes() -> None:
    cohort = people(*[(run(n_volumes=None, n_volumes_retained=None),)] * 3)
    about = [
        {"n_volumes": {"a.tsv": n}, "n_parcels_left_out": lost}
        for n, lost in ((120, 0), (90, 5), (90, 0))
    ]
    found = columns_of(cohort, about)
    assert found == {"retained volumes": [120, 90, 90], "parcels left out": [0, 5, 0]}


def test_large_groups_are_sites_and_families_are_not() -> None:
    sites = columns_of(people(*[(run(),)] * 8, groups=tuple("aaaabbbb")))
    assert sites == {"site=a": [1, 1, 1, 1, 0, 0, 0, 0]}
    assert columns_of(people(*[(run(),)] * 8, groups=tuple("aabbccdd"))) == {}


def test_a_label_that_one_person_alone_has_is_no_column() -> None:
    notes = [(run(cleaning=f"simple; note {i}"),) for i in range(4)]
    cohort = people(*notes, *[(run(),)] * 4)
    assert columns_of(cohort) == {"cleaning=simple": [0] * 4 + [1] * 4}
    assert columns_of([replace(each, runs=(run(),)) for each in cohort]) == {}


def test_scans_that_differ_as_the_outcome_does_are_printed_before_anything_is_fitted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    y = np.arange(40) % 2
    examples = Examples(
        keys=tuple(f"sub-{i}" for i in range(40)),
        arrays={
            "cls": np.empty((40, 0)),
            "fc": np.empty((40, 0, 0), np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
        acquisition=np.where(y == 1, 120.0, 90.0)[:, None],
        acquisition_names=("volumes",),
    )
    told = warn_of_acquisition(examples)
    assert told == ("volumes has an AUROC of 1.00 against the outcome",)
    assert f"WARNING: what the scans were like goes with the outcome: {told[0]}." in (
        capsys.readouterr().out
    )
    assert warn_of_acquisition(replace(examples, acquisition=None, acquisition_names=())) == ()
    assert capsys.readouterr().out == ""

"""What counts as a run of a person: no file over several runs, no scan twice, no mix of tasks."""

import itertools
from pathlib import Path

import pytest

from fmmtc_bidsapp.bidsio.cohort.distinct_runs import (
    averaged_runs,
    merged_runs,
    notes_on_acquisitions,
)
from fmmtc_bidsapp.bidsio.cohort.matrices import find_matrices
from fmmtc_bidsapp.bidsio.cohort.series import find_series
from fmmtc_bidsapp.bidsio.files.names import parse_name
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Person, SeriesFile

SERIES = "a\tb\n1\t2\n2\t1\n"
MATRIX = "Node\ta\tb\na\t1\t0\nb\t0\t1\n"
KINDS = {
    "series": (find_series, "stat-mean_timeseries", SERIES),
    "matrices": (find_matrices, "stat-pearsoncorrelation_relmat", MATRIX),
}


@pytest.fixture(params=KINDS)
def found(request, tmp_path):
    """Write a file for each title of XCP-D, and return what is found as titles and exclusions."""
    find, ending, content = KINDS[request.param]

    def look(*titles, tasks=(), space="space-MNI152NLin6Asym"):
        for title in titles:
            sub = title.partition("_")[0]
            path = tmp_path / sub / "func" / f"{title}_{space}_atlas-4S456Parcels_{ending}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        runs, exclusions = find(tmp_path, Query((), (), tasks, ()), desc=None)
        kept = [each.path.name.partition("_space-")[0] for each in runs]
        return kept, [each.reason for each in exclusions]

    return look


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("sub-01_task-rest", ["sub-01_task-rest_run-1", "sub-01_task-rest_run-2"]),
        ("sub-01_task-rest", ["sub-01_task-rest_dir-AP", "sub-01_task-rest_dir-PA"]),
        ("sub-01_task-rest", ["sub-01_task-rest_dir-AP_run-1", "sub-01_task-rest_dir-PA_run-2"]),
        (
            "sub-01_task-rest_acq-mb",
            ["sub-01_task-rest_acq-mb_dir-AP_run-1", "sub-01_task-rest_acq-mb_dir-AP_run-2"],
        ),
    ],
)
def test_a_file_over_several_runs_that_are_there_is_left_out_and_said(found, whole, parts):
    kept, reasons = found(whole, *parts, "sub-02_task-rest")
    assert kept == [*parts, "sub-02_task-rest"]
    assert len(reasons) == 1
    assert reasons[0].startswith(whole)
    assert "combines several runs that exist too" in reasons[0]


@pytest.mark.parametrize(
    "titles",
    [
        ["sub-01_task-rest", "sub-02_task-rest_run-1", "sub-02_task-rest_run-2"],
        ["sub-01_task-rest", "sub-01_task-rest_acq-a_run-1", "sub-01_task-rest_acq-b_run-2"],
        ["sub-01_task-rest", "sub-01_task-rest_run-2"],
    ],
)
def test_a_file_that_is_not_over_the_runs_beside_it_stays(found, titles):
    assert sorted(found(*titles)[0]) == sorted(titles)


def test_merged_runs_are_those_that_a_search_of_all_pairs_finds():
    values = {"task": ["rest", "nback"], "run": [None, "1", "2"], "dir": [None, "AP", "PA"]}
    names = [
        {key: value for key, value in zip(values, each, strict=True) if value is not None}
        for each in itertools.product(*values.values())
    ]
    names = [{"sub": "01", **each} for each in names]

    def holds(whole, part):
        more = set(part.items()) - set(whole.items())
        return set(whole.items()) < set(part.items()) and {key for key, _ in more} <= {"run", "dir"}

    for size in (3, len(names)):
        for chosen in itertools.islice(itertools.combinations(names, size), 300):
            expected = [sum(holds(whole, part) for part in chosen) > 1 for whole in chosen]
            assert merged_runs(chosen) == expected


def test_several_tasks_are_refused_with_the_people_of_each_unless_asked_for(found):
    titles = ["sub-01_task-rest", "sub-01_task-imagery", "sub-02_task-rest"]
    with pytest.raises(UsageError, match=r"imagery: 1, rest: 2.*--task-id"):
        found(*titles)
    assert found(*titles, tasks=["rest"])[0] == ["sub-01_task-rest", "sub-02_task-rest"]
    assert len(found(*titles, tasks=["rest", "imagery"])[0]) == 3


@pytest.mark.parametrize("key", ["echo", "part", "rec", "proc"])
def test_one_scan_in_two_versions_is_refused_and_the_difference_named(found, key):
    one, other = (f"sub-01_task-rest_{key}-{value}" for value in ("1", "2"))
    with pytest.raises(UsageError, match=rf"sub-01_task-rest_.*{key}-1 and {key}-2"):
        found(one, other)


def test_an_echo_beside_the_combination_of_all_is_refused(found):
    with pytest.raises(UsageError, match=r"no echo- and echo-2|echo-2 and no echo-"):
        found("sub-01_task-rest", "sub-01_task-rest_echo-2")


def person(*titles):
    runs = (
        SeriesFile(Path(f"{title}_atlas-A_timeseries.tsv"), {}, None, None, None, None)
        for title in titles
    )
    named = [
        SeriesFile(run.path, parse_name(run.path).entities, None, "A", None, None) for run in runs
    ]
    return Person(titles[0].partition("_")[0], None, 1, tuple(named))


def test_what_is_averaged_is_said_and_scans_of_another_kind_are_warned_of():
    once = [person("sub-01_task-rest"), person("sub-02_task-rest")]
    assert (averaged_runs(once), notes_on_acquisitions(once)) == ("", [])
    two = [f"sub-0{{}}_task-rest_dir-{way}" for way in ("AP", "PA")]
    people = [person(*(each.format(i) for each in two)) for i in (1, 2)]
    people.append(person("sub-03_task-rest_dir-AP"))
    said = averaged_runs(people)
    assert (
        "participants per combination: 2: task-rest_dir-AP + task-rest_dir-PA; 1: task-rest_dir-AP"
        in said
    )
    (note,) = notes_on_acquisitions(people)
    assert note == "runs with different dir- (AP, PA) are averaged in 2 of 3 participants"

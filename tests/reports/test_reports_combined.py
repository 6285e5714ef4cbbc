"""A matrix over the runs of a task, in the report and in the methods text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import STATISTICS, bids_uri
from fmmtc_bidsapp.reports.data.outputs import combined_matrices, finished_runs, read_json
from fmmtc_bidsapp.reports.pages.participant import write_participant_report
from fmmtc_bidsapp.reports.text.methods import participant_methods
from fmmtc_bidsapp.reports.text.processing_summary import averaged_as_z
from fmmtc_bidsapp.signals.connectivity import COEFFICIENTS


def report(root) -> str:
    return write_participant_report(root, "sub-01").read_text()


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def headings(html: str) -> list[str]:
    return [words(each) for each in re.findall(r"<h2[^>]*>(.*?)</h2>", html, re.DOTALL)]


def section(html: str, anchor: str) -> str:
    (found,) = [each for each in html.split("<section") if f'<h2 id="{anchor}"' in each]
    return found


def test_it_has_a_section_after_its_runs_that_the_navigation_leads_to(write_a_run):
    write_a_run.combined(write_a_run.two_runs())
    html = report(write_a_run.root)
    assert headings(html) == [
        "Summary",
        "task-rest run-1 usable",
        "task-rest run-2 usable",
        "task-rest (2 runs combined)",
        *("Methods", "Errors", "About"),
    ]
    anchors = re.findall(r'<li><a href="#([^"]+)"', html)
    assert anchors == ["summary", "run1", "run2", "combined1", "methods", "errors", "about"]


def test_it_is_no_run(write_a_run):
    runs = write_a_run.two_runs()
    whole = write_a_run.combined(runs)
    assert [run.qc for run in finished_runs(write_a_run.root, "sub-01")] == [run.qc for run in runs]
    (found,) = combined_matrices(write_a_run.root, "sub-01")
    assert found.files.relmat == whole.relmat
    assert [run.relmat for run in found.runs] == [run.relmat for run in runs]
    html = report(write_a_run.root)
    assert "2 runs finished, 2 usable." in words(html)
    summary = html[html.index("All runs, processed or left out") : html.index('id="run1"')]
    assert "combined" not in summary


def test_its_runs_are_listed_with_their_worth_and_weight(write_a_run):
    one, two = write_a_run.two_runs()
    write_a_run.combined([one, two])
    write_a_run.run(
        entities=two.entities, n_volumes=60, quality={"usable": False, "reasons": "too short"}
    )
    html = section(report(write_a_run.root), "combined1")
    rows = [words(row) for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]
    assert rows[1:] == ["task-rest run-1 usable 35", "task-rest run-2 not usable 55"]
    assert '<a href="#run2">task-rest run-2</a>' in html


def test_a_run_that_is_no_longer_there_is_still_named(write_a_run):
    one, two = write_a_run.two_runs()
    write_a_run.combined([one, two])
    for path in two.there():
        path.unlink()
    html = section(report(write_a_run.root), "combined1")
    assert "task-rest run-2 no longer in this dataset n/a" in words(html)


def test_its_picture_stands_in_the_section_or_a_sentence_for_it(write_a_run):
    whole = write_a_run.combined(write_a_run.two_runs(), draw=True)
    html = section(report(write_a_run.root), "combined1")
    assert 'id="combined1-connectivity-' in html
    assert "was not drawn" not in html
    whole.figure("connectivity").unlink()
    html = section(report(write_a_run.root), "combined1")
    assert 'id="combined1-connectivity-' not in html
    assert f"{whole.figure('connectivity').name} was not drawn" in words(html)


def test_the_matrix_of_a_run_without_a_number_is_its_own(write_a_run):
    files = write_a_run.run(entities={"task": "rest"})
    told = read_json(files.relmat.with_suffix(".json"))
    sources = {"Sources": [bids_uri(files.timeseries, write_a_run.root)]}
    write_json(files.relmat.with_suffix(".json"), told | sources)
    html = report(write_a_run.root)
    assert "task-rest usable" in headings(html)
    assert "combined1" not in html


def test_two_cleanings_have_a_section_each(write_a_run):
    for desc in ("simple", "scrubbing"):
        write_a_run.combined(write_a_run.two_runs(desc=desc), draw=True)
    html = report(write_a_run.root)
    assert [each for each in headings(html) if "combined" in each] == [
        "task-rest desc-scrubbing (2 runs combined)",
        "task-rest desc-simple (2 runs combined)",
    ]
    for anchor, desc in (("combined1", "scrubbing"), ("combined2", "simple")):
        found = section(html, anchor)
        assert f'id="{anchor}-connectivity-' in found
        assert f"task-rest run-2 desc-{desc} usable 55" in words(found)


def test_sessions_have_a_section_each(write_a_run):
    for session in ("a", "b"):
        runs = [
            write_a_run.run(entities={"ses": session, "task": "rest", "run": run}) for run in "12"
        ]
        write_a_run.combined(runs)
    assert [each for each in headings(report(write_a_run.root)) if "combined" in each] == [
        "ses-a task-rest (2 runs combined)",
        "ses-b task-rest (2 runs combined)",
    ]


@pytest.mark.parametrize("measure", STATISTICS)
def test_reports_and_signals_agree_on_what_is_averaged_as_fishers_z(measure):
    assert averaged_as_z(measure) == (measure in COEFFICIENTS)


@pytest.mark.parametrize(
    ("measure", "fisher_z", "how"),
    [
        ("correlation", False, "as Fisher's z (then transformed back) and weighted by"),
        ("partial-correlation", True, "as Fisher's z and weighted by"),
        ("covariance", False, "averaged to one, weighted by"),
    ],
)
def test_how_matrices_were_averaged_is_told(write_a_run, measure, fisher_z, how):
    runs = []
    for plain in write_a_run.two_runs():
        run = replace(plain, measure=measure)
        plain.relmat.rename(run.relmat)
        write_json(run.relmat.with_suffix(".json"), {"FisherZ": fisher_z})
        runs.append(run)
    write_a_run.combined(runs)
    text = participant_methods(write_a_run.root)
    assert "The matrices of the 2 runs of a task were also averaged to one" in text
    assert f"{how} retained volumes" in text
    assert ("Fisher's z" in section(report(write_a_run.root), "combined1")) == (
        measure in COEFFICIENTS
    )


def test_nothing_is_said_of_averaging_where_no_matrix_was_combined(write_a_run):
    write_a_run.two_runs()
    assert "averaged" not in participant_methods(write_a_run.root)
    assert "averaged" not in report(write_a_run.root)


def test_of_two_cleanings_the_one_whose_runs_were_combined_is_named(write_a_run):
    write_a_run.combined(write_a_run.two_runs(desc="scrubbing"))
    write_a_run.two_runs(desc="simple")
    text = participant_methods(write_a_run.root)
    assert "2 runs of a task, cleaned as `scrubbing`, were also averaged" in text

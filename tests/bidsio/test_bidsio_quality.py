"""Quality tables of runs, one by one and together."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.bidsio.tables.quality import (
    find_quality,
    has_quality,
    matrices_of,
    quality_table,
    read_quality,
    stray_tables,
    write_group_quality,
)
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import RunQuality

EXAMPLE = RunQuality(
    n_volumes=200,
    tr_s=2.5,
    tr_header_s=2.5,
    tr_source="sidecar",
    num_dummy_volumes=2,
    num_censored_volumes=8,
    num_unknown_volumes=3,
    longest_gap=4,
    num_retained_volumes=190,
    num_damaged_volumes=0,
    damaged_volumes="n/a",
    retained_s=475.0,
    n_regressors=30,
    dof=158,
    mean_fd=0.125,
    max_fd=0.5,
    num_fd_unknown=3,
    mean_fd_post_censoring=0.1,
    mean_relative_rms=None,
    max_relative_rms=None,
    mean_dvars_initial=12.5,
    mean_dvars_final=6.25,
    fd_dvars_correlation_initial=0.4,
    fd_dvars_correlation_final=-0.01,
    parcel_tsnr_median=80.0,
    parcel_tsnr_min=11.0,
    n_parcels=424,
    n_parcels_missing=1,
    n_parcels_low_coverage=1,
    n_parcels_zero_variance=0,
    n_parcels_shrunk=3,
    coverage_min=0.25,
    coverage_median=1.0,
    n_voxels_nonfinite=0,
    n_voxels_constant=5,
    fc_mean=0.2,
    coreg_dice=0.95,
    coreg_correlation=0.9,
    coreg_overlap=0.99,
    norm_dice=None,
    norm_correlation=None,
    norm_overlap=None,
    atlas_resampling="nearest",
    usable=True,
    reasons="n/a",
)
N_CELLS = 1 + len(fields(RunQuality))
"""The participant's id and the figures."""
REST = {"sub": "01", "task": "rest"}


def add(root, entities, quality=EXAMPLE, *, desc="simple", **changes):
    files = RunFiles(root, entities, "MNI152NLin6Asym", "A424", desc)
    files = replace(files, **changes)
    ids = {"participant_id": f"sub-{entities['sub']}"}
    write_tsv(files.qc, {name: [value] for name, value in (ids | asdict(quality)).items()})
    return files


def test_a_written_row_reads_back_as_it_was(tmp_path):
    files = add(tmp_path, REST)
    assert read_quality(files.qc) == EXAMPLE


@given(
    mean_fd=st.none() | st.floats(0, 100),
    dof=st.integers(-5, 10**6),
    usable=st.booleans(),
    reasons=st.text(st.characters(whitelist_categories=["L", "N", "P"]), min_size=1),
)
def test_any_row_reads_back_as_it_was(tmp_path_factory, mean_fd, dof, usable, reasons):
    quality = replace(EXAMPLE, mean_fd=mean_fd, dof=dof, usable=usable, reasons=reasons)
    files = add(tmp_path_factory.getbasetemp() / "any", REST, quality)
    assert read_quality(files.qc) == quality


def test_all_runs_come_together_one_row_each(tmp_path):
    add(tmp_path, {"sub": "02", "task": "rest", "run": "2"})
    add(tmp_path, {"sub": "01", "ses": "1", "task": "rest"}, replace(EXAMPLE, usable=False))
    add(tmp_path, {"sub": "01", "ses": "1", "task": "rest"}, desc="none")
    table = quality_table(find_quality(tmp_path), tmp_path)
    assert list(table)[:7] == [
        *("participant_id", "session_id", "task_id", "run_id", "space", "atlas", "desc")
    ]
    assert list(table)[7:] == [each.name for each in fields(RunQuality)]
    assert table["participant_id"].tolist() == ["sub-01", "sub-01", "sub-02"]
    assert table["desc"].tolist() == ["none", "simple", "simple"]
    assert table["usable"].tolist() == [True, False, True]
    assert table["run_id"].isna().tolist() == [True, True, False]
    assert table["mean_relative_rms"].dtype == np.float64


def test_the_group_table_reads_back_and_every_column_is_described(tmp_path):
    add(tmp_path, REST)
    add(tmp_path, {**REST, "sub": "02"}, replace(EXAMPLE, mean_fd=None))
    path = write_group_quality(tmp_path, find_quality(tmp_path))
    assert path == tmp_path / "group" / "group_qc.tsv"
    found = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
    assert found["mean_fd"].tolist()[0] == 0.125
    assert found["mean_fd"].isna().tolist() == [False, True]
    assert found["session_id"].isna().all()
    assert path.read_text().splitlines()[1].endswith("true\tn/a")
    about = json.loads(path.with_suffix(".json").read_text())
    assert list(about) == list(found)
    assert all(each["Description"] for each in about.values())
    assert about["mean_fd"]["Units"] == "mm"
    # A share is written as a share, whatever a report prints.
    assert about["coverage_min"]["Units"] == "proportion"
    assert "Units" not in about["dof"]


def test_the_same_tables_give_the_same_bytes_and_leave_the_file_alone(tmp_path):
    add(tmp_path, REST)
    path = write_group_quality(tmp_path, find_quality(tmp_path))
    before = path.stat().st_mtime_ns
    write_group_quality(tmp_path, find_quality(tmp_path))
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t158\t", "\t", f"{N_CELLS - 1} cells in line 2"),
        ("\t158\t", "\tmany\t", "dof is 'many', not int"),
        ("\ttrue\t", "\tperhaps\t", "usable is 'perhaps', not bool"),
        ("\t475.0\t", "\tlong\t", "retained_s is 'long', not float"),
        ("\tusable\t", "\tused\t", "no column usable"),
        ("\tdof\t", "\tmean_fd\t", "two columns"),
        ("\tdof\t", "\t\t", "a name for every column"),
        ("\tdof\t", "\t", f"{N_CELLS} cells in line 2"),
    ],
)
def test_a_damaged_table_is_an_error_that_names_it(tmp_path, old, new, message):
    add(tmp_path, {**REST, "sub": "02"})
    files = add(tmp_path, REST)
    text = files.qc.read_text()
    assert old in text
    files.qc.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        quality_table(find_quality(tmp_path), tmp_path)
    assert str(files.qc) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00\x01" * 200, "not a text table"),
        (b"/annex/objects/MD5E-s9--0.tsv", "datalad get"),
        (b"n_volumes\n", "no rows"),
    ],
)
def test_a_table_without_content_is_an_error_that_names_it(tmp_path, content, message):
    files = add(tmp_path, REST)
    files.qc.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        find_quality(tmp_path)
    assert files.qc.name in str(caught.value)


NEEDED = ("n_volumes", "num_retained_volumes", "usable")


@pytest.mark.parametrize(
    "name", [each.name for each in fields(RunQuality) if each.name not in NEEDED]
)
def test_a_column_that_an_older_dataset_lacks_is_na_with_a_note(tmp_path, name):
    older = add(tmp_path, REST)
    add(tmp_path, {**REST, "sub": "02"})
    cells = [line.split("\t") for line in older.qc.read_text().splitlines()]
    at = cells[0].index(name)
    older.qc.write_text("".join("\t".join(c[:at] + c[at + 1 :]) + "\n" for c in cells))
    path = write_group_quality(tmp_path, find_quality(tmp_path))
    found = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    whole = asdict(EXAMPLE)[name]
    written = "n/a" if whole is None else str(whole)
    assert found[name].tolist() == ["n/a", written]
    about = json.loads(path.with_suffix(".json").read_text())
    assert "n/a in 1 runs" in about[name]["Note"]
    assert [each for each in about if "Note" in about[each]] == [name]


def test_a_column_of_another_version_is_carried_as_it_is(tmp_path):
    newer = add(tmp_path, REST)
    add(tmp_path, {**REST, "sub": "02"})
    header, row = newer.qc.read_text().splitlines()
    newer.qc.write_text(f"{header}\tlongest_gap_s\n{row}\t12.50\n")
    assert read_quality(newer.qc) == EXAMPLE
    path = write_group_quality(tmp_path, find_quality(tmp_path))
    found = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    assert found["longest_gap_s"].tolist() == ["12.50", "n/a"]
    about = json.loads(path.with_suffix(".json").read_text())
    assert list(about) == list(found)
    assert "another version" in about["longest_gap_s"]["Description"].lower()


def test_every_column_but_those_the_group_level_needs_admits_na():
    unknown = [each.name for each in fields(RunQuality) if str(each.type) == "int"]
    assert set(unknown) <= set(NEEDED)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sub-01_task-rest_space-X_desc-linc_qc.tsv", "its name has no atlas-"),
        ("sub-01_task-rest_reg-x_space-X_atlas-A_desc-simple_qc.tsv", "BIDS has no entity reg-"),
        ("sub-01_task-rest_run001_qc.tsv", "'run001' is not key-value"),
        ("sub-02_task-rest_space-X_atlas-A_desc-simple_qc.tsv", "the name has sub-02"),
        ("sub-01 copy_qc.tsv", "is not key-value"),
    ],
)
def test_a_table_that_is_none_of_ours_by_its_name_stops_nobody_and_is_named(tmp_path, name, reason):
    files = add(tmp_path, REST)
    files.qc.with_name(name).write_text("subject\n1\n")
    (run,) = find_quality(tmp_path)
    assert run.path == files.qc
    (stray,) = stray_tables(tmp_path)
    assert stray.path == files.qc.with_name(name)
    assert reason in stray.reason


def test_a_matrix_without_a_bids_name_belongs_to_no_run(tmp_path):
    files = add(tmp_path, REST)
    write_tsv(files.relmat, {"Node": ["a"], "a": [1.0]})
    write_tsv(files.relmat.with_name("sub-01 (1)_relmat.tsv"), {"Node": ["a"], "a": [1.0]})
    (run,) = find_quality(tmp_path)
    assert matrices_of(run) == {"correlation": files.relmat}


def test_no_table_at_all_says_what_to_run_first(tmp_path):
    assert not has_quality(tmp_path)
    with pytest.raises(InputError, match="participant level"):
        quality_table(find_quality(tmp_path), tmp_path)
    add(tmp_path, {"sub": "01", "ses": "1"})
    assert has_quality(tmp_path)


def test_matrices_belong_to_the_run_the_cleaning_and_the_measure(tmp_path):
    run1, run2 = {**REST, "run": "1"}, {**REST, "run": "2"}
    own = add(tmp_path, run1, res="02")
    for files in (
        own,
        own.combined(),
        replace(own, measure="precision"),
        replace(own, desc="none"),
        replace(own, atlas="Other"),
        add(tmp_path, run2, res="02"),
    ):
        write_tsv(files.relmat, {"Node": ["a"], "a": [1.0]})
    runs = {run.path: run for run in find_quality(tmp_path)}
    assert matrices_of(runs[own.qc]) == {
        "correlation": own.relmat,
        "precision": replace(own, measure="precision").relmat,
    }


def test_a_matrix_in_two_resolutions_is_refused(tmp_path):
    for files in (add(tmp_path, REST, res="01"), add(tmp_path, REST, res="02")):
        write_tsv(files.relmat, {"Node": ["a"], "a": [1.0]})
    (run,) = find_quality(tmp_path)
    with pytest.raises(InputError, match="two resolutions"):
        matrices_of(run)


def test_the_quality_of_a_run_in_a_cohorts_space_finds_its_matrix(tmp_path):
    files = RunFiles(tmp_path, REST, "MNIInfant:cohort-2", "A424", "simple", "2")
    add(tmp_path, REST)
    files.qc.write_bytes(next(tmp_path.rglob("*_qc.tsv")).read_bytes())
    files.relmat.write_text("Node\n")
    found = {run.space: run for run in find_quality(tmp_path)}
    run = found["MNIInfant:cohort-2"]
    assert dict(run.entities) == REST
    assert matrices_of(run) == {"correlation": files.relmat}
    assert matrices_of(found["MNI152NLin6Asym"]) == {}

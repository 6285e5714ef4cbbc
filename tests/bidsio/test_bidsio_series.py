import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.atlases.parcel_table import read_atlas_table
from fmmtc_bidsapp.bidsio.cohort.matrices import find_matrices
from fmmtc_bidsapp.bidsio.cohort.series import find_series
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.errors import InputError, UsageError


def find(root, *, desc=None, participants=(), sessions=(), tasks=(), atlas=None, space="auto"):
    query = Query(participants, sessions, tasks, ())
    return find_series(root, query, desc=desc, atlas=atlas, space=space)


def add(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\tb\n1\t2\n")
    return root


XCPD = "sub-01/func/sub-01_task-rest_space-MNI152NLin2009cAsym_atlas-4S456Parcels_stat-mean"
GIGA = "sub-1/ses-2/func/sub-1_ses-2_task-rest_seg-Schaefer2018100_desc-denoiseSimple"


def test_our_series_come_with_timing_atlas_and_quality(written):
    files = written(
        {"sub": "01", "ses": "1", "task": "rest"},
        changes={"usable": False, "reasons": "mean FD 0.9 mm"},
        digest="ab12",
    )
    (series,), exclusions = find(files.output_dir)
    assert exclusions == []
    assert (series.path, series.tr_s, series.desc) == (files.timeseries, 2.0, "none")
    assert (series.atlas_label, series.atlas_digest) == ("A424", "ab12")
    assert (series.usable, series.reasons, series.mean_fd_mm) == (False, "mean FD 0.9 mm", 0.125)
    assert series.n_volumes_retained == 6


def test_series_of_xcp_d_are_found_without_a_repetition_time(tmp_path):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", "sub-01/func/sub-01_task-rest_motion.tsv")
    sidecar = {"SamplingFrequency": "TR"}
    (root / f"{XCPD}_timeseries.json").write_text(json.dumps(sidecar))
    (series,), _ = find(root)
    assert (series.atlas_label, series.desc, series.tr_s) == ("4S456Parcels", None, None)
    assert series.usable


def test_series_of_giga_connectome_are_found_with_their_own_timing(tmp_path):
    root = add(tmp_path, f"{GIGA}_timeseries.tsv")
    content = {"SamplingFrequency": 0.5, "MeanFramewiseDisplacement": 0.2}
    (root / f"{GIGA}_timeseries.json").write_text(json.dumps(content))
    (series,), _ = find(root)
    assert (series.atlas_label, series.desc) == ("Schaefer2018100", "denoiseSimple")
    assert (series.tr_s, series.mean_fd_mm) == (2.0, 0.2)


def test_confounds_and_other_statistics_are_no_parcel_series(tmp_path):
    other = XCPD.replace("stat-mean", "stat-alff")
    confounds = "sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv"
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", f"{other}_timeseries.tsv", confounds)
    (series,), _ = find(root)
    assert "stat-mean" in series.path.name


def test_several_cleanings_need_a_choice(written):
    root = written({"sub": "01", "task": "rest"}).output_dir
    written({"sub": "01", "task": "rest"}, desc="simple")
    with pytest.raises(UsageError, match=r"none, simple. Choose one with --desc"):
        find(root)
    (series,), _ = find(root, desc="simple")
    assert series.desc == "simple"


def test_the_uncleaned_series_beside_a_cleaned_one_needs_no_choice(written):
    files = written({"sub": "01", "task": "rest"}, desc="simple")
    assert files.uncleaned.is_file()
    (series,), exclusions = find(files.output_dir)
    assert series.path == files.timeseries
    assert exclusions == []


def test_asking_for_uncleaned_series_that_were_not_analysed_says_what_to_run(written):
    files = written({"sub": "01", "task": "rest"}, desc="simple")
    found, (exclusion,) = find(files.output_dir, desc="none")
    assert found == []
    assert "--denoise-strategy none" in exclusion.reason


@pytest.mark.parametrize("desc", [None, "simple"])
def test_a_run_that_was_killed_before_it_was_cleaned_is_an_exclusion(written, desc):
    files = written({"sub": "01", "task": "rest", "run": "1"}, desc="simple")
    other = written({"sub": "01", "task": "rest", "run": "2"}, desc="simple")
    absent = written({"sub": "02", "task": "rest", "run": "1"}, desc="simple")
    for each in (other, absent):
        each.qc.unlink()
        each.timeseries.unlink()
    (series,), exclusions = find(files.output_dir, desc=desc)
    assert series.path == files.timeseries
    assert [each.participant_id for each in exclusions] == ["sub-01", "sub-02"]
    assert all("no series with desc simple" in each.reason for each in exclusions)


def test_a_series_whose_quality_table_is_damaged_is_an_exclusion(written):
    files = written({"sub": "01", "task": "rest"})
    written({"sub": "02", "task": "rest"})
    files.qc.write_text("n_volumes\n")
    (series,), (exclusion,) = find(files.output_dir)
    assert series.entities["sub"] == "02"
    assert exclusion.participant_id == "sub-01"
    assert files.qc.name in exclusion.reason


def test_a_matrix_over_all_runs_of_a_task_is_no_run(written):
    files = written({"sub": "01", "task": "rest", "run": "1"})
    combined = files.combined().relmat
    combined.write_text(files.relmat.read_text())
    (series,), exclusions = find(files.output_dir)
    assert (series.path, exclusions) == (files.timeseries, [])


def test_the_quality_table_of_a_series_on_surfaces_has_no_density(written):
    files = replace(written({"sub": "01", "task": "rest"}), res=None, den="91k")
    written({"sub": "01", "task": "rest"}).timeseries.rename(files.timeseries)
    (series,), _ = find(files.output_dir)
    assert series.path.name.count("den-91k") == 1
    assert series.mean_fd_mm == 0.125


def test_files_without_desc_are_meant_when_none_is_named(tmp_path):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", f"{XCPD}_desc-interpolated_timeseries.tsv")
    (series,), _ = find(root)
    assert series.desc is None


def test_a_cleaning_that_is_not_there_lists_those_that_are(tmp_path):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv")
    with pytest.raises(UsageError, match=r"No file has desc simple; existing: \(none\)"):
        find(root, desc="simple")


def test_several_atlases_need_a_choice(tmp_path):
    other = XCPD.replace("4S456Parcels", "Gordon")
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", f"{other}_timeseries.tsv")
    with pytest.raises(UsageError, match="4S456Parcels, Gordon"):
        find(root)
    (series,), _ = find(root, atlas="Gordon")
    assert series.atlas_label == "Gordon"


def test_a_run_in_two_spaces_is_not_counted_twice(tmp_path):
    other = XCPD.replace("MNI152NLin2009cAsym", "fsLR")
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", f"{other}_timeseries.tsv")
    with pytest.raises(UsageError, match=r"MNI152NLin2009cAsym, fsLR. Choose one with --space"):
        find(root)
    (series,), _ = find(root, space="MNI152NLin2009cAsym")
    assert series.entities["space"] == "MNI152NLin2009cAsym"


def test_a_series_of_ours_without_its_quality_table_is_unfinished(tmp_path):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv")
    (root / f"{XCPD}_timeseries.json").write_text('{"AtlasDigest": "d"}')
    found, (exclusion,) = find(root)
    assert not found
    assert "no quality table" in exclusion.reason


def test_a_series_that_was_not_fetched_is_an_exclusion(tmp_path):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", f"{XCPD.replace('01', '02')}_timeseries.tsv")
    (root / f"{XCPD}_timeseries.tsv").write_text("/annex/objects/MD5E-s9--0.tsv")
    (series,), (exclusion,) = find(root)
    assert series.entities["sub"] == "02"
    assert (exclusion.participant_id, exclusion.stage) == ("sub-01", "series")
    assert "datalad get" in exclusion.reason


def test_an_empty_folder_is_an_input_error_that_echoes_the_query(tmp_path):
    with pytest.raises(InputError, match=r"no parcel series \(selected: task faces"):
        find(add(tmp_path, f"{XCPD}_timeseries.tsv"), tasks=["faces"])


DSEG = "index\tname\tnetwork\tx\ty\tz\n1\ta\tVisual\t1\t2\t3\n2\tb\tn/a\t4\t5\t6.5\n"


@pytest.mark.parametrize(
    "place",
    [
        "tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_atlas-4S456Parcels_res-02_dseg.tsv",
        "atlases/atlas-4S456Parcels/atlas-4S456Parcels_dseg.tsv",
    ],
)
def test_the_table_of_an_atlas_is_found_where_we_and_others_put_it(tmp_path, place):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv", place)
    (root / place).write_text(DSEG)
    (series,), _ = find(root)
    table = read_atlas_table(root, series.atlas_label)
    assert (table.names, table.networks) == (("a", "b"), ("Visual", "n/a"))
    np.testing.assert_array_equal(table.coordinates_mm, [[1, 2, 3], [4, 5, 6.5]])


def test_an_atlas_without_a_table_is_none(tmp_path):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv")
    (series,), _ = find(root)
    assert read_atlas_table(root, series.atlas_label) is None


def test_a_series_whose_header_is_damaged_is_an_exclusion(tmp_path):
    names = [f"sub-0{i}/func/sub-0{i}_task-rest_atlas-A_timeseries.tsv" for i in (1, 2)]
    add(tmp_path, *names)
    (tmp_path / names[0]).write_bytes(b"\x1f\x8b\xff\n")
    found, excluded = find(tmp_path)
    assert [each.participant_id for each in excluded] == ["sub-01"]
    assert "not a text table" in excluded[0].reason
    assert len(found) == 1


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (b"a\t0\t0", "not numbers"),
        (b"\xe9\t0\t0", "read as a table"),
    ],
)
def test_coordinates_that_are_no_numbers_are_refused_with_their_file(tmp_path, cells, words):
    path = tmp_path / "atlas-X_dseg.tsv"
    path.write_bytes(b"index\tname\tx\ty\tz\n1\tP1\t0\t0\t0\n2\tP2\t" + cells + b"\n")
    with pytest.raises(InputError, match=rf"atlas-X_dseg\.tsv.*{words}"):
        read_atlas_table(tmp_path, "X")


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_task-rest_run001_atlas-A_timeseries.tsv",
        "sub-01_task-rest_reg-x_atlas-A_stat-mean_timeseries.tsv",
        "sub-02_task-rest_atlas-4S456Parcels_stat-mean_timeseries.tsv",
        "sub-01 (1)_timeseries.tsv",
        b"sub-01_task-\xff_atlas-A_timeseries.tsv",
    ],
)
def test_a_file_whose_name_says_no_run_is_an_exclusion_with_its_path(tmp_path, name):
    root = add(tmp_path, f"{XCPD}_timeseries.tsv")
    stray = Path(os.fsdecode(os.fsencode(root / "sub-01/func/") + b"/" + os.fsencode(name)))
    stray.write_text("a\tb\n1\t2\n")
    (series,), (exclusion,) = find(root)
    assert series.path == root / f"{XCPD}_timeseries.tsv"
    assert exclusion.participant_id == "sub-01"
    assert str(stray) in exclusion.reason


def test_where_no_series_is_left_the_files_that_might_be_some_are_named(tmp_path):
    root = add(tmp_path, "sub-01/func/sub-01_rest_atlas-A_timeseries.tsv")
    with pytest.raises(InputError, match=r"sub-01_rest_atlas-A_timeseries\.tsv is ignored"):
        find(root)


def test_a_matrix_whose_name_says_no_run_is_an_exclusion_with_its_path(tmp_path):
    stem = "sub-01/func/sub-01_task-rest_atlas-A_meas-PearsonCorrelation"
    root = add(tmp_path, f"{stem}_relmat.tsv", f"{stem}_relmat_relmat.tsv")
    (root / f"{stem}_relmat.tsv").write_text("Node\ta\tb\na\t1\t0\nb\t0\t1\n")
    (matrix,), (exclusion,) = find_matrices(root, Query((), (), (), ()), desc=None)
    assert matrix.path == root / f"{stem}_relmat.tsv"
    assert f"{stem}_relmat_relmat.tsv" in exclusion.reason

import errno
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.atlases.write_atlas import label_bytes, write_atlas
from fmmtc_bidsapp.bidsio.derivatives.write import write_run
from fmmtc_bidsapp.bidsio.files.atomic import (
    _machine,
    atomic_path,
    write_bytes,
    write_json,
    write_text,
)
from fmmtc_bidsapp.bidsio.files.names import RunFiles, atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.records import Atlas, CleanedSeries, Connectome, ParcelSeries, Strategy

ORIGIN = {"InputDataset": "x", "InputGeneratedBy": ["fMRIPrep 24.1.1"], "Simulated": True}


def test_a_failed_write_leaves_neither_the_file_nor_a_temporary(tmp_path):
    final = tmp_path / "new" / "a.tsv"

    def fail_half_way():
        with atomic_path(final) as temporary:
            temporary.write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail_half_way()
    assert list(final.parent.iterdir()) == []


def test_what_a_killed_run_leaves_matches_no_bids_name(tmp_path):
    with atomic_path(tmp_path / "sub-01_bold.nii.gz") as temporary:
        temporary.write_text("x")
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("_bold.nii.gz")
        assert list(tmp_path.glob("sub-*")) == []


def half_written(tmp_path, program):
    """Let another process begin a file; returns what it left."""
    code = (
        "from pathlib import Path; from fmmtc_bidsapp.bidsio.files.atomic import atomic_path\n"
        f"with atomic_path(Path({str(tmp_path / 'a.txt')!r})) as path:\n"
        f"    path.write_text('half'); print(path, flush=True); {program}"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def test_the_next_write_removes_what_a_killed_process_left_in_the_folder(tmp_path):
    process, left = half_written(tmp_path, "import os; os.kill(os.getpid(), 9)")
    process.wait()
    assert left.is_file()
    write_text(tmp_path / "b.txt", "x")
    assert not left.exists()


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    process, left = half_written(tmp_path, "import time; time.sleep(60)")
    write_text(tmp_path / "b.txt", "x")
    assert left.is_file()
    process.kill()
    process.wait()


def test_what_a_hidden_process_of_another_user_is_writing_is_left_alone(tmp_path, monkeypatch):
    process, left = half_written(tmp_path, "import os; os.kill(os.getpid(), 9)")
    process.wait()

    def refuse(pid, signal):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    # With /proc mounted hidepid, the kernel's answer is all there is to be had.
    monkeypatch.setattr(os, "kill", refuse)
    write_text(tmp_path / "b.txt", "x")
    assert left.is_file()


def test_a_number_that_no_process_can_have_stops_nobody(tmp_path):
    (tmp_path / f".{_machine()}-{'9' * 30}_{'0' * 8}_a.txt").write_text("half")
    write_text(tmp_path / "b.txt", "x")


def test_what_another_machine_left_is_removed_after_a_day(tmp_path):
    of_today, older = (tmp_path / f".0123abcd-1_{each}_a.txt" for each in ("0" * 8, "1" * 8))
    for path in (of_today, older):
        path.write_text("half")
    yesterday = time.time() - 25 * 3600
    os.utime(older, (yesterday, yesterday))
    write_text(tmp_path / "b.txt", "x")
    assert (of_today.exists(), older.exists()) == (True, False)


def test_the_same_content_leaves_the_file_and_its_date_alone(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "same")
    os.utime(path, (1, 1))
    write_text(path, "same")
    assert path.stat().st_mtime == 1
    write_text(path, "other")
    assert path.stat().st_mtime > 1


def test_a_place_that_cannot_be_written_is_an_output_error_with_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/a\.txt.*Not a directory|File exists") as caught:
        write_text(tmp_path / "file" / "a.txt", "x")
    assert caught.value.exit_code == 73


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    def write_to_full_disk():
        with atomic_path(tmp_path / "a.tsv") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        write_to_full_disk()
    assert list(tmp_path.iterdir()) == []


def test_cells_follow_bids_for_missing_values_and_booleans(tmp_path):
    path = tmp_path / "a.tsv"
    write_tsv(
        path,
        {
            "text": ["two\twords\n", "", None],
            "flag": [True, False, np.True_],
            "number": [1, 0.1, float("nan")],
            "array": np.array([np.nan, 1 / 3, 1e-20]),
            "single": np.array([0.1, 2, np.nan], dtype=np.float32),
        },
    )
    assert path.read_text().splitlines() == [
        "text\tflag\tnumber\tarray\tsingle",
        "two words\ttrue\t1\tn/a\t0.1",
        "n/a\tfalse\t0.1\t0.3333333333333333\t2.0",
        "n/a\ttrue\tn/a\t1e-20\tn/a",
    ]


def test_a_full_size_series_is_written_quickly_and_reads_back_to_the_bit(tmp_path):
    signal = np.random.default_rng(0).normal(size=(200, 424)) * np.logspace(-9, 9, 424)
    path = tmp_path / "a.tsv"
    began = time.process_time()
    write_tsv(path, {f"p{column}": signal[:, column] for column in range(424)})
    assert time.process_time() - began < 0.3
    back = np.loadtxt(path, delimiter="\t", skiprows=1)
    np.testing.assert_array_equal(back, signal)


def test_columns_of_unequal_length_are_refused(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        write_tsv(tmp_path / "a.tsv", {"a": [1, 2], "b": [1]})


def test_nan_has_no_place_in_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_run_writes_series_matrix_coverage_and_quality_with_their_sidecars(written):
    files = written({"sub": "01", "task": "rest", "run": "1"})
    series = pd.read_csv(files.timeseries, sep="\t", na_values="n/a")
    assert list(series) == ["R_V1", "R_MST", "L_V1"]
    assert series["R_MST"].isna().all()
    matrix = pd.read_csv(files.relmat, sep="\t", index_col="Node")
    assert list(matrix) == list(matrix.index) == ["R_V1", "R_MST", "L_V1"]
    coverage = pd.read_csv(files.coverage, sep="\t", index_col="Node")["coverage"]
    assert coverage.to_dict() == {"R_V1": 1.0, "R_MST": 0.0, "L_V1": 0.75}
    quality = pd.read_csv(files.qc, sep="\t").iloc[0]
    assert list(quality.index[:4]) == ["participant_id", "task_id", "run_id", "space"]
    assert quality["participant_id"] == "sub-01"
    assert quality["usable"]


def test_the_sidecar_of_a_series_has_numbers_as_numbers_and_names_missing_parcels(written):
    files = written({"sub": "01", "task": "rest"})
    sidecar = json.loads(files.timeseries.with_suffix(".json").read_text())
    assert sidecar["SamplingFrequency"] == 0.5
    assert sidecar["RepetitionTime"] == 2.0
    assert sidecar["MissingParcels"] == ["R_MST"]
    assert sidecar["MeanFramewiseDisplacement"] == 0.125
    assert sidecar["AtlasDigest"] == "00"
    keys = "Description Sources SamplingFrequency RepetitionTime Units SoftwareFilters "
    keys += "ConfoundRegressors NumberOfVolumes NumberOfVolumesRetained NumberOfDummyVolumes "
    keys += "Interpolated MeanFramewiseDisplacement Atlas AtlasDigest AtlasSpace MissingParcels"
    assert set(keys.split()) <= set(sidecar)


def test_the_sidecar_of_a_matrix_points_to_its_series_and_nodes(written):
    files = written({"sub": "01", "task": "rest"})
    sidecar = json.loads(files.relmat.with_suffix(".json").read_text())
    assert sidecar["Sources"] == [f"bids::sub-01/func/{files.timeseries.name}"]
    assert sidecar["NodeFiles"] == [
        "bids::tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_atlas-A424_res-02_dseg.tsv"
    ]
    assert (sidecar["Weighted"], sidecar["Directed"], sidecar["FisherZ"]) == (True, False, False)


def test_a_cleaned_run_has_the_uncleaned_series_and_what_was_removed_beside_it(tmp_path, quality):
    root, entities = tmp_path / "out", {"sub": "01", "task": "rest"}
    files = RunFiles(root, entities, "fsLR", "A424", "mine", den="91k", measure="precision")
    signal = np.arange(12.0).reshape(6, 2)
    flags = np.array([True, False, False, True, False, False])
    dummy, censored = flags & (np.arange(6) < 1), flags & (np.arange(6) > 0)
    cleaned = CleanedSeries(
        signal[~flags] - signal[~flags].mean(axis=0),
        np.array([np.nan, 0.1, 0.1, 0.9, 0.1, 0.1]),
        None,
        dummy,
        censored,
        censored,
        {"csf": np.linspace(0, 1, 6)},
        dof=2,
        notes=("no cosine columns",),
        low_pass_hz=0.1,
        high_pass_hz=0.01,
    )
    strategy = Strategy("mine", "Mine", (), True, 0.1, 0.01, fd_threshold_mm=0.5)
    write_run(
        files,
        ParcelSeries(signal, ("a", "b"), 2.0, np.ones(2)),
        cleaned,
        strategy,
        Connectome(np.eye(2), ("a", "b"), "precision"),
        quality,
        {"Sources": ["bids:fmriprep:x"], **ORIGIN},
    )
    for path in (files.uncleaned, files.timeseries, files.relmat, files.coverage):
        assert json.loads(path.with_suffix(".json").read_text()).items() >= ORIGIN.items()
    folder = root / "sub-01" / "func"
    stem = "sub-01_task-rest_space-fsLR_atlas-A424_den-91k"
    assert len(np.loadtxt(folder / f"{stem}_stat-mean_desc-none_timeseries.tsv", skiprows=1)) == 6
    assert len(np.loadtxt(folder / f"{stem}_stat-mean_desc-mine_timeseries.tsv", skiprows=1)) == 4
    assert (folder / f"{stem}_stat-precision_desc-mine_relmat.tsv").is_file()
    told = json.loads(files.timeseries.with_suffix(".json").read_text())
    assert told["NumberOfVolumes"] == 6
    assert told["NumberOfVolumesRetained"] == 4
    assert (told["NumberOfDummyVolumes"], told["NumberOfCensoredVolumes"]) == (1, 1)
    assert told["Interpolated"] is True
    assert told["ConfoundRegressors"] == ["csf"]
    band = {"Type": "Butterworth", "LowCutoffHz": 0.01, "HighCutoffHz": 0.1}
    assert told["SoftwareFilters"] == {"Detrend": {"Polynomial": 1}, "Bandpass": band}
    assert told["Sources"][0].endswith("desc-none_timeseries.tsv")
    plain = json.loads(files.uncleaned.with_suffix(".json").read_text())
    assert (plain["NumberOfVolumesRetained"], plain["ConfoundRegressors"]) == (6, [])
    outliers = pd.read_csv(files.outliers, sep="\t", na_values="n/a")
    assert outliers["dummy"].tolist() == [1, 0, 0, 0, 0, 0]
    assert outliers["censored"].tolist() == [0, 0, 0, 1, 0, 0]
    assert outliers["fd_mm"].isna().tolist() == [True] + [False] * 5
    assert pd.read_csv(files.design, sep="\t")["csf"].tolist() == np.linspace(0, 1, 6).tolist()


def test_writing_a_run_again_changes_no_byte_and_no_date(written):
    files = written({"sub": "01", "task": "rest"})
    paths = sorted(files.func_dir.iterdir())
    for path in paths:
        os.utime(path, (1, 1))
    written({"sub": "01", "task": "rest"})
    assert sorted(files.func_dir.iterdir()) == paths
    assert all(path.stat().st_mtime == 1 for path in paths)


def test_a_run_with_other_numbers_is_not_called_whole_until_all_of_it_is_written(
    written, monkeypatch
):
    files = written({"sub": "01", "task": "rest"})

    def fail(*_, **__):
        raise OutputError("full")

    monkeypatch.setattr("fmmtc_bidsapp.bidsio.derivatives.write.write_connectome", fail)
    with pytest.raises(OutputError, match="full"):
        written({"sub": "01", "task": "rest"}, changes={"fc_mean": 0.7})
    assert files.timeseries.is_file()
    assert not files.qc.exists()


def test_the_uncleaned_series_says_the_same_whatever_cleaning_it_stands_beside(written):
    files = written({"sub": "01", "task": "rest"}, desc="simple", changes={"mean_fd": 0.1})
    before = files.uncleaned.with_suffix(".json").read_bytes()
    written({"sub": "01", "task": "rest"}, desc="other", changes={"mean_fd": 0.3})
    assert files.uncleaned.with_suffix(".json").read_bytes() == before


def test_an_atlas_is_written_with_labels_as_integers_and_a_row_per_parcel(tmp_path):
    atlas = Atlas(
        label="toy",
        title="Toy",
        image=tmp_path / "absent.nii.gz",
        index=np.array([3, 1]),
        names=("c", "a"),
        networks=("Visual", "n/a"),
        subnetworks=("n/a", "n/a"),
        coordinates_mm=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]),
        space="MNI152NLin6Asym",
        digest="00",
    )
    labels = np.array([[[0, 1, 3]]], dtype=np.int32)
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    write_atlas(tmp_path, atlas, label_bytes(labels, affine), "MNI152NLin6Asym", "02")
    image, table, sidecar = atlas_files(tmp_path, "MNI152NLin6Asym", "toy", "02")
    loaded = nib.load(image)
    assert np.issubdtype(loaded.get_data_dtype(), np.integer)
    np.testing.assert_array_equal(loaded.get_fdata(), labels)
    np.testing.assert_array_equal(loaded.affine, affine)
    rows = table.read_text().splitlines()
    assert rows[0] == "index\tname\tnetwork\tsubnetwork\tx\ty\tz"
    assert rows[1] == "3\tc\tVisual\tn/a\t1.0\t2.0\t3.0"
    assert "Resolution" in json.loads(sidecar.read_text())
    first = image.read_bytes()
    assert gzip.decompress(first)
    assert first[4:8] == b"\0\0\0\0", "a date in the file would make equal labels unequal"


def test_bytes_are_written_as_they_are(tmp_path):
    write_bytes(tmp_path / "a.bin", b"\r\n\0")
    assert (tmp_path / "a.bin").read_bytes() == b"\r\n\0"

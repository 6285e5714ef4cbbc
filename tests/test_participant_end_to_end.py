"""The participant level from the command line: cleaning, matrices, spaces, resuming, failures.

Two studies of a few people. Each fixture is one command, on what the one before left; it keeps a
copy of the output where a later command changes it, so that tests do not depend on their order.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from bids_schema import validate
from numpy.typing import NDArray
from scipy.stats import zscore
from sklearn.covariance import ledoit_wolf
from small_study import (
    JUMP_MM,
    N6,
    N9,
    N_PARCELS,
    N_VOLUMES,
    PARCELS,
    STILL_MM,
    Ended,
    as_itk,
    copy_person,
    flip,
    fmmtc,
    func_dir,
    func_file,
    plant_motion,
    respell,
    tree,
    truncate,
    write_block_atlas,
    write_dense_series,
    write_study,
    write_templates,
)

from fmmtc_bidsapp.bidsio.files.names import RunFiles, atlas_files
from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat, read_series

Floats = NDArray[np.float64]
Tree = Mapping[Path, tuple[int, str]]

SCRUBBING = (
    *("--denoise-strategy", "scrubbing", "--fc-measure", "partial-correlation"),
    *("--fisher-z", "--combine-runs"),
)
JUMPS = (20, 40, 43)
CENSORED = (20, 40, 41, 42, 43)
"""41 and 42 are still, but a stretch of two is below scrubbing's five."""
RETAINED = {"1": 80, "2": 78}
"""Volumes that are retained of the two runs of sub-03."""


@dataclass(frozen=True)
class Place:
    """A study, and where its results go."""

    study: Path
    atlas: Path
    out: Path
    work: Path

    def run(self, *words: str | Path, **environment: str) -> Ended:
        places = ("--atlas", self.atlas, "-w", self.work)
        return fmmtc(self.study, self.out, "participant", *places, *words, **environment)


@dataclass(frozen=True)
class Step:
    """One command: how it ended, and every file before and after it."""

    ended: Ended
    before: Tree
    after: Tree
    out: Path
    """Copy of the output as it was afterwards."""


def take_step(place: Place, copy: Path, *words: str | Path) -> Step:
    places = (place.study, place.out, place.work)
    before = tree(*places)
    ended = place.run(*words)
    after = tree(*places)
    shutil.copytree(place.out, copy)
    return Step(ended, before, after, copy)


def touched(step: Step) -> set[Path]:
    """Files that were there before and are no longer what they were."""
    return {path for path, was in step.before.items() if step.after.get(path) != was}


def files_of(
    out: Path, participant: str, desc: str, *, measure: str = "partial-correlation", run: str = ""
) -> RunFiles:
    entities = {"sub": participant, "task": "rest"} | ({"run": run} if run else {})
    return RunFiles(out, entities, N6, "Blocks", desc, measure=measure)


def sidecar(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return content


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a")


def done_of(ended: Ended) -> dict[str, str]:
    """Read the closing table: how each participant ended."""
    return dict(re.findall(r"^  (sub-\d+): (\w+)", ended.text, re.MULTILINE))


def label_means(image: Path, mask: Path, labels: NDArray[Any]) -> Floats:
    """Average by brute force; returns (time, parcel)."""
    data = np.asarray(nib.load(image).dataobj, dtype=np.float64)
    inside = np.asarray(nib.load(mask).dataobj) > 0
    parcels = range(1, N_PARCELS + 1)
    return np.stack([data[inside & (labels == i)].mean(0) for i in parcels], axis=1)


def residual(series: Floats, design: pd.DataFrame, kept: NDArray[np.bool_]) -> Floats:
    """Fit mean, trend and design to the retained volumes in one go, and leave the rest."""
    columns = np.column_stack([np.arange(len(series)), design])[kept]
    wanted = np.column_stack([np.ones(kept.sum()), zscore(columns)])
    return series[kept] - wanted @ np.linalg.lstsq(wanted, series[kept], rcond=None)[0]


def off_diagonal(matrix: Floats) -> Floats:
    return matrix[~np.eye(len(matrix), dtype=bool)]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_block_atlas(tmp_path_factory.mktemp("atlas"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, atlas: Path) -> Path:
    return write_study(tmp_path_factory.mktemp("simulated") / "bids", atlas)


# ------------------------------------------------------------------------------------------------
# One study in the atlas's own space. sub-02 is sub-01 stored from right to left, and lacks a column
# that scrubbing does not ask for; sub-03 has two runs.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, simulated: Path, atlas: Path) -> Place:
    folder = tmp_path_factory.mktemp("cleaning")
    study = folder / "bids"
    shutil.copytree(simulated, study)
    plant_motion(func_file(study, "sub-01", "confounds_timeseries.tsv"), JUMPS)
    copy_person(study, "sub-01", "sub-02")
    for image in func_dir(study, "sub-02").glob("*.nii.gz"):
        flip(image)
    confounds = func_file(study, "sub-02", "confounds_timeseries.tsv")
    poorer = table(confounds).drop(columns=["a_comp_cor_00", "a_comp_cor_01"])
    poorer.to_csv(confounds, sep="\t", index=False, na_rep="n/a")
    respell(study, "sub-03", "task-rest", "task-rest_run-1")
    respell(study, "sub-04", "task-rest", "task-rest_run-2")
    copy_person(study, "sub-04", "sub-03")
    shutil.rmtree(func_dir(study, "sub-04").parent)
    second = func_file(study, "sub-03", "run-2_desc-confounds_timeseries.tsv")
    plant_motion(second, (30, 50))
    return Place(study, atlas, folder / "out", folder / "work")


@pytest.fixture(scope="module")
def first(place: Place) -> Step:
    return take_step(place, place.work.with_name("first"), *SCRUBBING)


@pytest.fixture(scope="module")
def again(place: Place, first: Step) -> Step:
    return take_step(place, place.work.with_name("again"), *SCRUBBING)


def test_everyone_finishes_and_leaves_valid_bids(first: Step) -> None:
    assert first.ended.code == 0, first.ended.text
    assert done_of(first.ended) == dict.fromkeys(("sub-01", "sub-02", "sub-03"), "done")
    assert validate(first.out, extended=True) == []
    assert validate(first.out, extended=False) == []


def test_the_study_itself_is_not_written_to(place: Place, first: Step) -> None:
    assert [path for path in touched(first) if path.is_relative_to(place.study)] == []
    new = set(first.after) - set(first.before)
    assert [path for path in new if path.is_relative_to(place.study)] == []


def test_images_stored_from_right_to_left_give_the_very_same_series(
    place: Place, first: Step
) -> None:
    stored = [nib.load(func_file(place.study, f"sub-{each}")).affine for each in ("01", "02")]
    assert stored[0][0, 0] == -stored[1][0, 0]
    straight, flipped = (files_of(first.out, each, "scrubbing") for each in ("01", "02"))
    for name in ("uncleaned", "timeseries", "relmat", "coverage"):
        expected = getattr(straight, name).read_bytes()
        assert getattr(flipped, name).read_bytes() == expected, name


def test_jumps_and_short_stretches_between_them_are_censored(first: Step) -> None:
    files = files_of(first.out, "01", "scrubbing")
    outliers = table(files.outliers)
    assert np.flatnonzero(outliers["censored"]).tolist() == list(CENSORED)
    assert outliers["dummy"].sum() == 0
    assert outliers["fd_mm"][list(JUMPS)].tolist() == [JUMP_MM] * len(JUMPS)
    told = sidecar(files.outliers)
    assert told["FramewiseDisplacementThreshold"] == 0.5
    assert told["StandardisedDVARSThreshold"] == 1.5


def test_the_cleaned_series_is_what_a_fit_to_the_retained_volumes_leaves(
    place: Place, first: Step
) -> None:
    files = files_of(first.out, "01", "scrubbing")
    used = nib.load(atlas_files(first.out, N6, "Blocks")[0])
    image, mask = (func_file(place.study, "sub-01", f"{each}.nii.gz") for each in ("bold", "mask"))
    means = label_means(image, mask, np.asarray(used.dataobj))
    np.testing.assert_allclose(read_series(files.uncleaned).signal, means, rtol=1e-9)
    kept = np.ones(N_VOLUMES, dtype=bool)
    kept[list(CENSORED)] = False
    cleaned = read_series(files.timeseries)
    assert cleaned.parcels == PARCELS
    np.testing.assert_allclose(
        cleaned.signal, residual(means, table(files.design), kept), atol=1e-7
    )


def test_sidecars_and_quality_count_what_was_censored(first: Step) -> None:
    files = files_of(first.out, "01", "scrubbing")
    cleaned, uncleaned = sidecar(files.timeseries), sidecar(files.uncleaned)
    assert cleaned["NumberOfVolumes"] == uncleaned["NumberOfVolumes"] == N_VOLUMES
    assert cleaned["NumberOfCensoredVolumes"] == len(CENSORED)
    assert cleaned["NumberOfVolumesRetained"] == N_VOLUMES - len(CENSORED)
    assert uncleaned["NumberOfVolumesRetained"] == N_VOLUMES
    assert cleaned["ConfoundRegressors"] == list(table(files.design))
    quality = table(files.qc).iloc[0]
    assert quality["num_censored_volumes"] == len(CENSORED)
    assert quality["num_retained_volumes"] == N_VOLUMES - len(CENSORED)
    # No displacement is known of the first volume.
    jumped = len(JUMPS) / (N_VOLUMES - 1)
    assert quality["mean_fd"] == pytest.approx(STILL_MM + jumped * (JUMP_MM - STILL_MM))
    assert quality["mean_fd_post_censoring"] == pytest.approx(STILL_MM)


def test_a_matrix_is_fishers_z_of_the_partial_correlations_of_its_series(first: Step) -> None:
    files = files_of(first.out, "01", "scrubbing")
    shrunk, _ = ledoit_wolf(zscore(read_series(files.timeseries).signal))
    precision = np.linalg.inv(shrunk)
    scale = np.sqrt(np.diag(precision))
    expected = np.arctanh(off_diagonal(-precision / np.outer(scale, scale)))
    found = read_relmat(files.relmat)
    assert found.fisher_z
    assert "stat-partialcorrelation" in files.relmat.name
    assert np.isnan(np.diag(found.matrix)).all()
    np.testing.assert_allclose(off_diagonal(found.matrix), expected, atol=1e-9)
    told = sidecar(files.relmat)
    assert told["RelationshipMeasure"] == "Partial correlation coefficient"
    assert (told["FisherZ"], told["ValidDiagonal"], told["Directed"]) == (True, False, False)
    assert told["Sources"] == [f"bids::{files.timeseries.relative_to(first.out)}"]


def test_the_matrix_of_two_runs_is_the_mean_z_weighted_by_retained_volumes(first: Step) -> None:
    runs = [files_of(first.out, "03", "scrubbing", run=run) for run in RETAINED]
    retained = [sidecar(run.timeseries)["NumberOfVolumesRetained"] for run in runs]
    assert retained == list(RETAINED.values())
    z = [off_diagonal(read_relmat(run.relmat).matrix) for run in runs]
    combined = runs[0].combined().relmat
    assert "run-" not in combined.name
    found = read_relmat(combined)
    np.testing.assert_allclose(
        off_diagonal(found.matrix), np.average(z, axis=0, weights=retained), atol=1e-12
    )
    assert found.fisher_z
    sources = [f"bids::{run.relmat.relative_to(first.out)}" for run in runs]
    assert sidecar(combined)["Sources"] == sources


def test_people_with_one_run_get_no_combined_matrix(first: Step) -> None:
    assert len(list((first.out / "sub-01").rglob("*_relmat.tsv"))) == 1
    assert len(list((first.out / "sub-03").rglob("*_relmat.tsv"))) == 3


def test_a_second_call_over_finished_work_changes_no_file(place: Place, again: Step) -> None:
    assert again.ended.code == 0, again.ended.text
    assert [path for path in touched(again) if path.is_relative_to(place.out)] == []
    new = {path.parent for path in set(again.after) - set(again.before)}
    assert {folder for folder in new if folder.is_relative_to(place.out)} == {place.out / "logs"}


def test_a_second_call_says_so_runs_no_node_and_is_quicker(again: Step, first: Step) -> None:
    assert "4 runs already complete" in again.ended.text
    assert not re.search("^(runs|reports|pictures|combined runs): ", again.ended.text, re.MULTILINE)
    assert done_of(again.ended) == done_of(first.ended)
    assert again.ended.duration_s < first.ended.duration_s


# Then sub-01's matrix is deleted, sub-02's mask touched, and half of an image of sub-03 lost.


@pytest.fixture(scope="module")
def rehearsal(place: Place, again: Step) -> Step:
    files_of(place.out, "01", "scrubbing").relmat.unlink()
    mask = func_file(place.study, "sub-02", "brain_mask.nii.gz")
    os.utime(mask, ns=(mask.stat().st_atime_ns, mask.stat().st_mtime_ns + 10**9))
    truncate(func_file(place.study, "sub-03", f"run-2_space-{N6}_desc-preproc_bold.nii.gz"))
    return take_step(place, place.work.with_name("rehearsal"), *SCRUBBING, "--dry-run")


@pytest.fixture(scope="module")
def after_changes(place: Place, rehearsal: Step) -> Step:
    return take_step(place, place.work.with_name("after"), *SCRUBBING)


def test_a_dry_run_lists_what_would_be_done_and_writes_nothing(rehearsal: Step) -> None:
    assert rehearsal.ended.code == 0, rehearsal.ended.text
    assert rehearsal.after == rehearsal.before
    listed = re.findall(r"^(.+): (sub-\S+)_space-", rehearsal.ended.text, re.MULTILINE)
    assert listed == [
        ("to do (0.6 GB)", "sub-01_task-rest"),
        ("to do (0.6 GB)", "sub-02_task-rest"),
        ("already complete", "sub-03_task-rest_run-1"),
        ("to do (0.6 GB)", "sub-03_task-rest_run-2"),
    ]
    assert "3 runs to do" in rehearsal.ended.text


def test_only_what_was_deleted_or_has_a_changed_input_is_done_again(
    place: Place, after_changes: Step, first: Step
) -> None:
    assert "1 run already complete" in after_changes.ended.text
    matrix = files_of(after_changes.out, "01", "scrubbing").relmat
    assert matrix.read_bytes() == files_of(first.out, "01", "scrubbing").relmat.read_bytes()
    kept = files_of(place.out, "03", "scrubbing", run="1").there()
    assert set(kept) & touched(after_changes) == set()


def test_a_broken_image_is_told_and_stops_no_one_else(place: Place, after_changes: Step) -> None:
    assert after_changes.ended.code == 1, after_changes.ended.text
    ended = {"sub-01": "done", "sub-02": "done", "sub-03": "failed"}
    assert done_of(after_changes.ended) == ended
    (crash,) = (after_changes.out / "sub-03" / "log").glob("*/crash-*.txt")
    image = func_file(place.study, "sub-03", f"run-2_space-{N6}_desc-preproc_bold.nii.gz")
    assert image.name in crash.read_text()
    assert not list((after_changes.out / "sub-01" / "log").glob("*/crash-*.txt"))


def test_the_older_result_of_a_broken_run_no_longer_counts(after_changes: Step) -> None:
    one, two = (files_of(after_changes.out, "03", "scrubbing", run=run) for run in RETAINED)
    assert (one.qc.is_file(), two.qc.is_file()) == (True, False)
    report = (after_changes.out / "sub-03.html").read_text()
    assert "1 run finished" in report
    assert "is truncated" in report


def test_a_matrix_over_several_runs_is_withdrawn_with_one_of_them(after_changes: Step) -> None:
    one = files_of(after_changes.out, "03", "scrubbing", run="1")
    assert not one.combined().relmat.exists()


def test_what_a_failure_leaves_is_valid_bids(after_changes: Step) -> None:
    assert validate(after_changes.out, extended=True) == []
    assert validate(after_changes.out, extended=False) == []


# Then a report, a picture and the methods text are deleted.


@pytest.fixture(scope="module")
def reports_only(place: Place, after_changes: Step) -> Step:
    (place.out / "sub-01.html").unlink()
    files_of(place.out, "01", "scrubbing").figure("carpet").unlink()
    words = (*SCRUBBING, "--reports-only", "--participant-label", "01")
    return take_step(place, place.work.with_name("reports"), *words)


@pytest.fixture(scope="module")
def methods_only(place: Place, reports_only: Step) -> Step:
    (place.out / "logs" / "CITATION.md").unlink()
    return take_step(place, place.work.with_name("methods"), "--boilerplate-only")


def test_reports_only_brings_reports_and_pictures_back_and_touches_no_table(
    place: Place, reports_only: Step, after_changes: Step
) -> None:
    report = (reports_only.out / "sub-01.html").read_bytes()
    assert report == (after_changes.out / "sub-01.html").read_bytes()
    pictures = [
        files_of(step.out, "01", "scrubbing").figure("carpet")
        for step in (reports_only, after_changes)
    ]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    inside = [path for path in touched(reports_only) if path.is_relative_to(place.out)]
    tables = [path for path in inside if not path.is_relative_to(place.out / "logs")]
    assert [path for path in tables if path.suffix not in (".html", ".svg")] == []


def test_boilerplate_only_writes_and_shows_the_methods_text(
    place: Place, methods_only: Step
) -> None:
    assert methods_only.ended.code == 0, methods_only.ended.text
    text = (methods_only.out / "logs" / "CITATION.md").read_text()
    assert "partial correlation" in text.lower()
    # The study is simulated: no program preprocessed it.
    assert "SIMULATED DATA" in text
    assert "computed by fmmtc-tools simulate" in methods_only.ended.text
    assert "preprocessed with fMRIPrep" not in text
    changed = touched(methods_only) | (set(methods_only.after) - set(methods_only.before))
    assert {path.parent for path in changed if path.is_file()} <= {place.out / "logs"}


# Then a strategy of one's own.

OWN = """\
name: own
description: six motion parameters and a component
confounds:
  motion:
    dataset: preprocessed
    query: {desc: confounds, extension: .tsv, suffix: timeseries}
    columns: [trans_x, trans_y, trans_z, rot_x, rot_y, rot_z]
  tissue:
    dataset: preprocessed
    columns: [COMPONENT]
fd_threshold: 0.5
"""
MOTION_6 = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]


@pytest.fixture(scope="module")
def own(place: Place, methods_only: Step) -> Step:
    path = place.work.with_name("own.yml")
    path.write_text(OWN.replace("COMPONENT", "a_comp_cor_00"))
    words = ("--denoise-strategy", path, "--participant-label", "01", "02")
    return take_step(place, place.work.with_name("own"), *words)


def test_a_strategy_from_a_file_removes_what_the_file_names(own: Step) -> None:
    files = files_of(own.out, "01", "own", measure="correlation")
    told = sidecar(files.timeseries)
    assert (told["CleaningStrategy"], told["FramewiseDisplacementThreshold"]) == ("own", 0.5)
    assert told["ConfoundRegressors"] == [*MOTION_6, "a_comp_cor_00"]
    kept = np.ones(N_VOLUMES, dtype=bool)
    kept[list(JUMPS)] = False
    means = read_series(files.uncleaned).signal
    expected = residual(means, table(files.design), kept)
    np.testing.assert_allclose(read_series(files.timeseries).signal, expected, atol=1e-7)
    np.testing.assert_allclose(read_relmat(files.relmat).matrix, np.corrcoef(expected.T), atol=1e-7)


def test_a_run_without_a_column_of_the_strategy_fails_by_its_name_and_the_others_finish(
    own: Step,
) -> None:
    assert own.ended.code == 1, own.ended.text
    assert done_of(own.ended) == {"sub-01": "done", "sub-02": "failed"}
    (line,) = re.findall("^  sub-02: .*", own.ended.text, re.MULTILINE)
    assert "a_comp_cor_00" in line
    assert not list((own.out / "sub-02").rglob("*_desc-own_*.tsv"))


def test_two_cleanings_share_the_uncleaned_series_and_leave_each_other_alone(
    place: Place, own: Step
) -> None:
    files = files_of(place.out, "01", "scrubbing")
    assert len(files.there()) > 15
    assert set(files.there()) & touched(own) == set()


# Last scrubbing with another threshold, which censors the same volumes: first under the same desc,
# then under another one, in one process and with the flags in a file.


@pytest.fixture(scope="module")
def refused(place: Place, own: Step) -> Step:
    return take_step(place, place.work.with_name("refused"), *SCRUBBING, "--fd-threshold", "0.4")


@pytest.fixture(scope="module")
def mine(place: Place, refused: Step) -> Step:
    plugin, flags = (place.work.with_name(name) for name in ("linear.yml", "flags.toml"))
    plugin.write_text("plugin: Linear\n")
    flags.write_text(
        f'use-plugin = "{plugin}"\n'
        'participant-label = ["01"]\n'
        "[participant]\n"
        'denoise-strategy = "p36"\n'
        'fc_measure = "partial-correlation"\n'
        "fisher-z = true\n"
        "fd-threshold = 0.4\n"
        "[group]\n"
        "folds = 3\n"
    )
    words = ("--config-file", flags, "--denoise-strategy", "scrubbing", "--desc", "mine")
    return take_step(place, place.work.with_name("mine"), *words)


@pytest.mark.slow
def test_another_setting_under_the_same_desc_is_refused_with_both_hashes(refused: Step) -> None:
    assert refused.ended.code == 2, refused.ended.text
    assert refused.after == refused.before
    about = json.loads((refused.out / "dataset_description.json").read_text())
    (by,) = about["GeneratedBy"]
    told = set(re.findall(r"\b[0-9a-f]{16}\b", refused.ended.text))
    assert len(told) == 2
    assert by["ConfigurationHash"]["scrubbing"] in told


@pytest.mark.slow
def test_another_setting_under_a_desc_of_its_own_passes(mine: Step) -> None:
    assert mine.ended.code == 0, mine.ended.text
    thresholds = {"scrubbing": 0.5, "mine": 0.4}
    for desc, threshold_mm in thresholds.items():
        told = sidecar(files_of(mine.out, "01", desc).timeseries)
        assert told["FramewiseDisplacementThreshold"] == threshold_mm
        assert told["CleaningStrategy"] == "scrubbing"


@pytest.mark.slow
def test_flags_from_a_file_hold_and_the_command_line_wins(place: Place, mine: Step) -> None:
    assert done_of(mine.ended) == {"sub-01": "done"}
    log_dirs = (mine.out / "sub-01" / "log").iterdir()
    plans = [tomllib.loads((each / "plan.toml").read_text()) for each in log_dirs]
    (plan,) = (each for each in plans if each.get("desc") == "mine")
    assert plan["resources"]["plugin_file"] == str(place.work.with_name("linear.yml"))
    assert plan["denoise"]["denoise_strategy"] == "scrubbing"
    assert plan["connectivity"]["fisher_z"] is True


@pytest.mark.slow
def test_another_plugin_gives_the_same_bytes(mine: Step) -> None:
    default, linear = (files_of(mine.out, "01", desc) for desc in ("scrubbing", "mine"))
    for name in ("timeseries", "relmat", "outliers", "design"):
        assert getattr(linear, name).read_bytes() == getattr(default, name).read_bytes(), name


@pytest.mark.slow
def test_several_cleanings_in_one_output_are_valid_bids(mine: Step) -> None:
    assert validate(mine.out, extended=True) == []
    assert validate(mine.out, extended=False) == []


# ------------------------------------------------------------------------------------------------
# One study in other spaces: sub-01 in MNI152NLin2009cAsym and as CIFTI, sub-02 as CIFTI only.

DENSE_SEEDS = {"sub-01": 7, "sub-02": 8}


@dataclass(frozen=True)
class Spaces:
    """A study in other spaces than the atlas's, and what links them."""

    place: Place
    home: Path
    transforms: Mapping[tuple[str, str], Path]
    dense: Mapping[str, Floats]
    """(time, parcel) means of the CIFTI series by participant."""

    def run(self, name: str, *words: str) -> tuple[Path, Ended]:
        place = replace(self.place, out=self.place.out.with_name(name))
        given = ("--denoise-strategy", "none", *words)
        return place.out, place.run(*given, TEMPLATEFLOW_HOME=str(self.home))

    @property
    def image(self) -> Any:
        return nib.load(func_file(self.place.study, "sub-01"))

    @property
    def mask(self) -> NDArray[np.bool_]:
        path = func_file(self.place.study, "sub-01", "brain_mask.nii.gz")
        return np.asarray(nib.load(path).dataobj) > 0


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory, simulated: Path, atlas: Path) -> Spaces:
    folder = tmp_path_factory.mktemp("spaces")
    study = folder / "bids"
    shutil.copytree(simulated, study, ignore=shutil.ignore_patterns("sub-03", "sub-04"))
    respell(study, "sub-01", N6, N9)
    for path in func_dir(study, "sub-02").glob(f"*{N6}*"):
        path.unlink()
    dense = {who: write_dense_series(study, who, seed=n) for who, n in DENSE_SEEDS.items()}
    place = Place(study, atlas, folder / "out", folder / "work")
    home = folder / "templateflow"
    return Spaces(place, home, write_templates(home), dense)


@pytest.fixture(scope="module")
def on_data(spaces: Spaces) -> tuple[Path, Ended]:
    return spaces.run("data")


@pytest.fixture(scope="module")
def on_atlas(spaces: Spaces) -> tuple[Path, Ended]:
    return spaces.run("atlas", "--resampling-target", "atlas", "--participant-label", "01")


@pytest.fixture(scope="module")
def cifti(spaces: Spaces) -> tuple[Path, Ended]:
    return spaces.run("cifti", "--file-format", "cifti", "--participant-label", "01")


def in_space(out: Path, participant: str, space: str, den: str | None = None) -> RunFiles:
    entities = {"sub": participant, "task": "rest"}
    return RunFiles(out, entities, space, "Blocks", "none", den=den)


def atlas_in(spaces: Spaces) -> tuple[NDArray[np.int32], Floats]:
    image: Any = nib.load(spaces.place.atlas)
    return np.asarray(image.dataobj).astype(np.int32), image.affine


def test_images_in_another_template_get_labels_where_itk_puts_them(
    spaces: Spaces, on_data: tuple[Path, Ended]
) -> None:
    out, ended = on_data
    assert ended.code == 0, ended.text
    assert done_of(ended) == {"sub-01": "done", "sub-02": "done"}
    transform = sitk.ReadTransform(str(spaces.transforms[N6, N9]))
    grid = as_itk(np.zeros(spaces.image.shape[:3]), spaces.image.affine)
    placed = sitk.Resample(as_itk(*atlas_in(spaces)), grid, transform, sitk.sitkNearestNeighbor, 0)
    labels = sitk.GetArrayFromImage(placed).T
    written: Any = nib.load(atlas_files(out, N9, "Blocks")[0])
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
    data = np.asarray(spaces.image.dataobj, dtype=np.float64)
    expected = [data[spaces.mask & (labels == i)].mean(0) for i in range(1, N_PARCELS + 1)]
    files = in_space(out, "01", N9)
    assert f"_space-{N9}_" in files.timeseries.name
    np.testing.assert_allclose(
        read_series(files.timeseries).signal, np.transpose(expected), rtol=1e-9
    )


def test_the_sidecar_tells_how_the_labels_came_to_the_image(
    spaces: Spaces, on_data: tuple[Path, Ended]
) -> None:
    files = in_space(on_data[0], "01", N9)
    transform = spaces.transforms[N6, N9]
    told = sidecar(files.timeseries)
    assert told["AtlasSpace"] == N6
    assert told["AtlasTransform"] == transform.name
    assert told["AtlasTransformDigest"] == hashlib.sha256(transform.read_bytes()).hexdigest()
    assert told["AtlasResampling"] == f"nearest through {transform.name}"
    assert told["ResamplingTarget"] == "data"
    quality = table(files.qc).iloc[0]
    assert 0 < quality["norm_dice"] < 1


@pytest.mark.slow
def test_images_can_be_looked_up_at_the_voxels_of_the_atlas(
    spaces: Spaces, on_atlas: tuple[Path, Ended]
) -> None:
    out, ended = on_atlas
    assert ended.code == 0, ended.text
    transform = spaces.transforms[N9, N6]
    shape = spaces.image.shape[:3]
    numbered = as_itk(np.arange(np.prod(shape), dtype=float).reshape(shape), spaces.image.affine)
    labels, affine = atlas_in(spaces)
    looked_up = sitk.Resample(
        numbered,
        as_itk(labels, affine),
        sitk.ReadTransform(str(transform)),
        sitk.sitkNearestNeighbor,
        -1.0,
    )
    voxel = sitk.GetArrayFromImage(looked_up).T.astype(int)
    assert (voxel[labels > 0] >= 0).all()
    data = np.asarray(spaces.image.dataobj, dtype=np.float64).reshape(-1, N_VOLUMES)
    inside = spaces.mask.ravel()
    of_parcel = [voxel[labels == i] for i in range(1, N_PARCELS + 1)]
    expected = [data[each[inside[each]]].mean(0) for each in of_parcel]
    files = in_space(out, "01", N9)
    np.testing.assert_allclose(
        read_series(files.timeseries).signal, np.transpose(expected), rtol=1e-9
    )
    told = sidecar(files.timeseries)
    assert (told["AtlasTransform"], told["ResamplingTarget"]) == (transform.name, "atlas")


def test_without_the_transform_the_command_that_fetches_it_is_named(
    spaces: Spaces, tmp_path: Path
) -> None:
    offline = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    place = replace(spaces.place, out=tmp_path / "out", work=tmp_path / "work")
    home = tmp_path / "home"
    shutil.copytree(spaces.home, home)
    (home / spaces.transforms[N6, N9].relative_to(spaces.home)).unlink()
    words = ("--participant-label", "01", "--file-format", "nifti")
    ended = place.run(*words, TEMPLATEFLOW_HOME=str(home), **offline)
    assert ended.code == 69, ended.text
    assert "fmmtc-tools fetch templates" in ended.text
    assert not place.out.exists()


def test_people_who_have_grayordinates_only_are_taken_by_them(
    spaces: Spaces, on_data: tuple[Path, Ended]
) -> None:
    assert_dense(on_data[0], "02", spaces.dense["sub-02"])


def test_grayordinates_can_be_asked_for_where_there_are_images_too(
    spaces: Spaces, cifti: tuple[Path, Ended]
) -> None:
    out, ended = cifti
    assert ended.code == 0, ended.text
    assert_dense(out, "01", spaces.dense["sub-01"])
    assert not list(out.rglob(f"*{N9}*"))


def assert_dense(out: Path, participant: str, expected: Floats) -> None:
    files = in_space(out, participant, "fsLR", den="91k")
    assert "_space-fsLR_atlas-Blocks_den-91k_" in files.timeseries.name
    found = read_series(files.timeseries)
    assert found.parcels == PARCELS
    np.testing.assert_allclose(found.signal, expected, rtol=1e-9)
    np.testing.assert_allclose(read_relmat(files.relmat).matrix, np.corrcoef(expected.T), atol=1e-9)
    assert atlas_files(out, "fsLR", "Blocks", den="91k")[0].is_file()
    told = sidecar(files.timeseries)
    assert (told["AtlasResampling"], told["AtlasTransform"]) == ("none", "n/a")
    assert "91k" in told["Density"]


@pytest.mark.parametrize(
    "output", ["on_data", pytest.param("on_atlas", marks=pytest.mark.slow), "cifti"]
)
def test_results_in_every_space_are_valid_bids(output: str, request: pytest.FixtureRequest) -> None:
    out, _ = request.getfixturevalue(output)
    assert validate(out, extended=True) == []
    assert validate(out, extended=False) == []

"""What the quality table of a run says of its masks and its timing, from files to file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from tiny_study import AFFINE, SHAPE, TR_S, TinyStudy, run_all, write_study

from fmmtc_bidsapp.bidsio.tables.quality import read_quality
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.options import ParcelOptions
from fmmtc_bidsapp.participant.admission import Start, begin
from fmmtc_bidsapp.participant.labels import write_labels
from fmmtc_bidsapp.participant.run import join_output
from fmmtc_bidsapp.participant.workflow import run_nodes
from fmmtc_bidsapp.plan import ParticipantPlan, Resources
from fmmtc_bidsapp.records import RunQuality

Study = Callable[..., TinyStudy]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Return a function that writes a study, with the first planes of the grid as its anatomy."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "no templates"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")

    def write(*, n_planes: int = 0, dense: bool = False, kind: str = "float") -> TinyStudy:
        written = write_study(tmp_path, dense=dense, kind=kind)
        if n_planes:
            write_anatomy(written, n_planes)
        return written

    return write


def write_anatomy(study: TinyStudy, n_planes: int) -> None:
    """Write an anatomical mask with eight voxels for one of the run's."""
    inside = np.zeros(SHAPE, dtype=np.uint8)
    inside[:, :n_planes] = 1
    fine = inside.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    path = study.files()["anat mask"]
    path.parent.mkdir(exist_ok=True)
    nib.Nifti1Image(fine, AFFINE @ from_matvec(np.eye(3) / 2, [-0.25] * 3)).to_filename(path)


def started(study: TinyStudy) -> Start:
    folder = study.root.parent
    (folder / "work").mkdir(exist_ok=True)
    parcels = ParcelOptions(atlas=str(study.atlas))
    resources = Resources(folder / "work")
    return begin(ParticipantPlan(study.root, folder / "out", "run", resources, parcel=parcels))


def assessed(study: TinyStudy) -> RunQuality:
    start = started(study)
    (run,) = start.runs
    join_output(start)
    write_labels(start, start.runs)
    run_all(run_nodes(start, run), start.plan.resources.work_dir)
    return read_quality(start.files(run).qc)


def test_the_masks_of_bold_and_anatomy_overlap_as_a_person_counts(study: Study) -> None:
    found = assessed(study(n_planes=4))
    # The run's mask has the planes 1 to 6 of 36 voxels each, the anatomical one 0 to 3.
    assert found.coreg_dice == pytest.approx(2 * 3 / (6 + 4))
    assert found.coreg_overlap == pytest.approx(3 / 4)
    assert found.coreg_correlation == pytest.approx((7 * 3 - 6 * 4) / (6 * 1 * 4 * 3) ** 0.5)
    assert found.norm_dice is None
    assert "mask" not in found.reasons


@pytest.mark.parametrize("dense", [False, True])
def test_without_an_anatomical_mask_nothing_is_said_of_it(study: Study, dense: bool) -> None:
    found = assessed(study(dense=dense))
    assert (found.coreg_dice, found.coreg_correlation, found.coreg_overlap) == (None, None, None)
    assert "mask" not in found.reasons


def test_a_damaged_anatomical_mask_is_an_error_that_names_it(study: Study) -> None:
    written = study(n_planes=4)
    path = written.files()["anat mask"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=path.name):
        assessed(written)


def test_a_run_is_done_again_when_its_anatomical_mask_changes(study: Study) -> None:
    written = study(n_planes=4)
    start = started(written)
    (run,) = start.runs
    assert written.files()["anat mask"] in start.inputs(run)
    before = _hash(start)
    assert _hash(started(written)) == before
    write_anatomy(written, 5)
    assert _hash(started(written)) != before
    written.files()["anat mask"].unlink()
    without = started(written)
    assert start.inputs(run) != without.inputs(without.runs[0])
    assert _hash(without) != before


def _hash(start: Start) -> Any:
    """Hash the inputs of the node as nipype does, to know what it need not do again."""
    (run,) = start.runs
    _, found = run_nodes(start, run).get_node("parcellate").inputs.get_hashval("content")
    return found


@pytest.mark.parametrize("dense", [False, True])
def test_a_repetition_time_of_the_header_alone_is_told(study: Study, dense: bool) -> None:
    found = assessed(study(dense=dense, kind="scaled"))
    assert (found.tr_s, found.tr_header_s, found.tr_source) == (TR_S, TR_S, "header")
    assert "the repetition time of 2 s is that of the image's header" in found.reasons


@pytest.mark.parametrize("dense", [False, True])
def test_a_repetition_time_of_the_sidecar_needs_no_word(study: Study, dense: bool) -> None:
    written = study(dense=dense)
    found = assessed(written)
    assert (found.tr_s, found.tr_source) == (TR_S, "sidecar")
    assert "header" not in found.reasons
    image = written.files()["dense" if dense else "bold"]
    sidecar = image.with_name(f"{image.name.partition('.')[0]}.json")
    assert json.loads(sidecar.read_text())["RepetitionTime"] == TR_S


@pytest.mark.parametrize("which", ["bold", "mask", "atlas", "anat mask"])
def test_no_image_without_an_orientation_in_its_header_is_used(study: Study, which: str) -> None:
    written = study(n_planes=4)
    path = written.files()[which]
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[252:256] = bytes(4)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=f"{path.name}.*does not say where voxels lie"):
        assessed(written)
    assert not list((written.root.parent / "out").rglob("*_timeseries.tsv"))


@pytest.mark.parametrize("which", ["bold", "mask", "atlas"])
def test_orientations_that_disagree_are_told_in_reasons_and_sidecar(
    study: Study, which: str
) -> None:
    written = study()
    path = written.files()[which]
    image = nib.load(path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    moved = image.header.copy()
    moved.set_qform(AFFINE + np.eye(4, k=3) * 30, 1)
    for part in (slice(76, 92), slice(252, 254), slice(256, 280)):
        content[part] = moved.binaryblock[part]
    path.write_bytes(gzip.compress(content))
    found = assessed(written)
    words = f"{path.name}: its qform and sform lie up to 30 mm apart; its sform is used"
    assert words in found.reasons
    start = started(written)
    told = json.loads(start.files(start.runs[0]).timeseries.with_suffix(".json").read_text())
    assert told["ImageNotes"] == [words]


@pytest.mark.parametrize("dense", [False, True])
def test_a_scan_that_was_stopped_is_not_usable_and_its_volumes_are_named(
    study: Study, dense: bool
) -> None:
    written = study(dense=dense)
    before = assessed(written)
    assert before.damaged_volumes == "n/a"
    path = written.files()["dense" if dense else "bold"]
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    stopped = values if dense else np.moveaxis(values, -1, 0)
    stopped[-3:] = 0
    where = image.header if dense else image.affine
    type(image)(values, where, image.nifti_header if dense else image.header).to_filename(path)
    found = assessed(written)
    assert (found.usable, found.num_damaged_volumes) == (False, 3)
    assert "3 retained volumes are damaged (37 to 39 are empty, counted from 0)" in found.reasons


def test_a_run_whose_files_would_have_names_too_long_for_a_file_system_is_refused_at_the_start(
    study: Study,
) -> None:
    written = study()
    atlas = written.atlas.with_name(written.atlas.name.replace("Tiny", "T" * 200))
    for path in written.atlas.parent.iterdir():
        path.rename(path.with_name(path.name.replace("Tiny", "T" * 200)))
    start = started(TinyStudy(written.root, atlas))
    assert start.runs == ()
    (problem,) = start.problems
    assert problem.code == 65
    assert "shorter label" in problem.message
    assert "223 are possible" in problem.message


def test_the_longest_name_is_that_of_the_longest_file_a_run_has(study: Study) -> None:
    written = study()
    start = started(written)
    (run,) = start.runs
    join_output(start)
    write_labels(start, start.runs)
    run_all(run_nodes(start, run), start.plan.resources.work_dir)
    names = [path.name for path in start.files(run).there()]
    assert max(map(len, names)) <= len(start.files(run).longest_name())

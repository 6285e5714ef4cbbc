"""Which runs are one task, and what becomes of their matrix, its picture and its report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from tiny_study import SPACE, TinyStudy, write_study

from fmmtc_bidsapp.bidsio.files.names import RunFiles, citation, participant_report
from fmmtc_bidsapp.options import ConnectivityOptions, DenoiseOptions, ParcelOptions
from fmmtc_bidsapp.participant.combine import runs_of_a_task
from fmmtc_bidsapp.participant.run import run_participant
from fmmtc_bidsapp.plan import ParticipantPlan, Resources
from fmmtc_bidsapp.reports.figures import run_figures

SECTION = '<h2 id="combined1">task-rest (2 runs combined)</h2>'
PICTURE = 'id="combined1-connectivity-'
SENTENCE = "The matrices of the 2 runs of a task were also averaged to one"


def run(root: Path, **entities: str) -> RunFiles:
    return RunFiles(root, {"sub": "01", "task": "rest", **entities}, "fsLR", "A424", "simple")


def test_runs_that_differ_in_nothing_else_are_one_task(tmp_path: Path) -> None:
    one, two = run(tmp_path, run="1"), run(tmp_path, run="2")
    other = run(tmp_path, acq="fast", run="1")
    assert runs_of_a_task([one, other, two]) == [(one, two)]


def test_a_run_without_a_number_keeps_its_own_matrix(tmp_path: Path) -> None:
    plain, two, three = run(tmp_path), run(tmp_path, run="2"), run(tmp_path, run="3")
    assert plain.relmat == two.combined().relmat
    assert runs_of_a_task([plain, two, three]) == []


@dataclass
class Place:
    """A person with two runs, and where their results go."""

    study: TinyStudy
    folder: Path
    n_calls: int = 0
    min_volumes: int = 20
    """A run has 40."""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def call(self, *, combine: bool = True, mode: str = "run") -> int:
        """Run the level in this process, but for the pictures of runs."""
        self.n_calls += 1
        plugin = self.folder / "linear.yml"
        plugin.write_text("plugin: Linear\n")
        return run_participant(
            ParticipantPlan(
                self.study.root,
                self.out,
                f"2026010{self.n_calls}-000000_a",
                Resources(self.folder / "work", plugin_file=plugin),
                parcel=ParcelOptions(atlas=str(self.study.atlas)),
                denoise=DenoiseOptions(min_volumes=self.min_volumes, min_dof=1),
                connectivity=ConnectivityOptions(combine_runs=combine),
                mode=mode,
            )
        )

    def run(self, number: str) -> RunFiles:
        entities = {"sub": "01", "task": "rest", "run": number}
        return RunFiles(self.out, entities, SPACE, "Tiny", "simple")

    @property
    def whole(self) -> list[Path]:
        """Matrix, sidecar and picture."""
        files = self.run("1").combined()
        return [files.relmat, files.relmat.with_suffix(".json"), files.figure("connectivity")]

    @property
    def report(self) -> str:
        return participant_report(self.out, "sub-01").read_text()


def _draw_nothing(files: RunFiles, boldref: Path | None = None) -> list[Path]:
    return []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "no templates"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")
    monkeypatch.setattr(run_figures, "draw_run", _draw_nothing)
    study = write_study(tmp_path)
    for path in list(study.func().iterdir()):
        for number in "12":
            shutil.copy(path, path.with_name(path.name.replace("rest", f"rest_run-{number}", 1)))
        path.unlink()
    return Place(study, tmp_path)


def test_asked_for_later_it_comes_into_report_and_methods_and_goes_with_its_files(
    place: Place,
) -> None:
    assert place.call(combine=False) == 0
    assert not any(path.exists() for path in place.whole)
    assert SECTION not in place.report
    runs = {path: path.stat().st_mtime_ns for each in "12" for path in place.run(each).there()}
    assert place.call() == 0
    assert all(path.stat().st_mtime_ns == was for path, was in runs.items())
    assert all(path.is_file() for path in place.whole)
    assert SECTION in place.report
    assert PICTURE in place.report
    assert SENTENCE in place.report
    assert SENTENCE in citation(place.out).read_text()
    for path in place.whole:
        path.unlink()
    assert place.call(combine=False) == 0
    assert "combined1" not in place.report


@pytest.mark.parametrize("mode", ["run", "reports-only"])
def test_a_picture_that_was_deleted_is_drawn_again_and_the_matrix_left(
    place: Place, mode: str
) -> None:
    place.call()
    matrix, _, picture = place.whole
    drawn, written = picture.read_bytes(), matrix.stat().st_mtime_ns
    report = place.report
    picture.unlink()
    assert place.call(mode=mode, combine=mode == "run") == 0
    assert picture.read_bytes() == drawn
    assert matrix.stat().st_mtime_ns == written
    # Whoever wrote it last is named in it.
    calls = [f"2026010{n}-000000_a" for n in (1, 2)]
    assert place.report.replace(calls[1], calls[0]) == report


def test_a_report_is_written_anew_when_the_matrix_changed(place: Place) -> None:
    place.call()
    sidecar = place.whole[1]
    sidecar.write_text(sidecar.read_text().replace("Pearson correlation", "Planted"))
    place.call(combine=False)
    assert "(Planted coefficient)" in place.report


def test_a_matrix_of_what_a_run_was_before_goes_when_the_run_is_computed_anew(
    place: Place,
) -> None:
    place.call()
    place.run("2").qc.unlink()
    assert place.call(combine=False) == 0
    assert place.run("2").qc.is_file()
    assert not any(path.exists() for path in place.whole)
    assert "combined1" not in place.report


def test_matrix_sidecar_and_picture_go_with_a_run_that_fails(place: Place) -> None:
    place.call()
    image = place.study.func() / f"sub-01_task-rest_run-2_space-{SPACE}_desc-preproc_bold.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    assert place.call() == 1
    assert not any(path.exists() for path in place.whole)
    assert "combined1" not in place.report
    assert "1 run finished" in place.report


def test_a_run_that_fails_takes_nothing_of_a_run_without_a_number(place: Place) -> None:
    for path in list(place.study.func().glob("*_run-1_*")):
        shutil.copy(path, path.with_name(path.name.replace("_run-1", "")))
    place.call()
    image = place.study.func() / f"sub-01_task-rest_run-2_space-{SPACE}_desc-preproc_bold.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    assert place.call() == 1
    assert place.run("1").combined().relmat.is_file()


def test_a_picture_that_cannot_be_drawn_is_told_with_its_crash_in_the_same_report(
    place: Place,
) -> None:
    place.call()
    matrix = place.whole[0]
    matrix.write_text(matrix.read_text().replace("1.0", "planted", 1))
    assert place.call(mode="reports-only") == 1
    assert "<h3>pictures of combined runs</h3>" in place.report
    assert "<summary>Crash file</summary>" in place.report
    assert "_run_interface" in place.report


def cut(place: Place, number: str, n_volumes: int) -> None:
    """Leave a run with fewer volumes."""
    start = f"sub-01_task-rest_run-{number}_"
    path = place.study.func() / f"{start}space-{SPACE}_desc-preproc_bold.nii.gz"
    image = nib.load(path)
    image.slicer[..., :n_volumes].to_filename(path)
    table = place.study.func() / f"{start}desc-confounds_timeseries.tsv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[: 1 + n_volumes]))


def matrix(path: Path) -> np.ndarray:
    return pd.read_csv(path, sep="\t", index_col="Node").to_numpy()


def test_a_run_that_is_not_usable_is_left_out_of_the_mean_and_told(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.min_volumes = 39
    cut(place, "2", 39)
    assert place.call() == 0
    whole, sidecar, _ = place.whole
    # One run is left, so the mean is its own matrix.
    np.testing.assert_allclose(matrix(whole), matrix(place.run("1").relmat), atol=1e-12)
    told = json.loads(sidecar.read_text())
    names = [place.run(each).relmat.name for each in "12"]
    assert [each.rpartition("/")[2] for each in told["Sources"]] == names[:1]
    ((left_out, reasons),) = told["RunsLeftOut"].items()
    assert left_out.rpartition("/")[2] == names[1]
    assert "38 of 39 volumes are retained, at least 39 are needed" in reasons
    assert f"Excluded from {whole.name}: {names[1]}, not usable (38 of" in capsys.readouterr().out
    assert f"<li>{names[1]}: 38 of 39 volumes" in place.report


def test_of_two_usable_runs_of_three_the_mean_is_that_of_the_two(place: Place) -> None:
    for path in list(place.study.func().glob("*_run-1_*")):
        shutil.copy(path, path.with_name(path.name.replace("_run-1", "_run-3")))
    cut(place, "1", 37)
    place.min_volumes = 35
    cut(place, "2", 34)
    assert place.call() == 0
    # Of each the first volume is a dummy.
    weights = {"1": 36, "3": 39}
    z = sum(
        weight * np.arctanh(np.clip(matrix(place.run(each).relmat), -1 + 1e-12, 1 - 1e-12))
        for each, weight in weights.items()
    ) / sum(weights.values())
    found = matrix(place.whole[0])
    off = ~np.eye(len(found), dtype=bool)
    np.testing.assert_allclose(found[off], np.tanh(z)[off], atol=1e-9)


def test_where_no_run_is_usable_there_is_no_mean_and_an_old_one_goes(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.min_volumes = 50
    assert place.call() == 0
    assert not any(path.exists() for path in place.whole)
    name = place.whole[0].name
    assert f"No {name}: none of its 2 runs is usable." in capsys.readouterr().out
    # As an earlier version wrote it, which averaged whatever was there.
    place.whole[0].write_text("Node\n")
    assert place.call() == 0
    assert not place.whole[0].exists()

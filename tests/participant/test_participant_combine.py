"""Which runs are one task, and what becomes of their matrix, its picture and its report."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_study import SPACE, TinyStudy, write_study

from fmmtc_bidsapp.bidsio.names import RunFiles, citation, participant_report
from fmmtc_bidsapp.options import ConnectivityOptions, ParcelOptions
from fmmtc_bidsapp.participant import nodes
from fmmtc_bidsapp.participant.combine import runs_of_a_task
from fmmtc_bidsapp.participant.run import run_participant
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

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


def _draw_nothing(_: RunFiles, __: Path | None) -> list[Path]:
    return []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "no templates"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")
    monkeypatch.setattr(nodes, "draw_run", _draw_nothing)
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
    assert place.report == report


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

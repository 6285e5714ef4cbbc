"""Which runs are one task, and what their matrix is."""

from __future__ import annotations

from pathlib import Path

from fmmtc_bidsapp.bidsio.names import RunFiles
from fmmtc_bidsapp.participant.combine import runs_of_a_task


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

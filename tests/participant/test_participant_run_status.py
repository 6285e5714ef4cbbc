"""How everyone ended, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

from fmmtc_bidsapp.participant.run_status import Problem, keep_crash_files


def test_no_crash_file_is_written_through_a_link_out_of_the_output(tmp_path: Path) -> None:
    crash, out, outside = tmp_path / "crash-1.txt", tmp_path / "out", tmp_path / "outside"
    crash.write_text("what went wrong")
    (out / "sub-02").mkdir(parents=True)
    outside.mkdir()
    (out / "sub-01").symlink_to(outside, target_is_directory=True)
    problems = [Problem(f"sub-0{i}", "report", "broke", 1, crash) for i in (1, 2)]
    keep_crash_files(out, "run", problems)
    assert not list(outside.iterdir())
    (kept,) = (out / "sub-02").rglob("crash-1.txt")
    assert kept.read_text() == "what went wrong"

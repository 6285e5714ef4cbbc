"""The participant level survives: killed, without room, without permission, without locks, beside
another run, with the clock set back. A plain rerun then leaves what an undisturbed run leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from survival import (
    Ended,
    Place,
    ended,
    kill_at,
    remount,
    require_same,
    results,
    spelled,
    start,
    without_privilege,
)

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.errors import OutputError

PARCEL_MEANS = "fmmtc_bidsapp.participant.tasks:parcel_means"
NO_LOCKS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
int flock(int fd, int how) { errno = ENOLCK; return -1; }
static int control(int fd, int what, void *more) {
  if (what == F_SETLK || what == F_SETLKW || what == F_OFD_SETLK || what == F_OFD_SETLKW) {
    errno = ENOLCK;
    return -1;
  }
  return syscall(SYS_fcntl, fd, what, more);
}
int fcntl(int fd, int what, ...) {
  va_list list; va_start(list, what); void *more = va_arg(list, void *); va_end(list);
  return control(fd, what, more);
}
int fcntl64(int fd, int what, ...) {
  va_list list; va_start(list, what); void *more = va_arg(list, void *); va_end(list);
  return control(fd, what, more);
}
"""
"""A library that has no locks, as a file system may have none."""

pytestmark = pytest.mark.timeout(600)


def complete(place: Place, undisturbed: Place) -> str:
    """Run the same command without the fault, and compare; returns what it said."""
    done = place.run()
    assert done.code == 0, done.text
    require_same(place.out, undisturbed.out)
    return done.text


# Killed ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending",
    [
        "stat-mean_desc-none_timeseries.tsv",
        "dataset_description.json",
        "_qc.tsv",
        "sub-02.html",
        "CITATION.md",
    ],
)
def test_a_run_killed_in_the_middle_of_a_file_leaves_no_trace_after_a_rerun(
    ending: str, place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    kill_at(mark, spelled(place.words(), ("half", ending, mark)))
    halves = [path for path in place.out.rglob(".*") if path.name.endswith(ending)]
    assert len(halves) >= 1
    assert not [path for path in place.out.rglob(f"[!.]*{ending}") if "sub-02" in str(path)]
    complete(place, undisturbed)


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_parcellation_goes_on_where_it_was(
    place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    fault = ("pause", PARCEL_MEANS, "sub-02", mark)
    kill_at(mark, spelled(place.words(), fault))
    complete(place, undisturbed)
    # Killed again, with results there: what was whole stays as it is.
    kept = {path: path.stat().st_mtime_ns for path in place.out.rglob("sub-01*") if path.is_file()}
    mark.unlink()
    image = place.study.files("02")["bold"]
    status = image.stat()
    try:
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        kill_at(mark, spelled(place.words(), fault))
        assert "1 run already complete" in complete(place, undisturbed)
    finally:
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_a_run_killed_before_its_methods_text_leaves_no_older_one(
    place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    text, mark = "logs/CITATION.md", tmp_path / "mark"
    assert place.run("--participant-label", "01").code == 0
    expected = results(undisturbed.out)[text]
    assert results(place.out)[text] != expected
    kill_at(mark, spelled(place.words(), ("half", "CITATION.md", mark)))
    assert place.run().code == 0
    assert results(place.out)[text] == expected


@pytest.mark.slow
def test_one_worker_killed_for_memory_costs_one_participant_and_is_told(
    place: Place, undisturbed: Place
) -> None:
    done = place.run(fault=("die", PARCEL_MEANS, "sub-02"))
    assert done.code == 1, done.text
    assert "sub-01: done" in done.text
    assert "sub-02: failed: sub_02_task_rest" in done.text
    assert "most often for memory" in done.text
    ours, theirs = (results(each.out, each.work) for each in (place, undisturbed))
    assert all(ours[name] == theirs[name] for name in theirs if name.startswith("sub-01/"))
    assert not [name for name in ours if name.endswith("_qc.tsv") and "sub-02" in name]
    assert "1 run already complete" in complete(place, undisturbed)


REPORT = "fmmtc_bidsapp.reports.pages.participant:write_participant_report"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "again"),
    [
        (("full", "sub-02.html"), 73, ()),
        (("unwell", "sub-02.html"), 73, ()),
        (("die", REPORT, "sub-02"), 1, ()),
        (("full", "sub-02.html"), 73, ("--reports-only",)),
    ],
    ids=["full", "unwell", "killed", "reports-only"],
)
def test_a_report_that_failed_is_after_a_rerun_that_of_an_undisturbed_run(
    fault: tuple[str, ...], code: int, again: tuple[str, ...], place: Place, undisturbed: Place
) -> None:
    done = place.run(fault=fault)
    assert done.code == code, done.text
    assert "sub-01: done" in done.text
    assert "sub-02: failed: report" in done.text
    assert not (place.out / "sub-02.html").exists()
    done = place.run(*again)
    assert done.code == 0, done.text
    require_same(place.out, undisturbed.out)


@pytest.mark.slow
def test_without_room_for_the_methods_text_the_run_ends_with_73_and_a_rerun_writes_it(
    place: Place, undisturbed: Place
) -> None:
    done = place.run(fault=("full", "CITATION.md"))
    assert done.code == 73, done.text
    assert "sub-02: done" in done.text
    assert "CITATION.md: No space left on device" in done.text
    complete(place, undisturbed)


# A place that cannot be written -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("which", ["out", "work"])
def test_a_full_disk_is_told_and_with_room_again_a_rerun_completes(
    which: str, undisturbed: Place, small_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    place = undisturbed.within(tmp_path)
    disk = small_disk("100k")
    (disk / which).mkdir()
    (tmp_path / which).symlink_to(disk / which)
    done = place.run()
    assert done.code == 73, done.text
    assert "No space left on device" in done.text
    assert str(tmp_path / which) in done.text or str(disk) in done.text
    assert "Traceback" not in done.text
    assert "Internal error" not in done.text
    assert not list(place.out.rglob(".*_*")) or which == "work"
    remount(disk, "size=100m")
    complete(place, undisturbed)


def test_without_room_for_a_file_it_is_said_how_much_is_needed_and_no_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match=r"a\.txt.*No space.*\(1,234 bytes are needed, [\d,]+ f"):
        write_text(tmp_path / "a.txt", "x" * 1234)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_ends_with_73_before_anything_is_computed(
    place: Place,
) -> None:
    prefix = without_privilege()
    place.out.mkdir(mode=0o555)
    done = place.run(prefix=prefix)
    assert done.code == 73, done.text
    assert f"Cannot write to {place.out}" in done.text
    assert "Traceback" not in done.text
    assert list(place.out.iterdir()) == []
    assert not place.work.exists()


@pytest.mark.slow
def test_a_file_system_mounted_read_only_ends_with_73_also_over_finished_work(
    undisturbed: Place, small_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    disk = small_disk("100m")
    place = undisturbed.within(disk)
    complete(place, undisturbed)
    before = results(disk)
    remount(disk, "ro")
    done = place.run()
    assert done.code == 73, done.text
    assert "Read-only file system" in done.text
    assert "Traceback" not in done.text
    assert results(disk) == before


# Files of ours that are lost or damaged -----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "when"),
    [
        ("deleted", (PARCEL_MEANS, "sub-02")),
        ("a link", (PARCEL_MEANS, "sub-02")),
        ("moved", ("fmmtc_bidsapp.reports.figures.run_figures:draw_run", "'02'")),
        ("deleted", (REPORT, "sub-02")),
        ("a link", (REPORT, "sub-02")),
    ],
    ids=["parcels", "parcels-link", "pictures-moved", "report", "report-link"],
)
def test_an_output_deleted_moved_or_replaced_during_a_run_is_told_and_a_rerun_completes(
    how: str, when: tuple[str, str], place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    done = place.run(fault=("lose", *when, place.out, how, tmp_path / "outside"))
    assert done.code == 73, done.text
    assert str(place.out) in done.text
    assert ": done" not in done.text
    assert "Traceback" not in done.text
    if place.out.is_symlink():
        place.out.unlink()
    complete(place, undisturbed)


@pytest.mark.slow
def test_a_folder_of_the_output_that_becomes_a_link_out_of_it_is_told_and_then_refused(
    place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    folder = place.out / "sub-01"
    done = place.run(fault=("lose", REPORT, "sub-02", folder, "a link", tmp_path / "outside"))
    assert done.code == 73, done.text
    assert f"{folder} is a link to a place outside the output" in done.text
    again = place.run()
    assert again.code == 2, again.text
    assert f"{folder} is a link to a place outside the output" in again.text
    assert not list((tmp_path / "outside" / "other").rglob("*"))
    folder.unlink()
    complete(place, undisturbed)


@pytest.mark.slow
def test_an_output_file_emptied_or_cut_after_the_run_is_written_anew(
    place: Place, undisturbed: Place
) -> None:
    shutil.copytree(undisturbed.out, place.out)
    assert place.run().code == 0
    files = [path for path in sorted(place.out.rglob("*")) if path.is_file()]
    damaged = [path for path in files if "log" not in path.parts and path.suffix != ".lock"]
    damaged = [path for path in damaged if not path.match("*_outcomes.tsv")]
    assert {"dataset_description.json", ".bidsignore", "CITATION.bib"} <= {p.name for p in damaged}
    for i, path in enumerate(damaged):
        # The second description of the dataset is there for the first.
        if path.parent.name != "finished" or path.name != "dataset_description.json":
            os.truncate(path, (path.stat().st_size // 2) * (i % 2))
    complete(place, undisturbed)


@pytest.mark.slow
def test_a_work_directory_cut_by_a_loss_of_power_is_computed_anew(
    place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    complete(place, undisturbed)
    shutil.rmtree(place.out)
    files = [path for path in sorted(place.work.rglob("*")) if path.is_file()]
    assert len([path for path in files if path.name.startswith("result_")]) >= 10
    for i, path in enumerate(files):
        os.truncate(path, (path.stat().st_size // 2) * (i % 2))
    complete(place, undisturbed)


# A file that cannot be read -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("role", ["bold", "mask", "confounds", "sidecar"])
def test_a_file_without_permission_fails_its_participant_alone_and_is_told(
    role: str, place: Place, undisturbed: Place
) -> None:
    prefix, locked = without_privilege(), place.study.files("02")[role]
    done = _locked(locked, lambda: place.run(prefix=prefix))
    assert done.code == 1, done.text
    assert "sub-01: done" in done.text
    (line,) = (each for each in done.text.splitlines() if each.startswith("  sub-02: "))
    assert locked.name in line
    assert "Permission denied" in line
    assert "Traceback" not in done.text
    assert "1 run already complete" in complete(place, undisturbed)


@pytest.mark.slow
def test_a_folder_without_permission_ends_with_65_and_is_told(place: Place) -> None:
    prefix, locked = without_privilege(), place.study.func("02")
    done = _locked(locked, lambda: place.run(prefix=prefix))
    assert done.code == 65, done.text
    assert f"{locked} cannot be read" in done.text
    assert not place.out.exists()
    others = _locked(locked, lambda: place.run("--participant-label", "01", prefix=prefix))
    assert others.code == 0, others.text


def _locked(path: Path, run: Callable[[], Ended]) -> Ended:
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        return run()
    finally:
        path.chmod(mode)


# Beside another run -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("other_work", [False, True])
@pytest.mark.parametrize("people", [(("01", "02"), ("01", "02")), (("01",), ("02",))])
def test_two_runs_into_one_output_both_finish_and_leave_what_one_run_leaves(
    people: tuple[tuple[str, ...], ...], other_work: bool, place: Place, undisturbed: Place
) -> None:
    beside = Place(place.study, place.out, place.work.with_name("other" if other_work else "work"))
    running = [
        start(spelled(each.words("--participant-label", *asked)))
        for each, asked in zip((place, beside), people, strict=True)
    ]
    for done in [ended(each) for each in running]:
        assert done.code == 0, done.text
        assert "Traceback" not in done.text
    tables = list(place.out.rglob("*_qc.tsv"))
    assert [len(pd.read_csv(table, sep="\t")) for table in tables] == [1, 1]
    # The plan that a report quotes names who was asked for.
    pages = {f"sub-{each}.html" for each in ("01", "02")}
    ours, theirs = (
        {name: content for name, content in results(each.out).items() if name not in pages}
        for each in (place, undisturbed)
    )
    assert ours == theirs
    again = place.run()
    assert again.code == 0, again.text


@pytest.mark.slow
def test_of_two_configurations_under_one_name_started_at_once_the_second_ends_with_2(
    place: Place, undisturbed: Place
) -> None:
    other = Place(place.study, place.out, place.work.with_name("other"))
    running = [start(spelled(place.words())), start(spelled(other.words("--min-coverage", "0.9")))]
    first, second = sorted((ended(each) for each in running), key=lambda each: each.code)
    assert (first.code, second.code) == (0, 2), first.text + second.text
    # While the first run is at work, or once its first result is there.
    assert "parcel means of another configuration" in second.text
    hashes = results(place.out)["dataset_description.json"], results(undisturbed.out)
    if "--min-coverage" not in first.text and hashes[0] == hashes[1]["dataset_description.json"]:
        require_same(place.out, undisturbed.out)
    assert "2 runs already complete" in place.run().text or place.run().code == 2


# The clock ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_with_the_clock_set_back_nothing_is_wrongly_skipped_done_again_or_told(
    place: Place, undisturbed: Place, tmp_path: Path
) -> None:
    image = place.study.files("02")["bold"]
    whole, status = image.read_bytes(), image.stat()
    try:
        image.write_bytes(whole[: len(whole) // 2])
        done = place.run(fault=("late", "3600"))
        assert done.code == 1, done.text
        assert "sub-02: failed" in done.text
    finally:
        image.write_bytes(whole)
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    kept = {path: path.stat().st_mtime_ns for path in place.out.rglob("sub-01*") if path.is_file()}
    assert "1 run already complete" in complete(place, undisturbed)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    # What an hour ago was the future is the past again: still nothing is to be done.
    assert "2 runs already complete" in place.run(fault=("late", "-3600")).text


# No locks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def no_locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("no_locks")
    (folder / "no_locks.c").write_text(NO_LOCKS)
    library = folder / "no_locks.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make a library without locks")
    command = [compiler, "-shared", "-fPIC", "-o", library, folder / "no_locks.c"]
    subprocess.run(command, check=True)
    return library


@pytest.mark.slow
def test_without_locks_the_run_says_so_once_and_completes(
    place: Place, undisturbed: Place, no_locks: Path
) -> None:
    done = place.run(LD_PRELOAD=str(no_locks))
    assert done.code == 0, done.text
    assert done.text.count("file system without locks") == 1
    require_same(place.out, undisturbed.out)
    assert not list(place.work.rglob("*.held"))


@pytest.mark.slow
def test_without_locks_a_killed_run_of_this_machine_holds_no_one_up(
    place: Place, undisturbed: Place, no_locks: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    fault = ("pause", PARCEL_MEANS, "sub-02", mark)
    kill_at(mark, ["env", f"LD_PRELOAD={no_locks}", *spelled(place.words(), fault)])
    assert list(place.work.rglob("*.held"))
    began_s = time.monotonic()
    done = place.run(LD_PRELOAD=str(no_locks))
    assert done.code == 0, done.text
    assert time.monotonic() - began_s < 60
    require_same(place.out, undisturbed.out)

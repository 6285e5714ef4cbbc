"""The group level survives: killed while it trains, keeps its model or reports; without room; and
beside the participant level in one output. A plain rerun then leaves what an undisturbed run does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parcel_study import group_command, write_parcel_study
from survival import Place, ended, kill_at, remount, require_same, results, spelled, start

MODELS = ("--network", "lstm", "--seeds", "2", "--permutations", "19", "--nprocs", "2")
PAUSES = {
    "training": ("pause", "fmmtc_bidsapp.learning.estimators.train:Training._epoch", ""),
    "another training": (
        "pause",
        "fmmtc_bidsapp.group.tasks.fit_tasks:fit_together",
        "'training': 1",
    ),
    "the bundle": ("pause", "fmmtc_bidsapp.group.bundle.write:save_tensors", "models/fmmtc"),
    "the bundle's seal": ("half", "config.json"),
    "the metrics": ("half", "_metrics.tsv"),
    "the report": ("half", "_report.html"),
    "the methods text": ("half", "CITATION.md"),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parcel_study(tmp_path_factory.mktemp("parcels") / "study")


def group_words(parcels: Path, out: Path, work: Path) -> list[str]:
    """Spell the group level without the interpreter and the module."""
    return group_command(parcels, out, work, *MODELS)[3:]


@pytest.fixture(scope="module")
def expected(parcels: Path) -> Path:
    """What an undisturbed run leaves."""
    out = parcels.with_name("out")
    done = ended(start(spelled(group_words(parcels, out, parcels.with_name("work")))))
    assert done.code == 0, done.text
    return out


@pytest.mark.parametrize("place", PAUSES)
def test_a_group_run_killed_in_the_middle_leaves_no_trace_after_a_rerun(
    place: str, parcels: Path, expected: Path, tmp_path: Path
) -> None:
    out, work, mark = tmp_path / "out", tmp_path / "work", tmp_path / "mark"
    words = group_words(parcels, out, work)
    kill_at(mark, spelled(words, (*PAUSES[place], mark)))
    assert results(out) != results(expected)
    done = ended(start(spelled(words)))
    assert done.code == 0, done.text
    require_same(out, expected)


@pytest.mark.parametrize("which", ["out", "work"])
def test_a_full_disk_is_told_and_with_room_again_the_group_level_completes(
    which: str,
    parcels: Path,
    expected: Path,
    small_disk: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    disk = small_disk("200k")
    (disk / which).mkdir()
    (tmp_path / which).symlink_to(disk / which)
    words = group_words(parcels, out, work)
    done = ended(start(spelled(words)))
    assert done.code == 73, done.text
    assert "No space left on device" in done.text
    assert "Traceback" not in done.text
    assert "Internal error" not in done.text
    remount(disk, "size=100m")
    done = ended(start(spelled(words)))
    assert done.code == 0, done.text
    require_same(out, expected)


@pytest.mark.parametrize("how", ["deleted", "a link"])
@pytest.mark.parametrize(
    "place",
    [
        ("fmmtc_bidsapp.learning.estimators.train:Training._epoch", ""),
        ("fmmtc_bidsapp.group.tasks.report_tasks:write_group_report", ""),
    ],
    ids=["training", "report"],
)
def test_an_output_deleted_during_a_group_run_is_told_and_a_rerun_completes(
    how: str, place: tuple[str, str], parcels: Path, expected: Path, tmp_path: Path
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    words = group_words(parcels, out, work)
    done = ended(start(spelled(words, ("lose", *place, out, how, tmp_path / "outside"))))
    assert done.code == 73, done.text
    assert str(out) in done.text
    assert "Traceback" not in done.text
    if out.is_symlink():
        out.unlink()
    done = ended(start(spelled(words)))
    assert done.code == 0, done.text
    require_same(out, expected)


def test_of_two_configurations_under_one_label_started_at_once_the_second_ends_with_2(
    parcels: Path, expected: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    words = group_words(parcels, out, tmp_path / "work")
    running = [
        start(spelled(words)),
        start(spelled([*group_words(parcels, out, other), "--random-seed", "7"])),
    ]
    one, two = [ended(each) for each in running]
    assert sorted([one.code, two.code]) == [0, 2], one.text + two.text
    assert "Another run is writing results under 'group-fmmtc'" in one.text + two.text
    if one.code == 0:
        require_same(out, expected)


def test_both_levels_at_once_in_one_output_leave_what_one_after_the_other_leaves(
    parcels: Path, undisturbed: Place, tmp_path: Path
) -> None:
    both, serial = (undisturbed.within(tmp_path / each) for each in ("both", "serial"))
    running = [
        start(spelled(words)) for words in (both.words(), group_words(parcels, both.out, both.work))
    ]
    for done in [ended(each) for each in running]:
        assert done.code == 0, done.text
        assert "Traceback" not in done.text
    for words in (serial.words(), group_words(parcels, serial.out, serial.work)):
        done = ended(start(spelled(words)))
        assert done.code == 0, done.text
    one, other = (results(each.out, each.work) for each in (both, serial))
    assert sorted(one) == sorted(other)
    # A page tells the sources of the dataset as it was then; written anew, it tells all.
    assert all(name.startswith("sub-") for name in one if one[name] != other[name])
    for place in (both, serial):
        for page in place.out.glob("sub-*.html"):
            page.unlink()
        assert place.run().code == 0
    one, other = (results(each.out, each.work) for each in (both, serial))
    assert [name for name in one if one[name] != other[name]] == []

"""Machines that lack what libraries take for granted."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pwd
import stat
import tempfile
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli import surroundings
from fmmtc_bidsapp.cli.main import main, run_guarded


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take home and name away; returns the folder for temporary files."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "LOGNAME", "USER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_name_and_home_gets_a_private_folder_and_is_told(
    nameless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = []
    for _ in range(2):
        run_guarded("fmmtc", lambda: homes.append(Path.home()) or 0)
        del os.environ["HOME"]
    assert homes == [nameless / f"fmmtc-home-{os.getuid()}"] * 2
    assert stat.S_IMODE(homes[0].stat().st_mode) == 0o700
    assert f"{homes[0]} is used instead" in capsys.readouterr().err


def test_a_folder_that_somebody_else_put_there_is_not_taken(nameless: Path, tmp_path: Path) -> None:
    trap = nameless / f"fmmtc-home-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir()
    trap.symlink_to(tmp_path / "elsewhere")
    homes = []
    run_guarded("fmmtc", lambda: homes.append(Path.home()) or 0)
    assert homes[0] != trap
    assert homes[0].parent == nameless


def _command(folder: Path) -> list[str]:
    return [str(folder), str(folder / "out"), "participant"]


def test_without_proc_a_run_ends_with_69_and_says_how_to_mount_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(surroundings, "_OF_THIS_PROCESS", tmp_path / "proc")
    assert main(_command(tmp_path)) == 69
    assert "/proc is not mounted" in capsys.readouterr().err


def test_shared_memory_that_cannot_be_written_ends_a_run_with_73(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(multiprocessing, "Lock", refuse)
    assert main(_command(tmp_path)) == 73
    assert "cannot be written (Read-only file system)" in capsys.readouterr().err

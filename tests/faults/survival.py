"""Commands that meet a fault, and what is to be there after a plain rerun.

The study is a handful of voxels, so a command takes seconds; each is a process of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from participant.tiny_study import TinyStudy

FAULTY = Path(__file__).with_name("faulty.py")
LONGEST_S = 240

_ROOT = 0
_AS_ANYONE = ("--bounding-set", "-dac_override,-dac_read_search")
"""Root can open every file; without these two it is held to permissions as others are."""
_RUN_ID = re.compile(rb"\d{8}-\d{6}_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str
    """What it said on both streams."""


@dataclass(frozen=True)
class Place:
    """A study, and where its results go."""

    study: TinyStudy
    out: Path
    work: Path

    def within(self, folder: Path) -> Place:
        """Return a place for the same study's results."""
        return replace(self, out=folder / "out", work=folder / "work")

    def words(self, *words: str | Path) -> list[str]:
        """Spell the participant level."""
        where = (self.study.root, self.out, "participant", "--work-dir", self.work)
        how = ("--atlas", self.study.atlas, "--denoise-strategy", "none", "--nprocs", "2")
        return [*map(str, where), *map(str, how), *map(str, words)]

    def run(
        self,
        *words: str | Path,
        fault: Sequence[str | Path] = (),
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> Ended:
        """Run the participant level to its end."""
        command = [*prefix, *spelled(self.words(*words), fault)]
        return ended(start(command, **environment))


def spelled(words: Sequence[str], fault: Sequence[str | Path] = ()) -> list[str]:
    """Spell a command, with a fault of `faulty` in it or with none."""
    if not fault:
        return [sys.executable, "-m", "fmmtc_bidsapp", *words]
    return [sys.executable, str(FAULTY), *map(str, fault), "--", *words]


def start(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "FMMTC_CACHE_DIR": "/nonexistent", **environment},
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a command."""
    try:
        text, _ = process.communicate(timeout=LONGEST_S)
    finally:
        # Nothing to be killed where it has ended.
        _kill(process)
    return Ended(process.returncode, text)


def kill_at(mark: Path, command: Sequence[str]) -> None:
    """Kill a command and all its workers at once, as soon as a file appears."""
    process = start(command)
    began_s = time.monotonic()
    while not mark.exists() and process.poll() is None and time.monotonic() - began_s < LONGEST_S:
        time.sleep(0.02)
    _kill(process)
    text, _ = process.communicate()
    assert mark.exists(), f"the command ended before it could be killed:\n{text}"


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def results(out: Path, *places: Path) -> dict[str, bytes]:
    """Read every file of a dataset, hidden ones too, but what tells of the single call.

    That is left out: ``log/<run id>``, the closing tables, and the ledger of finished work, which
    holds dates of files. Reports quote the plan of the call: its number and its places, also
    ``places``, are spelled alike.
    """
    found = {}
    for path in sorted(each for each in out.rglob("*") if each.is_file()):
        parts = path.relative_to(out).parts
        if "log" in parts or parts[:2] == ("logs", "finished") or path.match("*_outcomes.tsv"):
            continue
        content = _RUN_ID.sub(b"<run>", path.read_bytes())
        for place in (out, *places):
            content = content.replace(str(place).encode(), b"<place>")
        found["/".join(parts)] = content
    return found


def require_same(out: Path, expected: Path) -> None:
    """Compare two datasets byte for byte, each with its work directory beside it."""
    one, other = (results(each, each.with_name("work")) for each in (out, expected))
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []


def without_privilege() -> tuple[str, ...]:
    """Return what is put before a command so that permissions hold for it, also for root."""
    if os.geteuid() != _ROOT:
        return ()
    prefix = ("setpriv", *_AS_ANYONE)
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"root cannot give its privileges away here ({error})")
    return prefix


def mount_small_disk(folder: Path, size: str) -> None:
    """Mount a small file system in memory; the test skips where that cannot be done."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system: its size, or whether it can be written."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Give a mounted file system back."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)

"""Killed at any moment, again and again: a plain rerun leaves what an undisturbed run leaves.

Two hundred kills in all, half of them Ctrl-C, at moments drawn from a seed; several in a row before
the rerun, so that later ones meet what earlier ones left. Runs are forked from one process, as the
imports would take most of the time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from parcel_study import group_command, write_parcel_study
from participant.tiny_study import write_study
from survival import Ended, Place, require_same

KILLS_IN_A_ROW = 5
ROUNDS = range(10)
LINE = "fmmtc: interrupted; run the same command to go on."

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Server:
    """Runs of the command, forked from one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log.txt"
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "FMMTC_CACHE_DIR": "/nonexistent", "OMP_NUM_THREADS": "1"},
        )

    def run(
        self, words: Sequence[str], kill: signal.Signals | None = None, at_s: float = 0
    ) -> Ended:
        """Run the command to its end, or to a signal at a time after its beginning."""
        number = self._ask("run", str(self._log), list(words))
        if kill is not None:
            until_s = time.monotonic() + at_s
            while time.monotonic() < until_s and not _has_ended(number):
                time.sleep(0.005)
            os.killpg(number, kill)
        code = self._ask("wait", number)
        return Ended(code, self._log.read_text())

    def close(self) -> None:
        """End the process."""
        self._process.communicate("")

    def _ask(self, *request: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _has_ended(number: int) -> bool:
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    found.close()


class Level:
    """A level's command on a tiny study, what an undisturbed run leaves, and its duration."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.expected = folder / "out"
        began_s = time.monotonic()
        done = server.run(self.words(folder))
        self.duration_s = time.monotonic() - began_s
        assert done.code == 0, done.text

    def words(self, folder: Path) -> list[str]:
        """Spell the command with its output and work directory in a folder."""
        raise NotImplementedError


class Participants(Level):
    """Two people of a handful of voxels."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._study = write_study(folder, ("01", "02"))
        super().__init__(server, folder)

    def words(self, folder: Path) -> list[str]:
        return Place(self._study, folder / "out", folder / "work").words()


class Group(Level):
    """A logistic regression with its baselines, a bundle and a report."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._parcels = write_parcel_study(folder / "study")
        super().__init__(server, folder)

    def words(self, folder: Path) -> list[str]:
        how = ("--network", "ridge", "--features", "fc", "--permutations", "19", "--nprocs", "2")
        return group_command(self._parcels, folder / "out", folder / "work", *how)[3:]


@pytest.fixture(scope="module", params=[Participants, Group])
def level(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Level:
    found: Level = request.param(server, tmp_path_factory.mktemp("undisturbed"))
    return found


@pytest.mark.parametrize("seed", ROUNDS)
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_random_moments_a_rerun_leaves_what_an_undisturbed_run_leaves(
    kill: signal.Signals, seed: int, level: Level, server: Server, tmp_path: Path
) -> None:
    rng = np.random.default_rng([seed, kill])
    words = level.words(tmp_path)
    n_killed = 0
    while n_killed < KILLS_IN_A_ROW:
        done = server.run(words, kill, float(rng.uniform(0.02, level.duration_s)))
        if done.code == 0:
            # It was quicker. Begin anew, as there is nothing left to be killed.
            require_same(tmp_path / "out", level.expected)
            for each in ("out", "work"):
                shutil.rmtree(tmp_path / each)
            continue
        n_killed += 1
        if kill is signal.SIGKILL:
            assert done.code == -kill, done.text
        else:
            assert done.code == 130, done.text
            assert done.text.splitlines()[-1] == LINE
            assert "Traceback" not in done.text
            assert "Error" not in done.text
    done = server.run(words)
    assert done.code == 0, done.text
    require_same(tmp_path / "out", level.expected)

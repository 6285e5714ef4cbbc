"""A SLURM that runs, asked by its own commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parcel_study import written
from small_study import Ended, fmmtc

PEOPLE = ("sub-01", "sub-02")
_SETTINGS = re.compile(rb"<summary>Settings of the last run.*?</details>", re.DOTALL)


@dataclass(frozen=True)
class Slurm:
    """A SLURM that runs."""

    environment: dict[str, str]

    def ask(self, *command: str | Path, **environment: str) -> str:
        """Run one of its commands, -> what it says."""
        done = subprocess.run(
            list(map(str, command)),
            env=os.environ | self.environment | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def jobs(self, state: str = "all") -> dict[str, int]:
        """List jobs, by name; of several the latest."""
        rows = self.ask("squeue", "--noheader", f"--states={state}", "--format=%A %j")
        pairs = [row.split() for row in rows.splitlines()]
        return {name: int(job) for job, name in sorted(pairs, key=lambda pair: int(pair[0]))}

    def about(self, job: int | str) -> dict[str, str]:
        """Read what the controller knows of a job."""
        words = self.ask("scontrol", "show", "job", "--oneliner", str(job)).split()
        return dict(word.partition("=")[::2] for word in words)

    def fmmtc(self, *words: str | Path) -> Ended:
        """Run the command to its end."""
        return fmmtc(*words, **self.environment)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, "-m", "fmmtc_bidsapp", *map(str, words)],
            env={**os.environ, "FMMTC_CACHE_DIR": "/nonexistent", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, name: str, state: str) -> int:
        """Wait for a job whose name begins so, -> its number."""
        return wait_for(
            lambda: next((job for n, job in self.jobs(state).items() if n.startswith(name)), None)
        )


def wait_for(look: Callable[[], int | None], patience_s: float = 200) -> int:
    until_s = time.monotonic() + patience_s
    while (found := look()) is None:
        assert time.monotonic() < until_s
        time.sleep(0.1)
    return found


def outcome(out: Path) -> dict[str, bytes]:
    """Read all results, but for what names times and places: logs, and the call in a report."""
    return {name: _SETTINGS.sub(b"", content) for name, content in written(out).items()}

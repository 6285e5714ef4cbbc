"""Queues that run on this machine, asked by their own commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from hpc_page import ROOT
from parcel_study import written
from small_study import Ended, fmmtc

PEOPLE = ("sub-01", "sub-02")
_SETTINGS = re.compile(rb"<summary>Settings of the last run.*?</details>", re.DOTALL)
SMALL = {"cores": 1, "memory": "2GB", "max_jobs": 2, "interface": "lo"}
"""What fits a machine of two processors, all of whose network is the loopback."""


@dataclass(frozen=True)
class Queue:
    """A queue that runs."""

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


@dataclass(frozen=True)
class Slurm(Queue):
    """A SLURM that runs."""

    def jobs(self, state: str = "PENDING,RUNNING,COMPLETING") -> list[int]:
        """List the numbers of jobs."""
        rows = self.ask("squeue", "--noheader", f"--states={state}", "--format=%A")
        return [int(row) for row in rows.split()]

    def about(self, job: int | str) -> dict[str, str]:
        """Read what the controller knows of a job."""
        words = self.ask("scontrol", "show", "job", "--oneliner", str(job)).split()
        return dict(word.partition("=")[::2] for word in words)


@dataclass(frozen=True)
class GridEngine(Queue):
    """A Grid Engine that runs."""

    def jobs(self) -> list[int]:
        """List the numbers of jobs that wait or run."""
        return [int(row.split()[0]) for row in self.ask("qstat").splitlines()[2:]]


def wait_for(look: Callable[[], bool], patience_s: float = 200) -> None:
    until_s = time.monotonic() + patience_s
    while not look():
        assert time.monotonic() < until_s
        time.sleep(0.1)


def write_plugin(name: str, path: Path, **more: object) -> Path:
    """Copy a plugin file that is documented, for a small machine."""
    documented = ROOT / "docs" / "plugins" / name
    content = yaml.safe_load(documented.read_text(encoding="utf-8"))
    content["plugin_args"] |= SMALL | more
    path.write_text(yaml.safe_dump(content))
    return path


def command(bids: Path, out: Path, atlas: Path, plugin: Path) -> list[str | Path]:
    work = out.with_name(f"{out.name}_work")
    return [bids, out, "participant", "--atlas", atlas, "-w", work, "--use-plugin", plugin]


def results(out: Path) -> dict[Path, int]:
    """List the results of nodes, and when they were written."""
    found = out.with_name(f"{out.name}_work").rglob("result_*.pklz")
    return {path: path.stat().st_mtime_ns for path in found}


def wait_for_result(out: Path, step: str) -> None:
    wait_for(lambda: any(step in path.parts for path in results(out)))


def outcome(out: Path) -> dict[str, bytes]:
    """Read all results, but for what names times and places: logs, and the call in a report."""
    return {name: _SETTINGS.sub(b"", content) for name, content in written(out).items()}

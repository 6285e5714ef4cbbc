"""Measure one callable in a process of its own: wall time, CPU time and peak memory.

``python benchmarks/measure.py FILE.py:FUNCTION ARGUMENT...`` is what the child runs. ``FUNCTION``
takes the arguments as text, does everything that should not be timed (imports, loading weights)
and returns the callable that is timed; what that one returns must fit into JSON.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Measurement", "machine", "markdown_table", "run_isolated", "spread"]


@dataclass(frozen=True)
class Measurement:
    """What one run of a callable cost, and what it returned."""

    wall_s: float
    cpu_s: float
    """User and system time, all threads; above ``wall_s`` where several cores were used."""
    peak_rss_mb: float
    """Highest resident memory of the process, its imports included (1 MB = 1e6 bytes)."""
    result: Any


def machine() -> str:
    """Return one line that says where and when a figure was taken."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    processor = names[0] if names else platform.machine()
    cores = len(os.sched_getaffinity(0))
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return f"{processor}, {cores} cores, Python {platform.python_version()}, {today}"


def run_isolated(
    target: str, arguments: Sequence[str], *, threads: int | None = None
) -> Measurement:
    """Run ``FILE.py:FUNCTION`` in a fresh process and measure the callable it returns."""
    limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    done = subprocess.run(
        [sys.executable, __file__, target, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **limits},
    )
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return ``median (lowest to highest)`` of repeated measurements."""
    low, middle, high = (
        f"{each:.{digits}f}" for each in (min(values), median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows that share their keys as a Markdown table."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([row[key] for key in header] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _load(target: str) -> Callable[..., Callable[[], Any]]:
    path, _, function = target.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    loaded: Callable[..., Callable[[], Any]] = getattr(module, function)
    return loaded


def _peak_rss_mb() -> float:
    # Not getrusage: the ru_maxrss of a child starts at what its parent held when it was forked.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    high_water = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(high_water.split()[1]) * 1024 / 1e6


def _measure(target: str, arguments: Sequence[str]) -> Measurement:
    timed = _load(target)(*arguments)
    wall, cpu = time.perf_counter(), time.process_time()
    result = timed()
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return Measurement(wall_s, cpu_s, _peak_rss_mb(), result)


if __name__ == "__main__":
    print(json.dumps(vars(_measure(sys.argv[1], sys.argv[2:]))))

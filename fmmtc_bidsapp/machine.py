"""Processors and memory that this process may use, as limited by containers and jobs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cores", "memory_bytes", "whole_cores"]

_PROC, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_MEMORY = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Limits that end a process and that slow it down, and the limit of cgroups version 1."""


def cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float:
    """Return the processors that this process may use, by its affinity and control groups.

    A quota may be part of a processor. `proc` lists the control groups of the process, which are
    mounted at `cgroups`, of either version.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [_quota(text) for text in _limits(proc, cgroups, "cpu", "cpu.max")]
    quotas += [
        _quota(f"{quota} {period}")
        for quota, period in zip(
            _limits(proc, cgroups, "cpu", "cpu.cfs_quota_us"),
            _limits(proc, cgroups, "cpu", "cpu.cfs_period_us"),
            strict=False,
        )
    ]
    return min([float(affinity or 1), *quotas])


def whole_cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the number of processes to run at once: 1 or more."""
    return max(1, math.floor(cores(proc, cgroups)))


def _quota(text: str) -> float:
    """Read microseconds of work in a period; ``max`` and -1 are no limit."""
    quota, _, period = text.partition(" ")
    if quota in ("max", "-1") or not (quota.isdigit() and period.isdigit() and int(period)):
        return math.inf
    return int(quota) / int(period)


def memory_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the memory that this process may take: the machine's, or the limit of its groups."""
    # Here, because --help must be instant and does not need it.
    import psutil

    limits = [
        int(text)
        for name in _MEMORY
        for text in _limits(proc, cgroups, "memory", name)
        if text.isdigit()
    ]
    return min([psutil.virtual_memory().total, *limits])


def _limits(proc: Path, cgroups: Path, controller: str, name: str) -> Iterator[str]:
    """Read a limit of the group of this process and of all groups above it, of either version."""
    for folder in _groups(proc, cgroups, controller):
        try:
            yield (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            # Of the other version, or not visible in a container.
            continue


def _groups(proc: Path, cgroups: Path, controller: str) -> Iterator[Path]:
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        root = cgroups if number == "0" else cgroups / controller
        group = root / path.lstrip("/")
        yield from (each for each in (group, *group.parents) if each.is_relative_to(root))

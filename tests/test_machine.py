"""What a process may use: of a job or a container, in groups of either version."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.main import plan_from
from fmmtc_bidsapp.engine import plugins
from fmmtc_bidsapp.engine.plugins import read_plugin
from fmmtc_bidsapp.machine import cores, memory_bytes, whole_cores
from fmmtc_bidsapp.plan import Resources


class Groups:
    """A tree of control groups, and what the kernel says of this process's own."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.root = folder / "self", folder / "groups"

    def write(self, own: str, limits: Mapping[str, str]) -> tuple[Path, Path]:
        self.proc.write_text(own)
        for name, text in limits.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return self.proc, self.root


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_a_limit_of_any_group_above_counts(groups: Groups) -> None:
    places = groups.write(
        "0::/job/step\n",
        {
            "job/step/memory.max": "max",
            "job/step/cpu.max": "max 100000",
            "job/memory.max": "1000000",
            "job/cpu.max": "250000 100000",
        },
    )
    assert memory_bytes(*places) == 1_000_000
    assert cores(*places) == min(2.5, len(os.sched_getaffinity(0)))


def test_groups_of_the_first_version_count_too(groups: Groups) -> None:
    places = groups.write(
        "4:memory:/job\n1:cpu,cpuacct:/job\n0::/\n",
        {
            "memory/job/memory.limit_in_bytes": "2000000",
            "cpu/job/cpu.cfs_quota_us": "-1",
            "cpu/job/cpu.cfs_period_us": "100000",
            "cpu/cpu.cfs_quota_us": "25000",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert memory_bytes(*places) == 2_000_000
    assert cores(*places) == 0.25


def test_in_a_container_the_group_itself_is_the_root(groups: Groups) -> None:
    # Of the first version the kernel still names the place outside, which is not to be seen.
    limits = {"memory/memory.limit_in_bytes": "3000000"}
    assert memory_bytes(*groups.write("4:memory:/docker/abc\n", limits)) == 3_000_000
    assert memory_bytes(*groups.write("0::/\n", {"memory.max": "4000000"})) == 4_000_000


def test_memory_beyond_which_a_group_is_slowed_down_is_not_planned_with(groups: Groups) -> None:
    limits = {"job/memory.max": "5000000", "job/memory.high": "4000000"}
    assert memory_bytes(*groups.write("0::/job\n", limits)) == 4_000_000


def test_limits_larger_than_the_machine_are_none(groups: Groups, tmp_path: Path) -> None:
    without = memory_bytes(tmp_path / "absent", tmp_path)
    limits = {"memory/job/memory.limit_in_bytes": "9223372036854771712"}
    assert memory_bytes(*groups.write("4:memory:/job\n", limits)) == without > 1e8


def test_a_part_of_a_processor_is_one_process(groups: Groups) -> None:
    assert whole_cores(*groups.write("0::/job\n", {"job/cpu.max": "50000 100000"})) == 1


def test_without_groups_the_affinity_is_the_limit(tmp_path: Path) -> None:
    assert cores(tmp_path / "absent", tmp_path) == len(os.sched_getaffinity(0))


def test_a_run_plans_with_nine_tenths_of_what_its_job_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "memory_bytes", lambda: 4_000_000_000)
    assert read_plugin(Resources(tmp_path)).arguments["memory_gb"] == pytest.approx(3.6)
    assert read_plugin(Resources(tmp_path, memory_gb=2.0)).arguments["memory_gb"] == 2


def test_as_many_processes_are_run_as_the_job_has_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fmmtc_bidsapp.cli.main.whole_cores", lambda: 3)
    assert plan_from(["in", "out", "participant"]).resources.n_procs == 3
    assert plan_from(["in", "out", "participant", "--nprocs", "5"]).resources.n_procs == 5

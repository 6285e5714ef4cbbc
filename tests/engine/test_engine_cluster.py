"""Nodes on workers of Dask that were started as users start them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dask_here import Dask, dask_here
from halving import HUNGRY, KILLED, Chains, Halve, HalveOnGpu, halved
from hpc_page import ROOT
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import (
    Task,
    new_workflow,
    node_file,
    release_workers,
    run_workflow,
    task,
)
from fmmtc_bidsapp.engine.cluster import preparation
from fmmtc_bidsapp.engine.cluster.connection import DaskWorkers
from fmmtc_bidsapp.errors import AppError, MissingResourceError, UsageError
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

Halved = Callable[[], list[int]]

WORKER_GB = 0.9
RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from halving import Halve
from nipype.pipeline import engine as pe
from fmmtc_bidsapp.engine import new_workflow, release_workers, run_workflow
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

base = Path(sys.argv[1])
resources = Resources(base / "work", scheduler_address=sys.argv[2])
plan = ParticipantPlan(base / "in", base / "out", "run", resources)
workflow = new_workflow("slow", plan, base / "crash")
for x in (4, 8, 12):
    halve = Halve(x=x, log=str(base / "log"), seconds=float(sys.argv[3]) * (x > 4))
    workflow.add_nodes([pe.Node(halve, name=f"halve_{{x}}", mem_gb=0.1)])
try:
    print(sorted(run_workflow(workflow, resources, title="slow").done))
finally:
    release_workers()
"""


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """Two workers of less than a gigabyte."""
    with dask_here(tmp_path_factory.mktemp("dask")) as dask:
        dask.add_workers(2, "--memory-limit", f"{WORKER_GB}GB")
        yield dask


@pytest.fixture
def resources(plan: ParticipantPlan, dask: Dask) -> Iterator[Resources]:
    yield replace(plan.resources, scheduler_address=str(dask.file))
    release_workers()


def test_workers_isolate_a_failure_as_processes_of_this_machine_do(
    plan: ParticipantPlan, resources: Resources, chains: Chains, halved: Halved
) -> None:
    results = run_workflow(chains([8, 5, 12], plan), resources, title="chains")
    assert [(each.node, each.error) for each in results.failures] == [("first_5", "InputError")]
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}
    assert halved() == [4, 6, 8, 12]
    # What is done is not done again, also where other workers did it.
    again = run_workflow(chains([8, 12], plan), resources, title="chains")
    assert again.done == results.done
    assert halved() == [4, 6, 8, 12]


def test_workers_import_before_their_first_node_what_its_task_calls(
    plan: ParticipantPlan,
    resources: Resources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported: list[set[str]] = []
    prepare = DaskWorkers.prepare

    def noted(self: DaskWorkers, modules: set[str]) -> None:
        imported.append(modules)
        prepare(self, modules)

    monkeypatch.setattr(DaskWorkers, "prepare", noted)
    workflow = new_workflow("tasks", plan, tmp_path / "crash")
    workflow.add_nodes([task("halve", Task(halved, options={"number": 8}), memory_gb=0.1)])
    assert run_workflow(workflow, resources, title="tasks").done == {"halve"}
    assert imported == [{"halving"}]
    assert node_file(workflow, "halve", "half.txt").read_text() == "4"


@pytest.mark.timeout(240)
def test_nodes_that_end_their_worker_are_named_and_their_neighbours_finish(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = [KILLED, 8, HUNGRY, *range(12, 60, 4)]
    results = run_workflow(chains(numbers, plan), resources, title="chains")
    killed, hungry = sorted(results.failures, key=lambda each: each.node)
    assert (killed.node, hungry.node) == (f"first_{KILLED}", f"first_{HUNGRY}")
    assert killed.error == hungry.error == "AppError"
    assert "its worker was killed" in killed.message
    assert "a job that was cancelled" in killed.message
    assert f"may take {WORKER_GB}" in hungry.message
    assert "--memory-limit" in hungry.message
    fine = [each for each in numbers if each not in (KILLED, HUNGRY)]
    assert results.done == {f"{which}_{x}" for x in fine for which in ("first", "second")}
    # A node and the program are more than these workers have.
    assert f"more than the {WORKER_GB} GB of the largest worker" in capsys.readouterr().out


@pytest.mark.slow
def test_the_end_of_a_worker_is_not_taken_for_that_of_an_earlier_one_at_its_address(
    plan: ParticipantPlan, chains: Chains, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with dask_here(tmp_path) as dask:
        dask.add_workers(1, "--memory-limit", f"{WORKER_GB}GB", "--worker-port", str(port))
        resources = replace(plan.resources, scheduler_address=dask.address)
        results = run_workflow(chains([HUNGRY, KILLED], plan), resources, title="chains")
        release_workers()
    killed, hungry = sorted(results.failures, key=lambda each: each.node)
    assert "a job that was cancelled" in killed.message
    assert f"may take {WORKER_GB}" in hungry.message


def test_a_step_for_a_gpu_is_refused_where_no_worker_has_one(
    plan: ParticipantPlan, resources: Resources, log: Path, tmp_path: Path
) -> None:
    workflow = new_workflow("gpu", plan, tmp_path / "crash")
    workflow.add_nodes([pe.Node(HalveOnGpu(x=8, log=str(log)), name="halve", mem_gb=0.1)])
    with pytest.raises(UsageError, match=r"halve needs a GPU.*--gres=gpu:1"):
        run_workflow(workflow, resources, title="gpu")


def test_workers_of_other_versions_are_an_error_that_names_them(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = preparation.own_versions() | {"numpy": "0.1", "fmmtc_bidsapp": "99.9"}
    monkeypatch.setattr(preparation, "own_versions", lambda: here)
    with pytest.raises(UsageError, match=r"fmmtc_bidsapp .* \(here 99.9\), numpy .* \(here 0.1\)"):
        run_workflow(chains([8], plan), resources, title="chains")


def test_a_work_directory_that_workers_do_not_see_is_an_error(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = "/nonexistent/on/the/worker"
    begin = preparation.Preparation.__init__

    def elsewhere_too(self: Any, *arguments: Any) -> None:
        begin(self, *arguments[:-1], Path(elsewhere))

    monkeypatch.setattr(preparation.Preparation, "__init__", elsewhere_too)
    with pytest.raises(UsageError, match=f"does not see the work directory {elsewhere}"):
        run_workflow(chains([8], plan), resources, title="chains")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_node_of_a_run_that_is_gone_ends_at_once_and_a_second_run_goes_on(
    dask: Dask, tmp_path: Path, number: signal.Signals
) -> None:
    def start(seconds: float) -> subprocess.Popen[str]:
        script = RUN.format(tests=str(ROOT / "tests"))
        return subprocess.Popen(
            [sys.executable, "-c", script, tmp_path, dask.address, str(seconds)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def halved() -> list[int]:
        lines = (tmp_path / "log").read_text().splitlines()
        return [int(line.split()[0]) for line in lines]

    def wait_until(check: Callable[[], bool]) -> None:
        until_s = time.monotonic() + 60
        while not check():
            assert time.monotonic() < until_s, dask.log("worker")
            time.sleep(0.1)

    n_lines = len(dask.log("worker"))
    process = start(600.0)
    for x in (8, 12):
        said = f'Executing "halve_{x}"'
        wait_until(lambda said=said: said in dask.log("worker")[n_lines:])  # type: ignore[misc]
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    # Without the end of both nodes no worker would be free in time.
    again = start(0.0)
    out, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert out.splitlines()[-1] == "['halve_12', 'halve_4', 'halve_8']"
    assert sorted(halved()) == [4, 8, 12]


def test_a_scheduler_that_does_not_answer_is_named(
    plan: ParticipantPlan, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmmtc_bidsapp.engine.cluster.connection._CONNECT_S", 1.0)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        resources = replace(plan.resources, scheduler_address=address)
        with pytest.raises(MissingResourceError, match=f"No Dask scheduler answers at {address}"):
            run_workflow(chains([8], plan), resources, title="chains")


@pytest.mark.slow
def test_a_scheduler_that_is_lost_ends_the_run_with_a_sentence(
    plan: ParticipantPlan, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask_here(tmp_path) as dask:
        dask.add_workers(1)
        resources = replace(plan.resources, scheduler_address=dask.address)
        workflow = new_workflow("slow", plan, tmp_path / "crash")
        halve = Halve(x=8, log=str(log), seconds=600.0)
        workflow.add_nodes([pe.Node(halve, name="halve", mem_gb=0.1)])
        scheduler = dask._processes[0]
        submit = "fmmtc_bidsapp.engine.cluster.plugin.DaskPlugin._get_result"
        looks = []

        def kill_at_the_tenth_look(*_: Any) -> None:
            looks.append(1)
            if len(looks) == 10:
                scheduler.kill()

        monkeypatch.setattr(submit, kill_at_the_tenth_look)
        with pytest.raises(AppError, match="The Dask scheduler is gone"):
            run_workflow(workflow, resources, title="slow")
        release_workers()


def test_a_run_on_this_machine_imports_nothing_of_dask(tmp_path: Path) -> None:
    check = RUN.format(tests=str(ROOT / "tests")).replace(
        "scheduler_address=sys.argv[2]", "n_procs=1"
    )
    check += "print(sorted({'dask', 'dask_jobqueue', 'distributed'} & set(sys.modules)))\n"
    done = subprocess.run(
        [sys.executable, "-c", check, tmp_path, "none", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("tcp://127.0.0.1", "give tcp://HOST:PORT"),
        ("http://127.0.0.1:8786", "is not an address of a Dask scheduler"),
        ("inproc://127.0.0.1/1/2", "is not an address of a Dask scheduler"),
        ("/nonexistent/scheduler.json", "neither tcp://HOST:PORT nor a file"),
    ],
)
def test_what_is_no_address_is_refused(
    plan: ParticipantPlan, chains: Chains, content: str, words: str
) -> None:
    resources = replace(plan.resources, scheduler_address=content)
    with pytest.raises(UsageError, match=words):
        run_workflow(chains([8], plan), resources, title="chains")


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:1", ["tcp://127.0.0.1:1"]])
def test_a_scheduler_file_without_an_address_is_refused(
    plan: ParticipantPlan, chains: Chains, tmp_path: Path, address: Any
) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": address}))
    resources = replace(plan.resources, scheduler_address=str(path))
    with pytest.raises(UsageError, match="names no address"):
        run_workflow(chains([8], plan), resources, title="chains")

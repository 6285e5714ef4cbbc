"""The engine: one failure isolated, crash files read, the documented exit codes."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import (
    Outcome,
    error_code,
    exit_code,
    new_workflow,
    print_outcomes,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError, OutputError
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

KILLED = 666


class _In(BaseInterfaceInputSpec):
    x = traits.Int(mandatory=True)
    log = traits.Str(mandatory=True, hash_files=False)


class _Out(TraitedSpec):
    x = traits.Int()


class Halve(SimpleInterface):
    """Halve an even number; odd ones are bad input."""

    input_spec = _In
    output_spec = _Out

    def _run_interface(self, runtime: Any) -> Any:
        if self.inputs.x == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.inputs.x % 2:
            raise InputError(f"{self.inputs.x} is odd: found an odd number.\nGive an even one.")
        with Path(self.inputs.log).open("a") as log:
            log.write(f"{self.inputs.x}\n")
        self._results["x"] = self.inputs.x // 2
        return runtime


@pytest.fixture
def plan(tmp_path: Path) -> ParticipantPlan:
    resources = Resources(work_dir=tmp_path / "work", n_procs=2)
    return ParticipantPlan(tmp_path / "in", tmp_path / "out", "run", resources)


def _chains(numbers: list[int], plan: ParticipantPlan, log: Path) -> Any:
    workflow = new_workflow("chains", plan, log.parent / "crash")
    for number in numbers:
        first = pe.Node(Halve(x=number, log=str(log)), name=f"first_{number}")
        second = pe.Node(Halve(log=str(log)), name=f"second_{number}")
        workflow.connect(first, "x", second, "x")
    return workflow


def test_one_failure_stops_nothing_but_what_depends_on_it(
    plan: ParticipantPlan, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    results = run_workflow(_chains([8, 5, 12], plan, log), plan.resources, title="chains")
    failures = results.failures
    assert [(each.node, each.error) for each in failures] == [("first_5", "InputError")]
    assert failures[0].message == "5 is odd: found an odd number. Give an even one."
    assert failures[0].crash_file.exists()
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}
    assert sorted(map(int, log.read_text().split())) == [4, 6, 8, 12]


def test_a_second_run_repeats_only_what_failed(plan: ParticipantPlan, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_workflow(_chains([8], plan, log), plan.resources, title="chains")
    results = run_workflow(_chains([8, 12], plan, log), plan.resources, title="chains")
    assert sorted(map(int, log.read_text().split())) == [4, 6, 8, 12]
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}


def test_a_killed_worker_is_a_failure_and_the_others_finish(
    plan: ParticipantPlan, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    one_by_one = replace(plan.resources, n_procs=1)
    results = run_workflow(_chains([8, KILLED, 12], plan, log), one_by_one, title="chains")
    assert [each.node for each in results.failures] == [f"first_{KILLED}"]
    assert "killed" in results.failures[0].message
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}


def test_the_first_crash_can_stop_the_rest_which_is_then_not_done(
    plan: ParticipantPlan, tmp_path: Path
) -> None:
    stop = replace(plan.resources, n_procs=1, stop_on_first_crash=True)
    plan = replace(plan, resources=stop)
    results = run_workflow(_chains([5, 8, 12], plan, tmp_path / "log"), stop, title="chains")
    assert [each.node for each in results.failures] == ["first_5"]
    assert not results.done & {"second_8", "second_12"}


def test_another_dataset_in_the_same_work_directory_has_a_workspace_of_its_own(
    plan: ParticipantPlan, tmp_path: Path
) -> None:
    other = replace(plan, bids_dir=tmp_path / "in2")
    assert other.workspace != plan.workspace
    assert replace(plan, run_id="again").workspace == plan.workspace


def test_a_work_directory_that_cannot_be_made_is_an_error_that_names_the_flag(
    plan: ParticipantPlan, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    broken = replace(plan, resources=replace(plan.resources, work_dir=tmp_path / "file" / "w"))
    with pytest.raises(OutputError, match="--work-dir"):
        new_workflow("chains", broken, tmp_path)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([0, 65], 1), ([65, 65], 65), ([73, 73], 73), ([65, 73], 73), ([], 0)],
)
def test_the_exit_code_says_whether_anyone_finished(codes: list[int], expected: int) -> None:
    outcomes = [
        Outcome(str(i), "failed" if code else "done", code=code) for i, code in enumerate(codes)
    ]
    assert exit_code(outcomes) == expected


def test_an_exception_that_is_not_ours_is_a_fault_of_ours() -> None:
    assert error_code("InputError") == 65
    assert error_code("ZeroDivisionError") == 70
    assert error_code("PermissionError") == 73


def test_the_closing_table_is_plain_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes([Outcome("sub-01", "skipped", "no [bold] image")], title="End")
    assert capsys.readouterr().out == "End\n  sub-01: skipped: no [bold] image\n"


def test_a_second_run_in_the_same_workspace_waits_for_the_first(
    plan: ParticipantPlan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workflow = _chains([8], plan, tmp_path / "log")
    held, done = threading.Event(), threading.Event()

    def first_run() -> None:
        with FileLock(plan.workspace / "chains.lock"):
            held.set()
            done.wait(0.5)

    threading.Thread(target=first_run).start()
    held.wait()
    results = run_workflow(workflow, plan.resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert "waiting for it" in capfd.readouterr().out

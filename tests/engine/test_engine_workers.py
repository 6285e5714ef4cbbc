"""Workers: an end that is always noticed, whether of Ctrl-C or of a limit of the system."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from halving import Chains, Halve
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow, run_workflow
from fmmtc_bidsapp.errors import SystemLimitError
from fmmtc_bidsapp.interrupts import noting_interrupts
from fmmtc_bidsapp.plan import ParticipantPlan


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let Ctrl-C raise as in a command, and give pytest its own back afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _slow(plan: ParticipantPlan, log: Path, crash_dir: Path) -> Any:
    workflow = new_workflow("slow", plan, crash_dir)
    halve = Halve(x=8, log=str(log), seconds=600.0)
    workflow.add_nodes([pe.Node(halve, name="first", mem_gb=0.1)])
    return workflow


def _children() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [each for each in found if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.usefixtures("interrupts")
def test_a_ctrl_c_that_is_swallowed_still_ends_the_loop_and_the_workers_with_it(
    plan: ParticipantPlan, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow, before = _slow(plan, log, tmp_path / "crash"), _children()
    swallowed = []

    def swallow(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            swallowed.append(len(_children()) - len(before))

    # What is called, as a library might, when a node begins.
    monkeypatch.setattr("fmmtc_bidsapp.engine.progress.NodeProgress.__call__", swallow)
    with pytest.raises(KeyboardInterrupt), noting_interrupts():
        run_workflow(workflow, plan.resources, title="slow")
    assert swallowed
    _, alive = psutil.wait_procs([each for each in _children() if each not in before], timeout=10)
    assert alive == []


def test_workers_leave_ctrl_c_to_the_run_that_they_work_for(
    plan: ParticipantPlan, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGINT)"

    def interrupted(self: Any, runtime: Any) -> Any:
        subprocess.run([sys.executable, "-c", kill], check=True)
        time.sleep(0.2)
        self._results["x"] = 4
        return runtime

    monkeypatch.setattr(Halve, "_run_interface", interrupted)
    results = run_workflow(chains([8], plan), plan.resources, title="chains")
    assert results.failures == ()
    assert results.done == {"first_8", "second_8"}


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
@pytest.mark.parametrize("allowed", [0, 1])
def test_a_process_that_the_system_refuses_ends_the_run_with_a_sentence(
    number: int,
    allowed: int,
    plan: ParticipantPlan,
    chains: Chains,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork = _refusing(os.fork, allowed, OSError(number, os.strerror(number)))
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(SystemLimitError, match=r"refused a process.*--nprocs.*ulimit"):
        run_workflow(chains([8, 12], plan), plan.resources, title="chains")
    _require_an_end()


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_thread_that_the_system_refuses_ends_the_run_with_a_sentence(
    allowed: int, plan: ParticipantPlan, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Thread.start
    main, left = os.getpid(), [allowed]

    def refuse(thread: threading.Thread) -> None:
        if os.getpid() == main:
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(SystemLimitError, match="refused a thread"):
        run_workflow(chains([8, 12], plan), plan.resources, title="chains")
    _require_an_end()


def _refusing(function: Callable[[], int], allowed: int, error: OSError) -> Callable[[], int]:
    left = [allowed]

    def refuse() -> int:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return function()

    return refuse


def _require_an_end() -> None:
    """Python waits for threads at its end: none may be left that waits for what never comes."""
    until_s = time.monotonic() + 10
    while _waiting() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert _waiting() == []


def _waiting() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if "ExecutorManager" in type(each).__name__]

"""A workflow to its end: one failure isolated, batches, memory, what is written on request."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from halving import KILLED, Chains, Halve
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow, run_in_batches, run_workflow
from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.plan import ParticipantPlan

Halved = Callable[[], list[int]]


def test_one_failure_stops_nothing_but_what_depends_on_it(
    plan: ParticipantPlan, chains: Chains, halved: Halved
) -> None:
    results = run_workflow(chains([8, 5, 12], plan), plan.resources, title="chains")
    failures = results.failures
    assert [(each.node, each.error) for each in failures] == [("first_5", "InputError")]
    assert failures[0].message == "5 is odd: found an odd number. Give an even one."
    assert failures[0].crash_file.exists()
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}
    assert halved() == [4, 6, 8, 12]


def test_a_second_run_repeats_only_what_failed(
    plan: ParticipantPlan, chains: Chains, halved: Halved
) -> None:
    run_workflow(chains([8], plan), plan.resources, title="chains")
    results = run_workflow(chains([8, 12], plan), plan.resources, title="chains")
    assert halved() == [4, 6, 8, 12]
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}


@pytest.mark.parametrize("n_procs", [1, 3])
def test_a_killed_worker_is_a_failure_and_the_others_finish(
    n_procs: int, plan: ParticipantPlan, chains: Chains
) -> None:
    # All that run beside it are lost with it: they are done again.
    resources = replace(plan.resources, n_procs=n_procs)
    results = run_workflow(chains([8, KILLED, 12], plan), resources, title="chains")
    assert [each.node for each in results.failures] == [f"first_{KILLED}"]
    assert "killed" in results.failures[0].message
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}


def test_a_result_that_could_not_be_written_is_a_failure_with_the_reason(
    plan: ParticipantPlan, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(filename: str, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nipype.pipeline.engine.utils.savepkl", full)
    results = run_workflow(chains([8], plan), plan.resources, title="chains")
    (failure,) = results.failures
    assert (failure.node, failure.error) == ("first_8", "OSError")
    assert "No space left on device" in failure.message
    assert str(plan.workspace / "chains" / "first_8") in failure.message


def test_a_crash_file_that_cannot_be_written_for_want_of_room_is_an_output_error(
    plan: ParticipantPlan, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nipype.pipeline.plugins.tools.crash2txt", full)
    with pytest.raises(OutputError, match=r"No space left on device.*--work-dir"):
        run_workflow(chains([5], plan), plan.resources, title="chains")


def test_the_first_crash_can_stop_the_rest_which_is_then_not_done(
    plan: ParticipantPlan, chains: Chains
) -> None:
    stop = replace(plan.resources, n_procs=1, stop_on_first_crash=True)
    plan = replace(plan, resources=stop)
    results = run_workflow(chains([5, 8, 12], plan), stop, title="chains")
    assert [each.node for each in results.failures] == ["first_5"]
    assert not results.done & {"second_8", "second_12"}


def test_batches_are_built_in_turn_and_add_up_to_what_one_graph_gives(
    plan: ParticipantPlan, chains: Chains, halved: Halved
) -> None:
    built: list[tuple[int, int]] = []

    def build(batch: Sequence[int]) -> Any:
        built.append((len(batch), len(halved()) if built else 0))
        return chains(batch, plan)

    results = run_in_batches([8, 5, 12, 16, 20], build, plan.resources, title="chains", size=2)
    assert built == [(2, 0), (2, 2), (1, 6)]
    assert [each.node for each in results.failures] == ["first_5"]
    assert results.done == {
        f"{place}_{n}" for place in ("first", "second") for n in (8, 12, 16, 20)
    }


def test_no_batch_follows_one_with_a_failure_when_the_first_crash_is_to_stop_all(
    plan: ParticipantPlan, chains: Chains
) -> None:
    stop = replace(plan.resources, stop_on_first_crash=True)
    plan = replace(plan, resources=stop)

    def build(batch: Sequence[int]) -> Any:
        return chains(batch, plan)

    results = run_in_batches([5, 8], build, stop, title="chains", size=1)
    assert [each.node for each in results.failures] == ["first_5"]
    assert not results.done


def test_nothing_to_do_is_done_at_once(plan: ParticipantPlan, chains: Chains) -> None:
    results = run_in_batches([], lambda batch: chains(batch, plan), plan.resources, title="none")
    assert (results.done, results.failures) == (frozenset(), ())


def test_a_log_has_a_line_for_every_tenth_over_all_batches(
    plan: ParticipantPlan, chains: Chains, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = list(range(8, 8 + 4 * 15, 4))
    run_in_batches(numbers, lambda batch: chains(batch, plan), plan.resources, title="runs", size=5)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("runs:")]
    assert len(lines) == 10
    assert lines[-1] == "runs: 30 of 30 steps"
    assert all("of 30 steps" in line for line in lines)


def test_nodes_that_do_not_fit_in_memory_together_run_one_after_the_other(
    plan: ParticipantPlan, log: Path, tmp_path: Path
) -> None:
    workflow = new_workflow("memory", plan, tmp_path / "crash")
    for number in (8, 12):
        node = Halve(x=number, log=str(log), seconds=0.2)
        workflow.add_nodes([pe.Node(node, name=f"n_{number}", mem_gb=0.6)])
    run_workflow(workflow, replace(plan.resources, memory_gb=1.0), title="memory")
    (_, _, end), (_, start, _) = (map(float, line.split()) for line in log.read_text().splitlines())
    assert start > end


def test_a_node_larger_than_the_memory_is_said_and_runs_all_the_same(
    plan: ParticipantPlan, chains: Chains, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(plan.resources, memory_gb=0.5)
    results = run_workflow(chains([8], plan, mem_gb=3.0), small, title="chains")
    assert results.done == {"first_8", "second_8"}
    said = [line for line in capsys.readouterr().out.splitlines() if "runs alone" in line]
    assert len(said) == 1
    assert "3.0 GB" in said[0]
    assert "0.5 GB" in said[0]


def test_a_second_run_in_the_same_workspace_waits_for_the_first(
    plan: ParticipantPlan, chains: Chains, capfd: pytest.CaptureFixture[str]
) -> None:
    workflow = chains([8], plan)
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


def test_the_graph_is_drawn_where_it_says(
    plan: ParticipantPlan,
    chains: Chains,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")  # without graphviz
    drawn = replace(plan.resources, write_graph=True)
    run_workflow(chains([8], plan), drawn, title="chains")
    graph = plan.workspace / "chains" / "graph.dot"
    assert f"Graph: {graph}" in capsys.readouterr().out
    assert "first_8" in graph.read_text()


def test_the_resource_monitor_leaves_samples_of_every_node_also_after_a_failure(
    plan: ParticipantPlan, chains: Chains
) -> None:
    pytest.importorskip("psutil", reason="the resource monitor needs psutil")
    watched = replace(plan.resources, resource_monitor=True)
    run_workflow(chains([8, 5], plan), watched, title="chains")
    samples = json.loads((plan.workspace / "chains" / "resource_monitor.json").read_text())
    assert {"chains.first_8", "chains.second_8"} <= set(samples["name"])
    assert min(samples["rss_GiB"]) > 0

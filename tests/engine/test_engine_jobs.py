"""Nodes as jobs of a queue, by stand-ins for its commands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from halving import Chains
from hpc_page import ROOT

from fmmtc_bidsapp.engine import check_resources, jobs, plugins, queues, run_workflow, schedulers
from fmmtc_bidsapp.errors import AppError, UsageError
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

Halved = Callable[[], list[int]]

# Each writes down how it was called, and holds the queue in a file: number and state of each job.
NEXT = 'echo "$0 $*" >>calls; job=$(($(wc -l <queue) + 1)); '
RUN = NEXT + 'bash "${@: -1}"; echo "$job COMPLETED" >>queue; '
SUBMITTED = 'echo "Submitted batch job $job"'
SBATCH = RUN + SUBMITTED
LOST = NEXT + 'echo "$job STATE" >>queue; ' + SUBMITTED
SQUEUE = "cat queue"
SCANCEL = 'echo "$0 $*" >>calls; sed -i "s/^$1 .*/$1 CANCELLED/" queue'
QSUBS = {
    "sge": {
        "qsub": RUN + 'echo "Your job $job (its name) has been submitted"',
        "qstat": "echo job-ID prior name",
    },
    "pbs": {
        "qsub": RUN + "echo $job.server",
        "qstat": 'echo "qstat: $2 Job has finished" >&2; exit 35',
    },
}


class Queue:
    """Stand-ins in a folder that comes first on the PATH, and what they wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "queue"
        self.state.touch()

    def has(self, **commands: str) -> None:
        for name, script in commands.items():
            path = self.folder / name
            path.write_text(f"#!/bin/bash\ncd {self.folder}\n{script}\n")
            path.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [[Path(line.split()[0]).name, *line.split()[1:]] for line in lines]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    # Jobs import what this process finds.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "tests"), str(ROOT))))
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setattr(plugins, "_QUEUE_POLL_S", 0.05)
    monkeypatch.setattr(queues, "_FRESH_S", 0.02)
    monkeypatch.setattr(jobs, "_WAIT_S", 0.02)
    monkeypatch.setattr(jobs, "_DISK_S", 0.3)
    return Queue(folder)


@pytest.fixture
def resources(plan: ParticipantPlan, tmp_path: Path) -> Resources:
    return replace(plan.resources, plugin_file=tmp_path / "plugin.yml")


def _write(resources: Resources, text: str) -> None:
    assert resources.plugin_file is not None
    resources.plugin_file.write_text(text)


def test_a_job_asks_for_what_the_plugin_file_leaves_out(
    plan: ParticipantPlan, resources: Resources, chains: Chains, halved: Halved, queue: Queue
) -> None:
    queue.has(sbatch=SBATCH, squeue=SQUEUE)
    _write(resources, "plugin: SLURM\nplugin_args: {sbatch_args: --partition=long -c 3}")
    results = run_workflow(chains([8], plan, 0.5), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert halved() == [4, 8]
    first, second = queue.calls
    assert first[:5] == ["sbatch", "--partition=long", "-c", "3", "--mem=1500M"]
    assert not any("cpus" in word for word in first)
    names = [call[call.index("-J") + 1] for call in (first, second)]
    assert names[1].startswith("second_8.chains.")
    # So that a job can be looked for by its name.
    assert all(re.search(r"\.[0-9a-f]{8}$", name) for name in names)
    assert not list(plan.workspace.rglob("*.job"))


def test_what_the_file_asks_for_is_left_as_it_is(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue
) -> None:
    queue.has(sbatch=LOST.replace("STATE", "FAILED"), squeue=SQUEUE)
    _write(resources, "plugin: SLURM\nplugin_args: {sbatch_args: --mem-per-cpu=4G}")
    run_workflow(chains([8], plan), resources, title="chains")
    ((_, *words),) = queue.calls
    assert words[:2] == ["--mem-per-cpu=4G", "--cpus-per-task=1"]
    assert not any(word.startswith("--mem=") for word in words)


def test_a_job_that_met_a_limit_is_named_with_its_state_and_its_log(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue
) -> None:
    log = plan.workspace / "chains" / "batch" / "slurm-1.out"
    queue.has(sbatch=f"touch {log}\n" + LOST.replace("STATE", "TIMEOUT"), squeue=SQUEUE)
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == set()
    (failure,) = results.failures
    assert (failure.node, failure.error) == ("first_8", "AppError")
    assert "first_8: job 1 left the queue as TIMEOUT without a result" in failure.message
    assert failure.message.endswith(f"What it said: {log}")


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED"])
def test_a_result_of_an_earlier_run_is_not_taken_for_that_of_a_lost_job(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue, state: str
) -> None:
    workflow = chains([8], plan)
    for name in ("first_8", "second_8"):
        workflow.get_node(name).overwrite = True
    run_workflow(workflow, plan.resources, title="chains")
    queue.has(sbatch=LOST.replace("STATE", state), squeue=SQUEUE)
    _write(resources, "plugin: SLURM")
    results = run_workflow(workflow, resources, title="chains")
    assert results.done == set()
    assert [each.node for each in results.failures] == ["first_8"]


def test_a_queue_that_does_not_answer_is_waited_for(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    queue: Queue,
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = 'if [ ! -e "asked" ]; then touch asked; echo "no controller" >&2; exit 1; fi\n'
    queue.has(sbatch=SBATCH, squeue=silent + SQUEUE)
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert "squeue does not answer (no controller); waiting." in capsys.readouterr().out


def test_a_refused_job_ends_the_run_in_the_words_of_sbatch_and_the_others_are_cancelled(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue
) -> None:
    running = LOST.replace("STATE", "RUNNING")
    refuse = '[ -s queue ] && echo "sbatch: error: too many jobs" >&2 && exit 1\n'
    queue.has(sbatch=refuse + running, squeue=SQUEUE, scancel=SCANCEL)
    _write(resources, "plugin: SLURM\nplugin_args: {retry_timeout: 0}")
    with pytest.raises(UsageError, match=r"\d: sbatch: error: too many jobs\. Change"):
        run_workflow(chains([8, 6], plan), resources, title="chains")
    assert queue.calls[-1] == ["scancel", "1"]


def test_a_job_that_a_killed_run_left_in_the_queue_is_cancelled_first(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue, halved: Halved
) -> None:
    queue.has(sbatch=SBATCH, squeue=SQUEUE, scancel=SCANCEL)
    queue.state.write_text("1 RUNNING\n")
    note = plan.workspace / "chains" / "first_8.job"
    note.parent.mkdir(parents=True)
    note.write_text("1")
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert [call[0] for call in queue.calls] == ["scancel", "sbatch", "sbatch"]
    assert queue.calls[0] == ["scancel", "1"]
    assert halved() == [4, 8]


@pytest.mark.parametrize(("name", "commands"), QSUBS.items())
def test_the_documented_files_for_qsub_hand_every_argument_over(
    plan: ParticipantPlan,
    chains: Chains,
    queue: Queue,
    halved: Halved,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    commands: dict[str, str],
) -> None:
    queue.has(**commands)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    file = ROOT / "docs" / "plugins" / f"{name}.yml"
    results = run_workflow(
        chains([8], plan), replace(plan.resources, plugin_file=file), title="chains"
    )
    assert results.done == {"first_8", "second_8"}
    assert halved() == [4, 8]
    wanted = yaml.safe_load(file.read_text())["plugin_args"]["qsub_args"].split()
    assert [call[1 : len(wanted) + 1] for call in queue.calls] == [wanted, wanted]
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("name", "submit"), [("SLURM", "sbatch"), ("SGE", "qsub"), ("PBS", "qsub")]
)
def test_without_the_command_that_submits_nothing_is_begun(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, name: str, submit: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    _write(resources, f"plugin: {name}")
    with pytest.raises(UsageError, match=f"{submit}, which is not on the PATH"):
        check_resources(resources)


def test_an_argument_that_would_be_ignored_is_refused(resources: Resources, queue: Queue) -> None:
    queue.has(sbatch=SBATCH)
    _write(resources, "plugin: SLURM\nplugin_args: {sbatch_args: --mem=1G, max_jobs: 2}")
    check_resources(resources)
    for wrong in ("sbatch_arg", "qsub_args", "n_procs", "memory_gb"):
        _write(resources, f"plugin: SLURM\nplugin_args: {{{wrong}: 1}}")
        with pytest.raises(UsageError, match=f"does not read {wrong}.*it reads sbatch_args"):
            check_resources(resources)


# Jobs that the queue loses sight of ---------------------------------------------------------------


# $n is how often the queue has been asked; a job waits until it is run.
FEW_ASK = "n=$(cat asked 2>/dev/null || echo 0); echo $((n + 1)) >asked; "
LATE = NEXT + 'echo "$job" >>queue; echo "${@: -1}" >scripts_$job; ' + SUBMITTED
RUN_LATE = (
    'for s in scripts_*; do [ -e "$s" ] && bash "$(cat $s)" && mv $s ran_${s#scripts_}; done; '
)


def test_a_job_that_one_listing_misses_is_waited_for(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    queue: Queue,
    halved: Halved,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "_DISK_S", 0.5)
    # The second look finds nothing, as of a controller that starts anew; a second later it runs.
    listing = (
        FEW_ASK + 'if [ "$n" = 1 ]; then exit 0; fi; if [ "$n" -gt 30 ]; then '
        f'{RUN_LATE} sed "s/$/ COMPLETED/" queue; else sed "s/$/ PENDING/" queue; fi'
    )
    queue.has(sbatch=LATE, squeue=listing, scancel=SCANCEL)
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert [call[0] for call in queue.calls] == ["sbatch", "sbatch"]
    assert halved() == [4, 8]


def test_a_job_that_is_given_up_is_cancelled_and_remembered(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue
) -> None:
    queue.has(sbatch=LATE, squeue="true", scancel=SCANCEL)
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    (failure,) = results.failures
    assert "first_8: job 1 left the queue without a result" in failure.message
    # Of a job that merely left no limit is known.
    assert "limit" not in failure.message
    assert queue.calls[-1] == ["scancel", "1"]
    assert (plan.workspace / "chains" / "first_8.job").read_text() == "1"


def test_a_note_of_a_job_that_was_cut_short_is_none(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue
) -> None:
    queue.has(sbatch=SBATCH, squeue=SQUEUE, scancel=SCANCEL)
    note = plan.workspace / "chains" / "first_8.job"
    note.parent.mkdir(parents=True)
    note.write_text("")
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert [call[0] for call in queue.calls] == ["sbatch", "sbatch"]


NAMED = 'for ((i = 1; i < $#; i++)); do [ "${!i}" = -J ] && j=$((i + 1)) && name=${!j}; done; '
TIMED_OUT = 'echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1'


def test_a_job_that_sbatch_took_without_a_word_is_not_submitted_again(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue, halved: Halved
) -> None:
    run = RUN.replace("COMPLETED", "COMPLETED $name None")
    queue.has(sbatch=NAMED + run + TIMED_OUT, squeue=SQUEUE)
    _write(resources, "plugin: SLURM\nplugin_args: {retry_timeout: 0}")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert [call[0] for call in queue.calls] == ["sbatch", "sbatch"]
    assert halved() == [4, 8]


def test_a_job_that_sbatch_did_not_take_in_time_is_submitted_again(
    plan: ParticipantPlan, resources: Resources, chains: Chains, queue: Queue, halved: Halved
) -> None:
    once = f"if [ ! -e tried ]; then touch tried; {TIMED_OUT}; fi\n"
    queue.has(sbatch=once + SBATCH, squeue=SQUEUE)
    _write(resources, "plugin: SLURM\nplugin_args: {retry_timeout: 0}")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    assert halved() == [4, 8]


def test_where_no_job_can_be_found_by_name_one_in_doubt_ends_the_run(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedulers, "_ANSWER_S", 0.3)
    queue.has(qsub=NEXT + "exec sleep 5")
    _write(resources, "plugin: PBS\nplugin_args: {retry_timeout: 0}")
    with pytest.raises(AppError, match=r"did not say in time .* named first_8\.chains"):
        run_workflow(chains([8], plan), resources, title="chains")
    assert len(queue.calls) == 1


def test_a_job_that_could_not_load_its_step_is_told_with_its_own_error(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The error is there at once, whatever time a result may take.
    monkeypatch.setattr(jobs, "_DISK_S", 600.0)
    elsewhere = RUN.replace("bash", "PYTHONPATH= bash")
    queue.has(sbatch=elsewhere + SUBMITTED, squeue=SQUEUE)
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    (failure,) = results.failures
    assert failure.error == "AppError"
    assert "could not begin: ModuleNotFoundError: No module named 'halving'" in failure.message
    assert "same packages" in failure.message
    assert "limit" not in failure.message
    assert "Traceback" in failure.crash_file.read_text()


SGE_ROW = "1 0.555 first_8.ch me STATE 11/21/2026 22:00:00 1"
STUCK = [
    ("SLURM", "squeue", "echo 1 PENDING a_name launch failed requeued held", "PENDING launch fail"),
    ("SLURM", "squeue", "echo 1 PENDING a_name Priority", ""),
    ("SGE", "qstat", f"echo {SGE_ROW.replace('STATE', 'Eqw')}", "Eqw"),
    ("SGE", "qstat", f"echo {SGE_ROW.replace('STATE', 'qw')}", ""),
    ("PBS", "qstat", "echo '    job_state = H'", "H"),
    ("PBS", "qstat", "echo '    job_state = Q'", ""),
]


@pytest.mark.parametrize(("name", "command", "script", "wanted"), STUCK)
def test_a_job_that_will_never_begin_is_told_from_one_that_waits(
    queue: Queue, name: str, command: str, script: str, wanted: str
) -> None:
    queue.has(**{command: script})
    seen = queues.Queue(name, print)
    assert seen.holds(1)
    assert seen.obstacle(1).startswith(wanted)
    assert bool(seen.obstacle(1)) == bool(wanted)


def test_a_job_that_will_never_begin_is_named_once_and_waited_for(
    plan: ParticipantPlan,
    resources: Resources,
    chains: Chains,
    queue: Queue,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listing = FEW_ASK + (
        f'if [ "$n" -gt 5 ]; then {RUN_LATE} sed "s/$/ COMPLETED/" queue; '
        'else sed "s/$/ PENDING a_name JobHeldUser/" queue; fi'
    )
    queue.has(sbatch=LATE, squeue=listing)
    _write(resources, "plugin: SLURM")
    results = run_workflow(chains([8], plan), resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    said = capsys.readouterr().out
    assert said.count("first_8: job 1 stands in the queue (PENDING JobHeldUser)") == 1
    assert "scancel 1" in said

"""The participant level as jobs of SLURM: the same bytes, though jobs or the command are lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hpc_page import ROOT
from loopback import PEOPLE, Slurm, outcome, wait_for
from small_study import Ended

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

STEPS = ("parcellate", "clean", "connect", "write", "draw")
# The very file that is documented: the partitions of this SLURM have its names.
PLUGIN = ROOT / "docs" / "plugins" / "slurm.yml"


def command(bids: Path, out: Path, atlas: Path) -> list[str | Path]:
    work = out.with_name(f"{out.name}_work")
    return [bids, out, "participant", "--atlas", atlas, "-w", work, "--use-plugin", PLUGIN]


def results(out: Path) -> dict[Path, int]:
    """List the results of nodes, and when they were written."""
    found = out.with_name(f"{out.name}_work").rglob("result_*.pklz")
    return {path: path.stat().st_mtime_ns for path in found}


def n_submitted(out: Path) -> int:
    return len(list(out.with_name(f"{out.name}_work").rglob("batchscript_*.sh")))


@pytest.fixture(scope="module")
def as_jobs(slurm: Slurm, bids: Path, atlas: Path) -> tuple[Path, Ended]:
    out = bids.with_name("as_jobs")
    return out, slurm.fmmtc(*command(bids, out, atlas))


def test_jobs_write_the_same_bytes_as_processes_of_this_machine(
    as_jobs: tuple[Path, Ended], undisturbed: Path
) -> None:
    out, done = as_jobs
    assert done.code == 0, done.text
    assert outcome(out) == outcome(undisturbed)
    assert len(list(out.glob("sub-*.html"))) == len(PEOPLE)


def test_every_step_was_a_job_whose_name_says_participant_and_step(
    as_jobs: tuple[Path, Ended], slurm: Slurm
) -> None:
    out, _ = as_jobs
    assert n_submitted(out) == len(PEOPLE) * (len(STEPS) + 1)
    names = slurm.jobs("COMPLETED")
    for who in ("sub_01", "sub_02"):
        for step in STEPS:
            assert any(name.startswith(f"{step}.{who}_task_rest.participant.") for name in names)
    assert not list(out.with_name("as_jobs_work").rglob("*.job"))


def test_a_job_asks_for_what_the_plugin_file_says_and_for_what_its_step_takes(
    as_jobs: tuple[Path, Ended], slurm: Slurm
) -> None:
    named = slurm.jobs("COMPLETED").items()
    job = next(job for name, job in named if name.startswith("clean.sub_01_"))
    about = slurm.about(job)
    assert (about["Partition"], about["TimeLimit"]) == ("short", "01:00:00")
    assert about["NumCPUs"] == "1"
    # 0.3 GB of its own, and a program.
    assert about["MinMemoryNode"] == "1300M"


def test_a_cancelled_job_is_named_and_a_second_call_does_only_what_is_missing(
    slurm: Slurm, bids: Path, atlas: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = slurm.start(*command(bids, out, atlas))
    job = slurm.wait_for("clean.sub_02_", "RUNNING")
    slurm.ask("scancel", str(job))
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 1, text
    (line,) = [line for line in text.splitlines() if "sub-02: failed" in line]
    assert f"clean: job {job} left the queue as CANCELLED without a result" in line
    assert f"slurm-{job}.out" in line
    assert text.count(": done") == len(PEOPLE) - 1
    assert not list((out / "sub-02").rglob("*_qc.tsv"))

    before, n_before = results(out), n_submitted(out)
    again = slurm.fmmtc(*command(bids, out, atlas))
    assert again.code == 0, again.text
    # Of sub-02 all but parcellate, and the report.
    assert n_submitted(out) - n_before == len(STEPS)
    after = results(out)
    kept = [path for path in before if "reports" not in path.parts]
    assert [path for path in kept if after[path] != before[path]] == []
    assert outcome(out) == outcome(undisturbed)


def test_a_killed_command_goes_on_where_it_was_though_its_jobs_are_still_in_the_queue(
    slurm: Slurm, bids: Path, atlas: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = slurm.start(*command(bids, out, atlas))
    running = slurm.wait_for("write.", "RUNNING")
    # Or it would be over before the second call.
    slurm.ask("scontrol", "suspend", str(running))
    process.kill()
    process.communicate()
    before = results(out)
    assert before

    again = slurm.fmmtc(*command(bids, out, atlas))
    assert again.code == 0, again.text
    assert f"Job {running} of an earlier run is still in the queue; it is cancelled." in again.text
    assert slurm.about(running)["JobState"] == "CANCELLED"
    after = results(out)
    computed = [path for path in before if path.parent.name in ("parcellate", "clean", "connect")]
    assert computed
    assert [path for path in computed if after[path] != before[path]] == []
    assert outcome(out) == outcome(undisturbed)


def test_an_interrupted_command_takes_its_jobs_out_of_the_queue(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    process = slurm.start(*command(bids, tmp_path / "out", atlas))
    slurm.wait_for("parcellate.", "RUNNING")
    process.send_signal(2)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert wait_for(lambda: None if slurm.jobs("PENDING,RUNNING,COMPLETING") else True, 20)
    assert any(name.startswith("parcellate.") for name in slurm.jobs("CANCELLED"))


def test_a_job_that_is_held_is_named_with_the_queues_reason(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "slurm.yml"
    plugin.write_text(PLUGIN.read_text(encoding="utf-8").replace("=short", "=short --hold"))
    process = slurm.start(*command(bids, tmp_path / "out", atlas)[:-1], plugin)
    assert process.stdout is not None
    said = next(line for line in process.stdout if "stands in the queue" in line)
    assert "(PENDING JobHeldUser)" in said
    process.send_signal(2)
    process.communicate(timeout=60)


def test_a_job_that_sbatch_took_without_a_word_is_found_by_its_name(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    out, fake = tmp_path / "out", tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    fake.write_text(
        f'#!/bin/sh\n{shutil.which("sbatch")} "$@" >/dev/null\necho {said} >&2\nexit 1\n'
    )
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    before = slurm.jobs()
    process = replace(slurm, environment=slurm.environment | {"PATH": path}).start(
        *command(bids, out, atlas)
    )
    slurm.wait_for("parcellate.", "RUNNING")
    wait_for(lambda: len(list(out.with_name("out_work").rglob("*.job"))) == len(PEOPLE) or None)
    process.send_signal(2)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert len(slurm.jobs().keys() - before.keys()) == n_submitted(out)
    assert wait_for(lambda: None if slurm.jobs("PENDING,RUNNING,COMPLETING") else True, 20)


def test_what_sbatch_refuses_is_told_in_its_own_words(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "slurm.yml"
    text = PLUGIN.read_text(encoding="utf-8").replace("=short", "=nosuch")
    plugin.write_text(text.replace("retry_timeout: 10", "retry_timeout: 0"))
    words = command(bids, tmp_path / "out", atlas)[:-1]
    done = slurm.fmmtc(*words, plugin)
    assert done.code == 2, done.text
    assert "sbatch did not take the step participant.sub_01_task_rest.parcellate" in done.text
    assert "invalid partition specified: nosuch" in done.text

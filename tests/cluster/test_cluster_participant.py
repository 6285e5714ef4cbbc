"""The participant level in jobs of SLURM: the same bytes, though jobs or the command are lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from loopback import (
    PEOPLE,
    SMALL,
    Slurm,
    command,
    outcome,
    results,
    wait_for,
    wait_for_result,
    write_plugin,
)
from small_study import Ended

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin("slurm.yml", tmp_path_factory.mktemp("plugin") / "slurm.yml")


@pytest.fixture(scope="module")
def as_jobs(slurm: Slurm, bids: Path, atlas: Path, plugin: Path) -> tuple[Path, Ended, list[str]]:
    out, before = bids.with_name("as_jobs"), slurm.jobs("all")
    done = slurm.fmmtc(*command(bids, out, atlas, plugin))
    return out, done, [str(job) for job in sorted(set(slurm.jobs("all")) - set(before))]


def test_jobs_write_the_same_bytes_as_processes_of_this_machine(
    as_jobs: tuple[Path, Ended, list[str]], undisturbed: Path
) -> None:
    out, done, _ = as_jobs
    assert done.code == 0, done.text
    assert outcome(out) == outcome(undisturbed)
    assert len(list(out.glob("sub-*.html"))) == len(PEOPLE)


def test_jobs_ask_for_what_the_file_says_speak_tls_and_end_with_the_run(
    as_jobs: tuple[Path, Ended, list[str]], slurm: Slurm
) -> None:
    out, done, jobs = as_jobs
    assert 1 <= len(jobs) <= SMALL["max_jobs"]
    assert "Steps run in jobs of SLURM: at most 2, each of 1 cores, 2.0 GB" in done.text
    for job in jobs:
        about = slurm.about(job)
        assert (about["Partition"], about["TimeLimit"]) == ("short", "04:00:00")
        assert (about["NumCPUs"], about["JobName"]) == ("1", "fmmtc")
        log = out.with_name("as_jobs_work") / "jobs" / f"fmmtc-{job}.err"
        assert re.search(r"Listening to:\s+tls://127.0.0.1", log.read_text())
    wait_for(lambda: not slurm.jobs(), 20)


def test_the_steps_of_a_cancelled_job_are_computed_again_in_another(
    slurm: Slurm, bids: Path, atlas: Path, undisturbed: Path, plugin: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = slurm.start(*command(bids, out, atlas, plugin))
    wait_for_result(out, "parcellate")
    for job in slurm.jobs("RUNNING"):
        slurm.ask("scancel", str(job))
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    assert "Jobs have left the queue without a worker" in text
    assert outcome(out) == outcome(undisturbed)


def test_a_killed_worker_is_started_anew_and_nothing_is_lost(
    slurm: Slurm, bids: Path, atlas: Path, undisturbed: Path, plugin: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = slurm.start(*command(bids, out, atlas, plugin))
    wait_for_result(out, "parcellate")
    workers = [each for each in psutil.process_iter() if is_worker(each)]
    assert workers
    workers[0].kill()
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    assert outcome(out) == outcome(undisturbed)


def is_worker(process: psutil.Process) -> bool:
    """Tell a process that computes, the child of one that watches over it."""
    try:
        parent = process.parent()
        watches = parent is not None and "distributed.cli.dask_worker" in parent.cmdline()
        return watches and "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def test_the_jobs_of_a_killed_command_end_with_it_and_a_second_call_goes_on(
    slurm: Slurm, bids: Path, atlas: Path, undisturbed: Path, plugin: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = slurm.start(*command(bids, out, atlas, plugin))
    wait_for_result(out, "clean")
    process.kill()
    process.communicate()
    before = results(out)
    again = slurm.fmmtc(*command(bids, out, atlas, plugin))
    assert again.code == 0, again.text
    after = results(out)
    kept = [path for path in before if path.parent.name in ("parcellate", "clean", "connect")]
    assert kept
    assert [path for path in kept if after[path] != before[path]] == []
    assert outcome(out) == outcome(undisturbed)
    wait_for(lambda: not slurm.jobs(), 60)


def test_an_interrupted_command_takes_its_jobs_out_of_the_queue(
    slurm: Slurm, bids: Path, atlas: Path, plugin: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = slurm.start(*command(bids, out, atlas, plugin))
    wait_for_result(out, "parcellate")
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    wait_for(lambda: not slurm.jobs(), 20)


def test_jobs_that_wait_in_the_queue_are_told_and_taken_out_at_the_end(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    held = write_plugin("slurm.yml", tmp_path / "held.yml", job_extra_directives=["--hold"])
    process = slurm.start(*command(bids, tmp_path / "out", atlas, held))
    assert process.stdout is not None
    said = next(line for line in process.stdout if "Waiting for the queue" in line)
    assert re.search(r"no worker runs yet \(jobs \d+, \d+\)", said)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    wait_for(lambda: not slurm.jobs(), 20)


def test_jobs_that_end_without_a_worker_end_the_run_with_the_place_of_their_output(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    broken = write_plugin("slurm.yml", tmp_path / "broken.yml", python="/nonexistent/python")
    done = slurm.fmmtc(*command(bids, tmp_path / "out", atlas, broken))
    assert done.code == 70, done.text
    assert "Jobs have left the queue without a worker" in done.text
    logs = tmp_path / "out_work" / "jobs"
    assert f"see {logs}" in done.text
    assert any("/nonexistent/python" in path.read_text() for path in logs.glob("*.err"))
    wait_for(lambda: not slurm.jobs(), 20)


def test_what_sbatch_refuses_is_told_in_its_own_words(
    slurm: Slurm, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    refused = write_plugin("slurm.yml", tmp_path / "refused.yml", queue="nosuch")
    done = slurm.fmmtc(*command(bids, tmp_path / "out", atlas, refused))
    assert done.code == 2, done.text
    assert "sbatch does not take jobs" in done.text
    assert "invalid partition specified: nosuch" in done.text


def test_workers_that_are_started_by_hand_are_joined_by_the_schedulers_file(
    slurm: Slurm, bids: Path, atlas: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "out", tmp_path / "scheduler.json"
    dask = str(Path(sys.executable).with_name("dask"))
    scheduler = subprocess.Popen(
        [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file],
        stderr=subprocess.DEVNULL,
    )
    paths = {"PATH": f"{Path(dask).parent}{os.pathsep}{os.environ['PATH']}"}
    worker = f"dask worker --scheduler-file {file} --nthreads 1 --memory-limit 2GB"
    try:
        wait_for(file.exists)
        words = ("--parsable", "--ntasks=2", "--mem=4G", f"--output={tmp_path}/%j.log")
        job = slurm.ask("sbatch", *words, f"--wrap=srun --mem=2G {worker}", **paths).strip()
        work = ["-w", tmp_path / "work", "--scheduler-address", file]
        done = slurm.fmmtc(bids, out, "participant", "--atlas", atlas, *work)
        slurm.ask("scancel", job)
    finally:
        scheduler.terminate()
        scheduler.wait()
    assert done.code == 0, done.text + (tmp_path / f"{job}.log").read_text()
    assert outcome(out) == outcome(undisturbed)

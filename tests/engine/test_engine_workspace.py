"""The folder of the nodes: one for each dataset, made or refused, removed without anyone's loss."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLock
from halving import Chains

from fmmtc_bidsapp.engine import clean_workspace, new_workflow, run_workflow, workspace
from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.plan import ParticipantPlan


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


def test_cleaning_removes_the_workspace_and_nothing_beside_it(
    plan: ParticipantPlan, chains: Chains
) -> None:
    run_workflow(chains([8], plan), plan.resources, title="chains")
    database = plan.resources.work_dir / "database"
    database.mkdir()
    own = replace(plan, resources=replace(plan.resources, bids_database_dir=database))
    clean_workspace(own)
    assert not plan.workspace.exists()
    assert database.is_dir()
    clean_workspace(own)  # a second time there is nothing to do


def test_cleaning_keeps_a_workspace_that_holds_the_database(
    plan: ParticipantPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    database = plan.workspace / "database"
    database.mkdir(parents=True)
    clean_workspace(replace(plan, resources=replace(plan.resources, bids_database_dir=database)))
    assert database.is_dir()
    assert "--bids-database-dir" in capsys.readouterr().out


def test_cleaning_keeps_a_workspace_that_another_run_works_in(
    plan: ParticipantPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.workspace.mkdir(parents=True)
    with FileLock(plan.workspace / "participant.lock"):
        clean_workspace(plan)
    assert plan.workspace.is_dir()
    assert "another run" in capsys.readouterr().out


# A file system without locks ----------------------------------------------------------------------


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def _no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    workspace._has_locks.cache_clear()


@pytest.mark.usefixtures("_no_locks")
def test_without_locks_a_run_warns_once_finishes_and_leaves_no_mark(
    plan: ParticipantPlan, chains: Chains, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        results = run_workflow(chains([8], plan), plan.resources, title="chains")
        assert results.done == {"first_8", "second_8"}
    assert capsys.readouterr().out.count("file system without locks") == 1
    assert not list(plan.workspace.glob("*.held"))
    clean_workspace(plan)
    assert not plan.workspace.exists()


@pytest.mark.usefixtures("_no_locks")
def test_without_locks_two_runs_still_wait_for_each_other_and_the_file_to_delete_is_named(
    plan: ParticipantPlan, chains: Chains, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow, mark = chains([8], plan), plan.workspace / "chains.held"
    held, cleaned = threading.Event(), threading.Event()

    def first_run() -> None:
        with SoftFileLock(mark):
            held.set()
            cleaned.wait()
            time.sleep(0.5)

    threading.Thread(target=first_run).start()
    held.wait()
    clean_workspace(plan)
    assert plan.workspace.is_dir()
    cleaned.set()
    results = run_workflow(workflow, plan.resources, title="chains")
    assert results.done == {"first_8", "second_8"}
    said = capsys.readouterr().out
    assert "waiting for it" in said
    assert f"left {mark}: delete it" in said


@pytest.mark.usefixtures("_no_locks")
def test_without_locks_a_killed_run_of_this_machine_holds_no_one_up(
    plan: ParticipantPlan, chains: Chains
) -> None:
    workflow, mark = chains([8], plan), plan.workspace / "chains.held"
    code = f"from filelock import SoftFileLock as Lock; held = Lock({str(mark)!r}); held.acquire()"
    subprocess.run([sys.executable, "-c", f"{code}; import os; os._exit(1)"], check=False)
    assert mark.is_file()
    results = run_workflow(workflow, plan.resources, title="chains")
    assert results.done == {"first_8", "second_8"}

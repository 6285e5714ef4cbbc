"""The folder of the nodes: one for each dataset, made or refused, removed without anyone's loss."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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


# Who else could write there -----------------------------------------------------------------------


def test_a_folder_of_a_file_system_that_gives_all_files_to_one_user_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # NFS with all_squash: what we make belongs to a number that is not ours.
    squashed = tmp_path.stat().st_uid + 4321
    real = {"stat": Path.stat, "fstat": os.fstat}

    def owned(name: str) -> Callable[..., os.stat_result]:
        def about(*args: Any, **options: Any) -> os.stat_result:
            found = list(real[name](*args, **options))
            found[stat.ST_UID] = squashed
            return os.stat_result(found)

        return about

    monkeypatch.setattr(Path, "stat", owned("stat"))
    with pytest.raises(OutputError, match="belongs to another user"):
        workspace.make_folder(tmp_path / "work")
    monkeypatch.setattr(os, "fstat", owned("fstat"))
    workspace.make_folder(tmp_path / "work")


def test_below_a_folder_that_everyone_may_write_to_a_run_warns_unless_it_is_sticky(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    workspace.make_folder(shared / "work" / "key")
    said = capsys.readouterr().out
    assert f"below {shared}: every user could" in said
    (tmp_path / "link").symlink_to(shared / "work")
    workspace.make_folder(tmp_path / "link" / "key")
    assert capsys.readouterr().out == ""  # it was said before
    shared.chmod(0o1777)
    workspace._warn_of.cache_clear()
    workspace.make_folder(shared / "work" / "key")
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize(
    ("user", "group", "who"), [(0, 4321, "the members of its group"), (4321, 0, "its owner")]
)
def test_below_a_project_of_a_group_or_of_someone_else_a_run_warns_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], user: int, group: int, who: str
) -> None:
    project = tmp_path / "project"
    (project / "study").mkdir(parents=True)
    for folder in (project, project / "study"):
        os.chown(folder, user, group)
        folder.chmod(0o2770)
    for _ in range(2):
        workspace.make_folder(project / "study" / "work")
    said = capsys.readouterr().out
    assert said.count("WARNING") == 1
    assert f"is below {project}: {who}" in said


def test_a_file_system_that_makes_permissions_up_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    (shared / "work").mkdir(parents=True)
    for folder in (shared, shared / "work"):
        folder.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    workspace.make_folder(shared / "work")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_work_directory_that_takes_no_lock_is_told_as_one_that_cannot_be_written(
    plan: ParticipantPlan, chains: Chains, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    workflow = chains([8], plan)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    workspace._has_locks.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(workspace, "TemporaryFile", refuse)
        with (
            pytest.raises(OutputError, match=f"{os.strerror(number)}.*--work-dir"),
            workspace.alone(workflow),
        ):
            pass
        patched.undo()
        patched.setattr(workspace.FileLock, "acquire", refuse)
        with (
            pytest.raises(OutputError, match=f"{os.strerror(number)}.*--work-dir"),
            workspace.alone(workflow),
        ):
            pass


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

"""The folder of the nodes: one for each dataset, made or refused, removed without anyone's loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from halving import Chains

from fmmtc_bidsapp.engine import clean_workspace, new_workflow, run_workflow
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

"""What a run leaves for others to read holds nothing of the environment."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from halving import Chains

from fmmtc_bidsapp.engine import run_workflow
from fmmtc_bidsapp.plan import ParticipantPlan


def test_only_the_private_folder_can_hold_a_secret_of_the_environment(
    plan: ParticipantPlan,
    chains: Chains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2")
    results = run_workflow(chains([8, 5], plan), plan.resources, title="chains")
    assert [each.node for each in results.failures] == ["first_5"]
    assert stat.S_IMODE(plan.workspace.stat().st_mode) == 0o700
    open_to_all = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.is_relative_to(plan.workspace)
    ]
    # The crash file is one of them, so there is something to look at.
    assert any(path.name.startswith("crash-") for path in open_to_all)
    assert not [path for path in open_to_all if b"hunter2" in path.read_bytes()]
    told = capfd.readouterr()
    assert "hunter2" not in told.out + told.err

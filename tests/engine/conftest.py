"""A plan, and workflows of nodes that halve numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from halving import Chains, Halve
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow
from fmmtc_bidsapp.plan import ParticipantPlan, Resources


@pytest.fixture
def plan(tmp_path: Path) -> ParticipantPlan:
    resources = Resources(work_dir=tmp_path / "work", n_procs=2)
    return ParticipantPlan(tmp_path / "in", tmp_path / "out", "run", resources)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def chains(log: Path, tmp_path: Path) -> Chains:
    """Builder of a workflow with two nodes for every number."""

    def build(numbers: Sequence[int], plan: ParticipantPlan, mem_gb: float = 0.1) -> Any:
        workflow = new_workflow("chains", plan, tmp_path / "crash")
        for number in numbers:
            first = pe.Node(Halve(x=number, log=str(log)), name=f"first_{number}", mem_gb=mem_gb)
            second = pe.Node(Halve(log=str(log)), name=f"second_{number}", mem_gb=mem_gb)
            workflow.connect(first, "x", second, "x")
        return workflow

    return build


@pytest.fixture
def halved(log: Path) -> Callable[[], list[int]]:
    """Every number that was halved, in order of size."""
    return lambda: sorted(int(line.split()[0]) for line in log.read_text().splitlines())

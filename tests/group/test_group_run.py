"""The reports of an analysis: what fails alone, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.run import _report
from fmmtc_bidsapp.group.tasks import report_nodes as telling_nodes
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.plan import GroupPlan, Resources


def test_a_sheet_that_fails_is_told_by_itself_and_the_report_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def broken(*_: object) -> None:
        raise InputError("damaged")

    monkeypatch.setattr(telling_nodes, "write_group_report", lambda *_: done.append("report"))
    monkeypatch.setattr(telling_nodes, "group_answer", lambda *_: "")
    monkeypatch.setattr(telling_nodes, "write_sheets", broken)
    monkeypatch.setattr(telling_nodes, "write_citation", lambda *_: done.append("citation"))
    plugin = tmp_path / "plugin.yml"
    plugin.write_text("plugin: Linear")
    plan = GroupPlan(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        run_id="run",
        resources=Resources(work_dir=tmp_path / "work", plugin_file=plugin),
        analysis="train",
        cohort=CohortOptions(target="y"),
        label="L",
    )
    (outcome,) = _report(plan)
    assert done == ["report", "citation"]
    assert (outcome.name, outcome.code) == ("sheets", 65)
    assert "damaged" in outcome.detail

"""The reports of an analysis: what fails alone, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.run import _report
from fmmtc_bidsapp.group.tasks import report_tasks
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.reports.pages import sheet
from fmmtc_bidsapp.reports.text import methods


def test_a_sheet_that_fails_is_told_by_itself_and_the_report_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def broken(output_dir: Path, label: str) -> None:
        raise InputError("damaged")

    def cited(output_dir: Path) -> None:
        done.append("citation")

    monkeypatch.setattr(report_tasks, "write_group_report", lambda *_: done.append("report"))
    monkeypatch.setattr(report_tasks, "group_answer", lambda *_: "")
    monkeypatch.setattr(sheet, "write_sheets", broken)
    monkeypatch.setattr(methods, "write_citation", cited)
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

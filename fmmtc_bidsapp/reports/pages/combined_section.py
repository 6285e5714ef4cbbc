"""Report section of a matrix over the runs of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.reports.data.number_format import number
from fmmtc_bidsapp.reports.data.outputs import Combined, read_json
from fmmtc_bidsapp.reports.figures.run_figures import COMBINED_KIND
from fmmtc_bidsapp.reports.pages.render import render_part
from fmmtc_bidsapp.reports.pages.run_section import RunSection, Section, picture_of
from fmmtc_bidsapp.reports.text.processing_summary import averaged_as_z

__all__ = ["combined_section"]

_TEMPLATE = "participant.html.jinja"


def combined_section(
    anchor: str,
    name: str,
    combined: Combined,
    titles: Sequence[str],
    shown: Mapping[str, RunSection],
) -> Section:
    """Return the section of a matrix over several runs: runs, weights, and the picture."""
    files = combined.files
    n_runs = len(combined.runs)
    title = f"{name} ({n_runs} run{'' if n_runs == 1 else 's'} combined)"
    told = read_json(files.relmat.with_suffix(".json"))
    head = {
        "anchor": anchor,
        "title": title,
        "measure": told.get("RelationshipMeasure", files.measure),
        "averaged_as_z": averaged_as_z(files.measure),
        "fisher_z": told.get("FisherZ") is True,
        "runs": [
            _run(run_title, run, shown.get(run_title))
            for run_title, run in zip(titles, combined.runs, strict=True)
        ],
        "left_out": _left_out(told),
    }
    pieces = {
        "head": render_part(_TEMPLATE, "combined_head", head),
        COMBINED_KIND: render_part(_TEMPLATE, "picture", picture_of(anchor, files, COMBINED_KIND)),
    }
    return Section(anchor, title, pieces)


def _left_out(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the runs that were not averaged, with their reasons."""
    runs = told.get("RunsLeftOut")
    found = runs.items() if isinstance(runs, dict) else ()
    return [{"name": uri.rpartition("/")[2], "reasons": str(why)} for uri, why in found]


def _run(title: str, run: RunFiles, section: RunSection | None) -> dict[str, Any]:
    told = read_json(run.timeseries.with_suffix(".json"))
    return {
        "title": title,
        "anchor": "" if section is None else section.anchor,
        "result": "" if section is None else section.result,
        "retained": number(told.get("NumberOfVolumesRetained"), 0),
    }

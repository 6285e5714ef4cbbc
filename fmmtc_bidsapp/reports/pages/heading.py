"""Page heading: dataset, preprocessing, versions, date, a banner for simulated data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.files.names import GroupFiles, RunFiles
from fmmtc_bidsapp.bidsio.files.origin import NOT_STATED, origin_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Origin
from fmmtc_bidsapp.reports.data.outputs import (
    RESULTS_KEY,
    RESULTS_NOTE,
    computed,
    last_plan,
    origin_of_runs,
    plans_in,
    program_version,
    read_json,
    read_plan,
    results_digest,
)

__all__ = ["Heading", "group_heading", "participant_heading"]

Heading = Mapping[str, Any]
"""``facts`` (name and value) and ``simulated`` (a sentence, empty where nothing is)."""

_TRAINED_ON_SIMULATED = (
    "The model was trained on simulated data. Its predictions do not apply to real people."
)


def participant_heading(output_dir: Path, participant_id: str, runs: Sequence[RunFiles]) -> Heading:
    """Return a participant's heading, dated by the last call that computed something."""
    plan = last_plan(output_dir, participant_id)
    date = "n/a" if plan is None else _spelled_date(plan.parent.name)
    return _heading(origin_of_runs(runs), output_dir, date, "")


def group_heading(files: GroupFiles, about: Mapping[str, Any]) -> Heading:
    """Return the heading of a group page, dated by the first call that wrote these results."""
    evidence = about.get("Evidence") or {}
    trained = _TRAINED_ON_SIMULATED if evidence.get("simulated") is True else ""
    origin = origin_of(about) or Origin()
    # Only the sidecars of an application name no analysis.
    analysis = str(about.get("Analysis", "apply"))
    return _heading(origin, files.output_dir, _date(files, analysis), trained)


def _heading(origin: Origin, output_dir: Path, date: str, of_model: str) -> Heading:
    version = program_version(output_dir) or "n/a"
    return {
        "facts": [
            ("Dataset", origin.dataset or NOT_STATED),
            ("Images made by", ", ".join(origin.made_by) or NOT_STATED),
            ("Analysed by", f"fmmtc_bidsapp {version}"),
            ("Computed on", date),
        ],
        "simulated": " ".join(filter(None, (_simulated(origin), of_model))),
    }


def _simulated(origin: Origin) -> str:
    if not origin.simulated:
        return ""
    made_by = f" ({', '.join(origin.made_by)})" if origin.made_by else ""
    return f"Nobody was scanned{made_by}."


def _date(files: GroupFiles, analysis: str) -> str:
    """Find when the results that stand there were first written, else when they were last run."""
    plans = plans_in(files.log_dir("any").parent)
    own = [path for path in plans if _is_of(path, files.label, analysis)]
    now = results_digest(files)
    first = [path for path in own if _wrote(path.parent) == now]
    found = first[-1:] or own[:1]
    return _spelled_date(found[0].parent.name) if found else "n/a"


def _wrote(log_dir: Path) -> str | None:
    try:
        return str(read_json(log_dir / RESULTS_NOTE).get(RESULTS_KEY))
    except InputError:
        return None


def _is_of(plan: Path, label: str, analysis: str) -> bool:
    """All labels share the log, and what another one left damaged takes no page."""
    try:
        content = read_plan(plan)
    except InputError:
        return False
    return (content.get("label"), content.get("analysis")) == (label, analysis) and computed(
        content
    )


def _spelled_date(run_id: str) -> str:
    try:
        return dt.datetime.strptime(run_id[:8], "%Y%m%d").date().isoformat()
    except ValueError:
        return "n/a"

"""Completed results of the participant level."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.names import (
    RunFiles,
    citation,
    finished_dir,
    participant_report,
)
from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.participant.admission import Start
from fmmtc_bidsapp.participant.resume import Ledger, Stamps, stamps
from fmmtc_bidsapp.participant.run_status import Problem
from fmmtc_bidsapp.participant.workflow import run_name
from fmmtc_bidsapp.records import BoldRun

__all__ = [
    "PICTURES",
    "changed_results",
    "file_stem",
    "finished_before",
    "forget",
    "is_methods_finished",
    "ledger_of",
    "mark_methods",
    "mark_run",
    "report_entry",
    "run_inputs",
]

PICTURES = "draw"
"""The node of a run that writes no numbers."""
_METHODS = "methods"
_LOST = (
    "was deleted or changed during this run. Run the same command again without changing the "
    "output folder; complete results are kept."
)


def ledger_of(start: Start) -> Ledger:
    """Return the ledger of a configuration, in the output so that it outlives the work folder."""
    return Ledger(finished_dir(start.plan.output_dir), start.configuration_hash)


def finished_before(start: Start) -> list[BoldRun]:
    """Return the runs that an earlier call completed from the same inputs and configuration."""
    ledger = ledger_of(start)
    return [
        run for run in start.runs if ledger.is_finished(_entry(start, run), run_inputs(start, run))
    ]


def mark_run(start: Start, run: BoldRun, inputs: Stamps, pictures: Sequence[Path]) -> None:
    """Record a run as complete, with every file that its nodes wrote.

    ``inputs`` are of `run_inputs` before the work began; a lost figure is noticed as a lost table
    is.
    """
    files = start.files(run)
    outputs = dict.fromkeys([*files.always(), *files.there(), *pictures])
    ledger_of(start).mark_finished(_entry(start, run), inputs, list(outputs))


def is_methods_finished(start: Start) -> bool:
    """Return whether the methods text of the dataset is unchanged."""
    return ledger_of(start).is_finished(_METHODS, {})


def mark_methods(start: Start) -> None:
    """Record the methods text as written, in all its formats."""
    text = citation(start.plan.output_dir)
    forms = sorted({text, text.with_suffix(".bib"), *text.parent.glob(f"{text.stem}.*")})
    ledger_of(start).mark_finished(_METHODS, {}, forms)


def report_entry(participant_id: str, reported: Sequence[tuple[str, str]]) -> str:
    """Return the ledger entry of a report with these problems."""
    digest = hashlib.blake2b(json.dumps(reported).encode(), digest_size=4).hexdigest()
    return f"report_{participant_id}_{digest}"


def changed_results(
    start: Start, runs: Sequence[BoldRun], reported: Mapping[str, Sequence[tuple[str, str]]]
) -> list[Problem]:
    """Return problems of completed runs and reports that were changed or deleted since.

    ``told`` has the problems in the report by participant; those without report are left out.
    """
    ledger = ledger_of(start)
    lost = [
        (run.participant_id, run_name(run))
        for run in runs
        if not ledger.is_whole(_entry(start, run))
    ]
    lost += [
        (who, participant_report(start.plan.output_dir, who).name)
        for who, problems in reported.items()
        if not ledger.is_whole(report_entry(who, problems))
    ]
    return [Problem(who, what, f"{what} {_LOST}", OutputError.exit_code) for who, what in lost]


def forget(start: Start, runs: Sequence[BoldRun]) -> None:
    """Remove the ledger entries of computed runs after the output was disturbed."""
    ledger = ledger_of(start)
    for run in runs:
        ledger.forget(_entry(start, run))
        ledger.forget(file_stem(start.files(run).combined().relmat))
    for who in {run.participant_id for run in runs}:
        for entry in ledger.folder.glob(f"{report_entry(who, ())[:-8]}*.json"):
            entry.unlink(missing_ok=True)


def run_inputs(start: Start, run: BoldRun) -> Stamps:
    """Return stamps of a run's inputs, and the timing of its sidecars."""
    timing = f"RepetitionTime {run.tr_s}, StartTime {run.start_time_s}"
    return {**stamps(start.inputs(run)), timing: []}


def file_stem(path: Path) -> str:
    """Return a file name without its extensions."""
    return path.name.partition(".")[0]


def _entry(start: Start, run: BoldRun) -> str:
    files: RunFiles = start.files(run)
    return file_stem(files.timeseries)

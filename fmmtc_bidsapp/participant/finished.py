"""Which results of the participant level exist, and whether they are complete."""

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
    "file_stem",
    "finished_before",
    "forget",
    "is_methods_finished",
    "ledger_of",
    "lost_meanwhile",
    "made_from",
    "mark_methods",
    "mark_run",
    "report_entry",
]

PICTURES = "draw"
"""The one node of a run without which its numbers are whole."""
_METHODS = "methods"
_LOST = (
    "was deleted or changed while this run was working. Leave the output folder alone and run the "
    "same command again; what is whole is kept."
)


def ledger_of(start: Start) -> Ledger:
    """Return the ledger of a configuration; in the output, so that it outlives a scratch disk."""
    return Ledger(finished_dir(start.plan.output_dir), start.configuration_hash)


def finished_before(start: Start) -> list[BoldRun]:
    """List the runs that an earlier call finished, from the same inputs and in the same way."""
    ledger = ledger_of(start)
    return [
        run for run in start.runs if ledger.is_finished(_entry(start, run), made_from(start, run))
    ]


def mark_run(start: Start, run: BoldRun, inputs: Stamps, pictures: Sequence[Path]) -> None:
    """Write down that a run is finished, with every file that its nodes wrote.

    Parameters
    ----------
    start, run
        What was computed.
    inputs
        As `made_from` gave them before the work began.
    pictures
        Those that were drawn. One that is gone by now, or a table, must not go unnoticed.
    """
    files = start.files(run)
    outputs = dict.fromkeys([*files.always(), *files.there(), *pictures])
    ledger_of(start).mark_finished(_entry(start, run), inputs, list(outputs))


def is_methods_finished(start: Start) -> bool:
    """Say whether the methods text of the dataset is there as it was written."""
    return ledger_of(start).is_finished(_METHODS, {})


def mark_methods(start: Start) -> None:
    """Write down that the methods text is written, in all forms that are there."""
    text = citation(start.plan.output_dir)
    forms = sorted({text, text.with_suffix(".bib"), *text.parent.glob(f"{text.stem}.*")})
    ledger_of(start).mark_finished(_METHODS, {}, forms)


def report_entry(participant_id: str, told: Sequence[tuple[str, str]]) -> str:
    """Name the entry of a report by what it tells of that was not done."""
    digest = hashlib.blake2b(json.dumps(told).encode(), digest_size=4).hexdigest()
    return f"report_{participant_id}_{digest}"


def lost_meanwhile(
    start: Start, runs: Sequence[BoldRun], told: Mapping[str, Sequence[tuple[str, str]]]
) -> list[Problem]:
    """List what was finished and is no longer there as it was written.

    Parameters
    ----------
    start
        Where the written files are.
    runs
        Runs whose files and pictures are finished.
    told
        By participant, what their report tells of that was not done; those without a report are
        left out.
    """
    ledger = ledger_of(start)
    lost = [
        (run.participant_id, run_name(run))
        for run in runs
        if not ledger.is_whole(_entry(start, run))
    ]
    lost += [
        (who, participant_report(start.plan.output_dir, who).name)
        for who, problems in told.items()
        if not ledger.is_whole(report_entry(who, problems))
    ]
    return [Problem(who, what, f"{what} {_LOST}", OutputError.exit_code) for who, what in lost]


def forget(start: Start, runs: Sequence[BoldRun]) -> None:
    """Take back what a call finished in an output that was disturbed: it may rest on what is gone.

    Parameters
    ----------
    start
        Where the written files are.
    runs
        Those that it computed.
    """
    ledger = ledger_of(start)
    for run in runs:
        ledger.forget(_entry(start, run))
        ledger.forget(file_stem(start.files(run).combined().relmat))
    for who in {run.participant_id for run in runs}:
        for entry in ledger.folder.glob(f"{report_entry(who, ())[:-8]}*.json"):
            entry.unlink(missing_ok=True)


def made_from(start: Start, run: BoldRun) -> Stamps:
    """Take down the files of a run, and what their sidecars say of its timing."""
    timing = f"RepetitionTime {run.tr_s}, StartTime {run.start_time_s}"
    return {**stamps(start.inputs(run)), timing: []}


def file_stem(path: Path) -> str:
    """Name a file without any of its extensions."""
    return path.name.partition(".")[0]


def _entry(start: Start, run: BoldRun) -> str:
    files: RunFiles = start.files(run)
    return file_stem(files.timeseries)

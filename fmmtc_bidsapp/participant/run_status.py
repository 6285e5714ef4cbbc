"""Status of each participant: done, skipped or failed, with the reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import (
    dataset_description,
    outcomes_log,
    run_log_dir,
    strays_log,
)
from fmmtc_bidsapp.bidsio.files.strays import Stray
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.engine import Outcome, exit_code, outcome_columns, print_outcomes
from fmmtc_bidsapp.errors import InputError, OutputError
from fmmtc_bidsapp.plan import ParticipantPlan, plan_table
from fmmtc_bidsapp.records import Exclusion

__all__ = [
    "Problem",
    "close",
    "excluded",
    "keep_crash_files",
    "note_plan",
    "print_strays",
    "write_strays",
]

_MANY = 10
"""Files that are listed on the terminal; the log has all."""


@dataclass(frozen=True)
class Problem:
    """Something of a participant that was not done."""

    participant_id: str
    what: str
    message: str
    code: int
    crash_file: Path | None = None


def excluded(exclusion: Exclusion, asked: Sequence[str]) -> Problem:
    """Return the problem of an exclusion; absent participants fail only if selected by name."""
    absent = exclusion.stage == "absent" and not asked
    code = 0 if absent else InputError.exit_code
    return Problem(exclusion.participant_id, exclusion.stage, exclusion.reason, code)


def note_plan(plan: ParticipantPlan, participants: Collection[str]) -> None:
    """Write the plan beside the crash files of each participant."""
    text = tomli_w.dumps(plan_table(plan))
    for participant in sorted(participants):
        write_text(run_log_dir(plan.output_dir, participant, plan.run_id) / "plan.toml", text)


def keep_crash_files(
    output_dir: Path, run_id: str, problems: Sequence[Problem], *, prefix: str = ""
) -> None:
    """Copy crash files to the participant's log folder, where the report links to them.

    Nothing is written through a folder that became a link out of the output.
    """
    root = output_dir.resolve()
    for problem in problems:
        log_dir = run_log_dir(output_dir, problem.participant_id, run_id)
        if problem.crash_file is not None and log_dir.resolve().is_relative_to(root):
            text = problem.crash_file.read_text(encoding="utf-8")
            write_text(log_dir / f"{prefix}{problem.crash_file.name}", text)


def print_strays(strays: Sequence[Stray], *, everyone: bool) -> None:
    """Print the files that belong to no run: the first ones, or all."""
    shown = strays if everyone else strays[:_MANY]
    for stray in shown:
        print(f"no valid run name: {stray}")
    if len(shown) < len(strays):
        print(f"no valid run name: {len(strays) - len(shown)} more files, listed in logs/")


def write_strays(output_dir: Path, run_id: str, strays: Sequence[Stray]) -> None:
    """Write the table of files that belong to no run, if any."""
    if strays:
        columns = {
            "path": [str(stray.path) for stray in strays],
            "why": [stray.reason for stray in strays],
        }
        write_tsv(strays_log(output_dir, run_id), columns)


def close(output_dir: Path, run_id: str, done: Collection[str], problems: Sequence[Problem]) -> int:
    """Print and log the status of each participant, and return the exit code."""
    everyone = sorted({*done, *(each.participant_id for each in problems)})
    outcomes = [_outcome(who, [p for p in problems if p.participant_id == who]) for who in everyone]
    print_outcomes(outcomes, title=f"Participant level, {output_dir}")
    code = exit_code(outcomes)
    # A folder that is not our dataset is not changed.
    if dataset_description(output_dir).is_file():
        write_tsv(outcomes_log(output_dir, run_id), outcome_columns(outcomes))
    if not done:
        return code or InputError.exit_code
    return code if code in (0, OutputError.exit_code) else 1


def _outcome(participant_id: str, problems: Sequence[Problem]) -> Outcome:
    """Return the status of one participant, done without problems."""
    if not problems:
        return Outcome(participant_id, "done")
    unwritten = any(each.code == OutputError.exit_code for each in problems)
    status = "failed" if unwritten or any(each.crash_file for each in problems) else "skipped"
    why = "; ".join(f"{each.what}: {each.message}" for each in problems)
    return Outcome(participant_id, status, why, max(each.code for each in problems))

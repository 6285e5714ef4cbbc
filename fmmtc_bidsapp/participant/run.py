"""The participant level in a straight line: plan -> runs -> graph -> reports -> table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import tomli_w

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.atlas import resolve_atlas
from fmmtc_bidsapp.bidsio.find import find_bold_runs, find_fmriprep
from fmmtc_bidsapp.bidsio.names import RunFiles, outcomes_log, run_log_dir
from fmmtc_bidsapp.bidsio.write import (
    check_output_dir,
    check_work_dir,
    prepare_output,
    write_atlas,
    write_text,
    write_tsv,
)
from fmmtc_bidsapp.engine import (
    NodeFailure,
    Outcome,
    error_code,
    exit_code,
    node_name,
    outcome_columns,
    print_outcomes,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.participant.workflow import report_workflow, run_name, runs_workflow
from fmmtc_bidsapp.plan import ParticipantPlan, plan_table
from fmmtc_bidsapp.records import Atlas, BoldRun, Exclusion
from fmmtc_bidsapp.reports.methods import write_citation
from fmmtc_bidsapp.signals.space import labels_on_grid, read_grid

__all__ = ["run_participant"]


@dataclass(frozen=True)
class _Problem:
    """Something of a participant that was not done."""

    participant_id: str
    what: str
    message: str
    code: int
    crash_file: Path | None = None


def run_participant(plan: ParticipantPlan) -> int:
    """Run the participant level.

    Parameters
    ----------
    plan
        What to do.

    Returns
    -------
    int
        The exit code (`docs/interface.md`).

    Raises
    ------
    AppError
        When nothing can be started: no fMRIPrep derivatives, no atlas, no place to write.
    """
    fmriprep_dir = find_fmriprep(plan.bids_dir, plan.derivatives)
    inputs = [plan.bids_dir, fmriprep_dir]
    check_output_dir(plan.output_dir, inputs)
    check_work_dir(plan.resources.work_dir, inputs)
    if plan.resources.bids_database_dir is not None:
        check_work_dir(plan.resources.bids_database_dir, inputs, flag="--bids-database-dir")
    atlas = resolve_atlas(plan.parcel.atlas)
    _require_space(plan, atlas)
    runs, exclusions = find_bold_runs(
        fmriprep_dir,
        space=atlas.space,
        participants=plan.selection.participants,
        sessions=plan.selection.sessions,
        tasks=plan.selection.tasks,
        runs=plan.selection.runs,
        filter_file=plan.selection.bids_filter_file,
        database_dir=plan.resources.bids_database_dir,
    )
    problems = [_excluded(each, plan.selection.participants) for each in exclusions]
    if not runs:
        return _close(plan, set(), problems)
    _prepare(plan, runs, atlas, fmriprep_dir)
    crash_dir = plan.resources.work_dir / "crash" / plan.run_id
    done, unfinished = _compute(plan, runs, atlas, fmriprep_dir, crash_dir)
    problems += unfinished
    _write_dataset_files(plan, done, atlas)
    problems += _report(plan, runs, problems, crash_dir)
    _keep_crash_files(plan, problems)
    return _close(plan, {run.participant_id for run in done}, problems)


def _require_space(plan: ParticipantPlan, atlas: Atlas) -> None:
    if plan.selection.space not in ("auto", atlas.space):
        raise UsageError(
            f"--space is {plan.selection.space}, but the atlas {atlas.label} is drawn in "
            f"{atlas.space}, and resampling is not registration. Leave --space out, or name an "
            "atlas in that space with --atlas."
        )


def _prepare(plan: ParticipantPlan, runs: Sequence[BoldRun], atlas: Atlas, source: Path) -> None:
    """Say what will be done, and write it down, before the first image is opened."""
    prepare_output(
        plan.output_dir,
        config_hash=plan.configuration_hash(atlas_digest=atlas.digest),
        desc=plan.denoise.denoise_strategy,
        sources={"fmriprep": source},
        version=__version__,
    )
    participants = sorted({run.participant_id for run in runs})
    text = tomli_w.dumps(plan_table(plan))
    for participant in participants:
        write_text(run_log_dir(plan.output_dir, participant, plan.run_id) / "plan.toml", text)
    print(
        f"fmmtc {__version__}: {len(runs)} runs of {len(participants)} participants from {source}"
    )
    print(f"Atlas {atlas.label}: {atlas.title}", flush=True)


def _compute(
    plan: ParticipantPlan, runs: Sequence[BoldRun], atlas: Atlas, source: Path, crash_dir: Path
) -> tuple[list[BoldRun], list[_Problem]]:
    """Take every run from image to files; returns those that are done, and what is not."""
    workflow = runs_workflow(plan, runs, atlas, source, crash_dir)
    results = run_workflow(workflow, plan.resources, title="runs")
    done = [run for run in runs if f"{run_name(run)}.write" in results.done]
    failed = [_failed(each, runs) for each in results.failures]
    broken = {each.what for each in failed}
    _withdraw(plan, [run for run in runs if run_name(run) in broken], atlas)
    rest = [run for run in runs if run not in done and run_name(run) not in broken]
    return done, [*failed, *(_not_started(run) for run in rest)]


def _report(
    plan: ParticipantPlan, runs: Sequence[BoldRun], problems: Sequence[_Problem], crash_dir: Path
) -> list[_Problem]:
    """Write a report for everyone who had a run, with what failed; returns reports that did."""
    participants = sorted({run.participant_id for run in runs})
    texts = {
        who: [(each.what, each.message) for each in problems if each.participant_id == who]
        for who in participants
    }
    workflow = report_workflow(plan, participants, texts, crash_dir)
    results = run_workflow(workflow, plan.resources, title="reports")
    return [_report_failed(each, participants) for each in results.failures]


def _files(plan: ParticipantPlan, run: BoldRun, atlas: Atlas) -> RunFiles:
    desc = plan.denoise.denoise_strategy
    return RunFiles(plan.output_dir, run.entities, run.space, atlas.label, desc, run.res)


def _withdraw(plan: ParticipantPlan, failed: Sequence[BoldRun], atlas: Atlas) -> None:
    """Take the quality tables of failed runs away: results of an older run must not count."""
    for run in failed:
        _files(plan, run, atlas).qc.unlink(missing_ok=True)


def _not_started(run: BoldRun) -> _Problem:
    message = "not started, because another run failed first (--stop-on-first-crash)"
    return _Problem(run.participant_id, run_name(run), message, InputError.exit_code)


def _write_dataset_files(plan: ParticipantPlan, done: Sequence[BoldRun], atlas: Atlas) -> None:
    """Write what belongs to the dataset: the labels as they were used, and what to cite."""
    grids = {(run.space, run.res): run for run in reversed(done)}
    for (space, res), run in sorted(grids.items(), key=str):
        grid = read_grid(run.bold)
        labels, _ = labels_on_grid(atlas.image, grid)
        used = nib.Nifti1Image(labels, grid.affine)
        write_atlas(plan.output_dir, atlas, used, space, res)
    if done:
        write_citation(plan.output_dir)


def _excluded(exclusion: Exclusion, asked: Sequence[str]) -> _Problem:
    """Count a participant without any run as a failure only where they were asked for."""
    absent = exclusion.stage == "absent" and not asked
    code = 0 if absent else InputError.exit_code
    return _Problem(exclusion.participant_id, exclusion.stage, exclusion.reason, code)


def _failed(failure: NodeFailure, runs: Sequence[BoldRun]) -> _Problem:
    """Trace a crash of ``<run>.<node>`` back to the run."""
    name = failure.node.split(".")[0]
    run = next(run for run in runs if run_name(run) == name)
    code = error_code(failure.error)
    return _Problem(run.participant_id, name, failure.message, code, failure.crash_file)


def _report_failed(failure: NodeFailure, participants: Sequence[str]) -> _Problem:
    who = next(each for each in participants if node_name(each) == failure.node)
    return _Problem(who, "report", failure.message, error_code(failure.error), failure.crash_file)


def _keep_crash_files(plan: ParticipantPlan, problems: Sequence[_Problem]) -> None:
    """Copy each crash file beside the participant's plan, where the report points to it."""
    for problem in problems:
        if problem.crash_file is not None:
            log_dir = run_log_dir(plan.output_dir, problem.participant_id, plan.run_id)
            text = problem.crash_file.read_text(encoding="utf-8")
            write_text(log_dir / problem.crash_file.name, text)


def _close(plan: ParticipantPlan, done: set[str], problems: Sequence[_Problem]) -> int:
    """Say how everyone ended, on the terminal and in the log."""
    everyone = sorted(done | {each.participant_id for each in problems})
    outcomes = [_outcome(who, [p for p in problems if p.participant_id == who]) for who in everyone]
    print_outcomes(outcomes, title=f"Participant level, {plan.output_dir}")
    code = exit_code(outcomes)
    if not done:
        return code or InputError.exit_code
    write_tsv(outcomes_log(plan.output_dir, plan.run_id), outcome_columns(outcomes))
    return min(code, 1)


def _outcome(participant_id: str, problems: Sequence[_Problem]) -> Outcome:
    """Sum up one participant, who is done when nothing of theirs was left out."""
    if not problems:
        return Outcome(participant_id, "done")
    status = "failed" if any(each.crash_file for each in problems) else "skipped"
    why = "; ".join(f"{each.what}: {each.message}" for each in problems)
    return Outcome(participant_id, status, why, max(each.code for each in problems))

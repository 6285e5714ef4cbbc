"""The participant level in a straight line: plan -> runs -> graph -> reports -> table."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import tomli_w

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.atlas import resolve_atlas
from fmmtc_bidsapp.bidsio.find import find_bold_runs, find_fmriprep
from fmmtc_bidsapp.bidsio.names import run_log_dir
from fmmtc_bidsapp.bidsio.write import check_output_dir, prepare_output, write_atlas, write_text
from fmmtc_bidsapp.engine import (
    NodeFailure,
    Outcome,
    error_code,
    exit_code,
    print_outcomes,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError
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

    @property
    def status(self) -> str:
        return "skipped" if self.crash_file is None else "failed"


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
    check_output_dir(plan.output_dir, [plan.bids_dir, fmriprep_dir])
    atlas = resolve_atlas(plan.parcel.atlas)
    runs, exclusions = find_bold_runs(
        fmriprep_dir,
        space=plan.selection.space,
        participants=plan.selection.participants,
        sessions=plan.selection.sessions,
        tasks=plan.selection.tasks,
        runs=plan.selection.runs,
    )
    problems = [_excluded(each) for each in exclusions]
    problems += [_in_other_space(run, atlas) for run in runs if run.space != atlas.space]
    runs = [run for run in runs if run.space == atlas.space]
    if not runs:
        return _close(plan, set(), problems)
    _prepare(plan, runs, atlas, fmriprep_dir)
    crash_dir = plan.resources.work_dir / "crash" / plan.run_id
    workflow = runs_workflow(plan, runs, atlas, fmriprep_dir, crash_dir)
    failures = run_workflow(workflow, plan.resources, title="runs")
    failed = [_failed(each, runs) for each in failures]
    problems += failed
    done = [run for run in runs if run_name(run) not in {each.what for each in failed}]
    _write_dataset_files(plan, done, atlas)
    reported = sorted({run.participant_id for run in runs})
    texts = {
        who: [(p.what, p.message) for p in problems if p.participant_id == who] for who in reported
    }
    reports = report_workflow(plan, reported, texts, crash_dir)
    failures = run_workflow(reports, plan.resources, title="reports")
    problems += [_report_failed(each, reported) for each in failures]
    _keep_crash_files(plan, problems)
    return _close(plan, {run.participant_id for run in done}, problems)


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


def _excluded(exclusion: Exclusion) -> _Problem:
    code = InputError.exit_code
    return _Problem(exclusion.participant_id, exclusion.stage, exclusion.reason, code)


def _in_other_space(run: BoldRun, atlas: Atlas) -> _Problem:
    message = (
        f"The image is in {run.space}, the atlas {atlas.label} in {atlas.space}; resampling is not "
        f"registration. Run fMRIPrep with --output-spaces {atlas.space}:res-2."
    )
    return _Problem(run.participant_id, run_name(run), message, InputError.exit_code)


def _failed(failure: NodeFailure, runs: Sequence[BoldRun]) -> _Problem:
    """Trace a crash of ``participant.<run>.<node>`` back to the run."""
    name = failure.node.split(".")[1]
    run = next(run for run in runs if run_name(run) == name)
    code = error_code(failure.error)
    return _Problem(run.participant_id, name, failure.message, code, failure.crash_file)


def _report_failed(failure: NodeFailure, participants: Sequence[str]) -> _Problem:
    name = failure.node.split(".")[1]
    who = next(each for each in participants if each.replace("-", "_").replace("+", "") == name)
    return _Problem(who, "report", failure.message, error_code(failure.error), failure.crash_file)


def _keep_crash_files(plan: ParticipantPlan, problems: Sequence[_Problem]) -> None:
    """Copy each crash file beside the participant's plan, where the report points to it."""
    for problem in problems:
        if problem.crash_file is not None:
            log_dir = run_log_dir(plan.output_dir, problem.participant_id, plan.run_id)
            shutil.copy(problem.crash_file, log_dir / problem.crash_file.name)


def _close(plan: ParticipantPlan, done: set[str], problems: Sequence[_Problem]) -> int:
    """Print how everyone ended; a participant is done when nothing of theirs was left out."""
    outcomes = []
    for who in sorted(done | {each.participant_id for each in problems}):
        own = [each for each in problems if each.participant_id == who]
        status = next(
            (each.status for each in own if each.crash_file), own[0].status if own else "done"
        )
        why = "; ".join(f"{each.what}: {each.message}" for each in own)
        outcomes.append(Outcome(who, status, why, own[0].code if own else 0))
    print_outcomes(outcomes, title=f"Participant level, {plan.output_dir}")
    code = exit_code(outcomes)
    return 1 if done and code else code

"""The participant level: plan -> runs -> graph -> reports -> table."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.derivatives.dataset import (
    PARCEL_MEANS,
    check_configuration,
    prepare_output,
    require_joined,
    run_id_after,
)
from fmmtc_bidsapp.bidsio.files.names import citation, run_log_dir
from fmmtc_bidsapp.bidsio.files.run_lock import holding
from fmmtc_bidsapp.engine import clean_workspace
from fmmtc_bidsapp.errors import AppError, InputError
from fmmtc_bidsapp.participant.admission import Start, begin
from fmmtc_bidsapp.participant.compute import (
    combine_tasks,
    compute_runs,
    draw_again,
    problems_by_participant,
    write_reports,
)
from fmmtc_bidsapp.participant.finished import (
    changed_results,
    finished_before,
    forget,
    is_methods_finished,
    mark_methods,
)
from fmmtc_bidsapp.participant.labels import require_labels, write_labels
from fmmtc_bidsapp.participant.memory import run_gb
from fmmtc_bidsapp.participant.run_status import (
    Problem,
    close,
    keep_crash_files,
    note_plan,
    print_strays,
    write_strays,
)
from fmmtc_bidsapp.participant.workflow import run_name
from fmmtc_bidsapp.plan import ParticipantPlan
from fmmtc_bidsapp.records import BoldRun
from fmmtc_bidsapp.reports.text.methods import participant_methods, write_citation

__all__ = ["join_output", "run_participant"]


def run_participant(plan: ParticipantPlan) -> int:
    """Run the participant level and return the exit code (`docs/interface.md`).

    AppError if nothing can be started.
    """
    people = [f"sub-{each}" for each in plan.selection.participants] or ["sub-*"]
    patterns = [run_log_dir(Path(), each, "*") for each in people]
    logs = [path for each in patterns for path in plan.output_dir.glob(str(each))]
    with holding():
        return _MODES[plan.mode](replace(plan, run_id=run_id_after(plan.run_id, logs)))


def _process(plan: ParticipantPlan) -> int:
    """Compute every run from image to report; completed runs are kept."""
    start = begin(plan)
    print_strays(start.strays, everyone=not start.runs)
    if not start.runs:
        return close(plan.output_dir, plan.run_id, set(), start.problems)
    join_output(start)
    write_strays(plan.output_dir, plan.run_id, start.strays)
    before = finished_before(start)
    todo = [run for run in start.runs if run not in before]
    _announce(start, before, todo)
    labels = write_labels(start, start.runs)
    if todo:
        # A killed run must not leave the text of other runs.
        citation(plan.output_dir).unlink(missing_ok=True)
    done, broken = compute_runs(start, todo)
    there = [*before, *done]
    combined, not_combined = combine_tasks(start, there)
    problems = _report(start, there, [*start.problems, *broken, *not_combined])
    lost = _lost(start, there, problems) if todo or combined else []
    disturbed = _output_error(start, labels)
    people = {run.participant_id for run in there}
    problems += [*lost, *_problems_for_all(people, disturbed)]
    if lost or disturbed:
        forget(start, todo)
    try:
        if done or combined or not is_methods_finished(start):
            _write_methods(plan)
            mark_methods(start)
    finally:
        # The status is reported even if the text cannot be written.
        code = close(plan.output_dir, plan.run_id, people, problems)
    if disturbed:
        raise disturbed
    if plan.resources.clean_workdir and code == 0:
        clean_workspace(plan)
    return code


def _report(start: Start, runs: Sequence[BoldRun], problems: Sequence[Problem]) -> list[Problem]:
    """Write the reports; return all problems, theirs included."""
    plan = start.plan
    # Before the reports, which show them.
    keep_crash_files(plan.output_dir, plan.run_id, problems)
    unwritten = write_reports(start, runs, problems)
    # A report that exists later does not list its own crash.
    keep_crash_files(plan.output_dir, plan.run_id, unwritten, prefix="report-")
    return [*problems, *unwritten]


def _lost(start: Start, runs: Sequence[BoldRun], problems: Sequence[Problem]) -> list[Problem]:
    """Return problems of results that were changed or deleted since they were complete."""
    failed = {each.what.partition(",")[0] for each in problems if each.crash_file}
    pageless = {each.participant_id for each in problems if each.what == "report"}
    by_participant = problems_by_participant(
        start, [each for each in problems if each.what != "report"]
    )
    return changed_results(
        start,
        [run for run in runs if run_name(run) not in failed],
        {who: each for who, each in by_participant.items() if who not in pageless},
    )


def _output_error(start: Start, labels: Sequence[Sequence[Path]]) -> AppError | None:
    """Return the error if shared files of the output were changed during this run."""
    try:
        require_joined(start.plan.output_dir, _hashes(start))
        require_labels(start, labels)
    except AppError as error:
        return error
    return None


def _problems_for_all(people: Collection[str], error: AppError | None) -> list[Problem]:
    """Return a problem for each participant if the output was disturbed."""
    if error is None:
        return []
    what, why = "output", "it was changed during this run; see the last line"
    return [Problem(who, what, why, error.exit_code) for who in people]


def join_output(start: Start) -> None:
    """Prepare the output before the first image is opened."""
    for desc, config_hash in _hashes(start).items():
        prepare_output(
            start.plan.output_dir,
            config_hash=config_hash,
            desc=desc,
            sources=_sources(start),
            version=__version__,
        )


def _sources(start: Start) -> dict[str, Path]:
    aroma_dir = start.plan.derivatives.get("aroma")
    aroma = {} if aroma_dir is None else {"aroma": aroma_dir}
    return {"fmriprep": start.fmriprep_dir, **aroma}


def _hashes(start: Start) -> dict[str, str]:
    return {PARCEL_MEANS: start.means_hash, start.desc: start.configuration_hash}


def _announce(start: Start, before: Sequence[BoldRun], todo: Sequence[BoldRun]) -> None:
    """Print what will be done, and write the plan for each participant."""
    plan = start.plan
    note_plan(plan, {run.participant_id for run in todo})
    people = {run.participant_id for run in start.runs}
    print(
        f"fmmtc {__version__}: {_count(start.runs, 'run')} of {_count(people, 'participant')} "
        f"from {start.fmriprep_dir}"
    )
    print(f"Preprocessed by {', '.join(start.origin.made_by) or 'an unknown program'}")
    if start.origin.simulated:
        print("SIMULATED DATA")
    spaces = ", ".join(sorted({run.space for run in start.runs}))
    print(f"Atlas {start.atlas.label}: {start.atlas.title}; images in {spaces}")
    print(f"Cleaning {start.desc}: {start.strategy.title}")
    if before:
        print(f"{_count(before, 'run')} already complete.")
    print(end="", flush=True)


def _write_methods(plan: ParticipantPlan) -> None:
    """Write the methods text of the dataset; report damaged files of other programs."""
    try:
        write_citation(plan.output_dir)
    except InputError as error:
        print(f"The methods text could not be written: {error}", file=sys.stderr)


def _count(things: Collection[object], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _rebuild_reports(plan: ParticipantPlan) -> int:
    """Write figures, reports and methods text again from the written files."""
    start = begin(plan)
    there = [run for run in start.runs if start.files(run).qc.is_file()]
    if not there:
        raise InputError(
            f"{plan.output_dir} has no complete run under desc-{start.desc}. Run without "
            "--reports-only first."
        )
    # Files of another configuration do not match these settings.
    join_output(start)
    note_plan(plan, {run.participant_id for run in there})
    write_labels(start, there)
    problems = _report(start, there, [*start.problems, *draw_again(start, there)])
    _write_methods(plan)
    require_joined(plan.output_dir, _hashes(start))
    return close(plan.output_dir, plan.run_id, {run.participant_id for run in there}, problems)


def _write_boilerplate(plan: ParticipantPlan) -> int:
    """Write the methods text again from the written files, and print it."""
    if not participant_methods(plan.output_dir):
        raise InputError(f"{plan.output_dir} has no complete run. Run the participant level first.")
    write_citation(plan.output_dir)
    print(citation(plan.output_dir).read_text(encoding="utf-8"))
    return 0


def _dry_run(plan: ParticipantPlan) -> int:
    """Print what would be done, and its memory, without writing."""
    start = begin(plan)
    print_strays(start.strays, everyone=True)
    check_configuration(plan.output_dir, _hashes(start), _sources(start))
    before = finished_before(start)
    todo = [run for run in start.runs if run not in before]
    memory_gb = {run.bold: run_gb(run, warped=run.space in start.transforms) for run in todo}
    for run in start.runs:
        state = f"to do ({memory_gb[run.bold]:.1f} GB)" if run in todo else "already complete"
        print(f"{state}: {run.bold.name} ({run.space})")
    for each in start.problems:
        print(f"excluded: {each.participant_id}, {each.message}")
    n_procs = plan.resources.n_procs
    at_once_gb = sum(sorted(memory_gb.values())[-n_procs:])
    print(
        f"{_count(todo, 'run')} to do, {len(before)} already complete, {len(start.problems)} "
        f"excluded; {at_once_gb:.1f} GB of memory with --nprocs {n_procs}"
    )
    return 0 if start.runs else max(each.code for each in start.problems)


_MODES = {
    "run": _process,
    "reports-only": _rebuild_reports,
    "boilerplate-only": _write_boilerplate,
    "dry-run": _dry_run,
}

"""Run the graphs of the participant level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.files.names import RunFiles, participant_report
from fmmtc_bidsapp.engine import (
    NodeFailure,
    NodeResults,
    error_code,
    new_workflow,
    node_name,
    outputs_of,
    run_in_batches,
    run_workflow,
)
from fmmtc_bidsapp.errors import AppError, InputError
from fmmtc_bidsapp.participant.admission import Start
from fmmtc_bidsapp.participant.combine import runs_of_a_task, unusable
from fmmtc_bidsapp.participant.finished import (
    PICTURES,
    file_stem,
    ledger_of,
    mark_run,
    report_entry,
    run_inputs,
)
from fmmtc_bidsapp.participant.resume import stamps
from fmmtc_bidsapp.participant.run_status import Problem, note_plan
from fmmtc_bidsapp.participant.workflow import (
    combine_workflow,
    combined_name,
    draw_combined_workflow,
    draw_workflow,
    report_workflow,
    run_name,
    run_nodes,
)
from fmmtc_bidsapp.records import BoldRun
from fmmtc_bidsapp.reports.data.outputs import crash_files
from fmmtc_bidsapp.reports.figures.run_figures import COMBINED_KIND

__all__ = [
    "combine_tasks",
    "compute_runs",
    "draw_again",
    "problems_by_participant",
    "write_reports",
]


def compute_runs(start: Start, runs: Sequence[BoldRun]) -> tuple[list[BoldRun], list[Problem]]:
    """Compute files and figures of runs; return completed runs and problems."""
    if not runs:
        return [], []
    _withdraw_wholes(start, runs)
    inputs = {run_name(run): run_inputs(start, run) for run in runs}
    unbuilt: list[Problem] = []
    built: list[Any] = []

    def build(batch: Sequence[BoldRun]) -> Any:
        workflow, not_built = _runs_workflow(start, batch)
        unbuilt.extend(not_built)
        built.append(workflow)
        return workflow

    def note(batch: Sequence[BoldRun], results: NodeResults) -> None:
        for run in batch:
            name = f"{run_name(run)}.{PICTURES}"
            if name in results.done:
                pictures = outputs_of(built[-1], name).get("files")
                if pictures is not None:
                    mark_run(start, run, inputs[run_name(run)], [Path(each) for each in pictures])

    results = run_in_batches(runs, build, start.plan.resources, title="runs", then=note)
    done = [run for run in runs if f"{run_name(run)}.write" in results.done]
    failed = [_failed(each, runs) for each in results.failures]
    reported = {each.what for each in (*failed, *unbuilt)}
    # Quality tables mark results as complete, so those of failed runs are removed.
    for run in runs:
        if run not in done and run_name(run) in reported:
            start.files(run).qc.unlink(missing_ok=True)
    message = "not started, because another run failed (--stop-on-first-crash)"
    not_started = [
        Problem(run.participant_id, run_name(run), message, InputError.exit_code)
        for run in runs
        if run not in done and run_name(run) not in reported
    ]
    return done, [*unbuilt, *failed, *not_started]


def _runs_workflow(start: Start, runs: Sequence[BoldRun]) -> tuple[Any, list[Problem]]:
    """Build the nodes of every run; a run that cannot be built is a problem."""
    workflow = new_workflow("participant", start.plan, start.crash_dir)
    problems = []
    for run in runs:
        try:
            workflow.add_nodes([run_nodes(start, run)])
        except (AppError, OSError) as error:
            # Nothing is written yet, so an error of the system is about an input.
            is_input = isinstance(error, OSError)
            code = InputError.exit_code if is_input else error_code(type(error).__name__)
            problems.append(Problem(run.participant_id, run_name(run), str(error), code))
    return workflow, problems


def draw_again(start: Start, runs: Sequence[BoldRun]) -> list[Problem]:
    """Draw the figures of completed runs and combined matrices."""
    results = run_in_batches(
        runs,
        lambda batch: draw_workflow(start, batch),
        start.plan.resources,
        title="pictures",
    )
    failed = [_failed(each, runs) for each in results.failures]
    wholes = [each for each in _wholes(start, runs) if each.relmat.is_file()]
    if not wholes:
        return failed
    workflow = draw_combined_workflow(start.plan, wholes, start.crash_dir)
    results = run_workflow(workflow, start.plan.resources, title="pictures of combined runs")
    return [*failed, *_failed_wholes(results, wholes, "pictures of combined runs")]


def combine_tasks(start: Start, runs: Sequence[BoldRun]) -> tuple[list[RunFiles], list[Problem]]:
    """Write the combined matrix of every task with several runs, if requested.

    Returns the matrices written now, and problems; those of an earlier call are kept.
    """
    if not start.plan.connectivity.combine_runs:
        return [], []
    ledger = ledger_of(start)
    tasks = _with_a_usable_run(runs_of_a_task([start.files(run) for run in runs]))
    inputs = [stamps([path for each in task for path in (each.relmat, each.qc)]) for task in tasks]
    todo = [
        (task, before)
        for task, before in zip(tasks, inputs, strict=True)
        if not ledger.is_finished(file_stem(task[0].combined().relmat), before)
    ]
    if not todo:
        return [], []
    workflow = combine_workflow(start.plan, [task for task, _ in todo], start.crash_dir)
    results = run_workflow(workflow, start.plan.resources, title="combined runs")
    wholes = [task[0].combined() for task, _ in todo]
    done = [each for each in wholes if combined_name(each) in results.done]
    for whole, (_, before) in zip(wholes, todo, strict=True):
        if whole in done:
            ledger.mark_finished(file_stem(whole.relmat), before, _of_whole(whole))
    return done, _failed_wholes(results, wholes, "combine")


def _with_a_usable_run(tasks: Sequence[tuple[RunFiles, ...]]) -> list[tuple[RunFiles, ...]]:
    """Report unusable runs, and return the tasks that have usable ones."""
    kept = []
    for task in tasks:
        whole, left_out = task[0].combined(), unusable(task)
        for path, reasons in left_out.items():
            print(f"Excluded from {whole.relmat.name}: {path.name}, not usable ({reasons})")
        if len(left_out) < len(task):
            kept.append(task)
            continue
        print(f"No {whole.relmat.name}: none of its {len(task)} runs is usable.")
        for path in _of_whole(whole):
            path.unlink(missing_ok=True)
    return kept


def _failed_wholes(results: NodeResults, wholes: Sequence[RunFiles], what: str) -> list[Problem]:
    """Return the problems of the participants whose combined runs failed."""
    people = {combined_name(each): _person(each) for each in wholes}
    return [_broken(each, people[each.node], what) for each in results.failures]


def _wholes(start: Start, runs: Sequence[BoldRun]) -> list[RunFiles]:
    """Return the paths of each task's combined runs, unless a run has that name."""
    own = {start.files(run).relmat for run in start.runs}
    wholes = {each.relmat: each for each in (start.files(run).combined() for run in runs)}
    return [each for path, each in wholes.items() if path not in own]


def _of_whole(files: RunFiles) -> list[Path]:
    return [files.relmat, files.relmat.with_suffix(".json"), files.figure(COMBINED_KIND)]


def _person(files: RunFiles) -> str:
    return f"sub-{files.entities['sub']}"


def write_reports(
    start: Start, runs: Sequence[BoldRun], problems: Sequence[Problem]
) -> list[Problem]:
    """Write the outdated reports of participants with runs; return the problems."""
    ledger = ledger_of(start)
    texts = problems_by_participant(start, problems)
    entries = {who: report_entry(who, reported) for who, reported in texts.items()}
    written = _written_files(start, runs)
    inputs = {who: stamps(written.get(who, [])) for who in texts}
    todo = [who for who in texts if not ledger.is_finished(entries[who], inputs[who])]
    if not todo:
        return []
    note_plan(start.plan, [who for who in todo if _has_old_crashes(start, who)])
    workflow = report_workflow(start.plan, todo, texts, start.crash_dir)
    results = run_workflow(workflow, start.plan.resources, title="reports")
    for who in todo:
        if node_name(who) in results.done:
            report = participant_report(start.plan.output_dir, who)
            ledger.mark_finished(entries[who], inputs[who], [report])
    people = {node_name(who): who for who in todo}
    return [_broken(each, people[each.node], "report") for each in results.failures]


def _has_old_crashes(start: Start, who: str) -> bool:
    """Return whether a participant has crash files of an earlier call."""
    crashes = crash_files(start.plan.output_dir, who)
    return any(path.parent.name != start.plan.run_id for path in crashes)


def problems_by_participant(
    start: Start, problems: Sequence[Problem]
) -> dict[str, list[tuple[str, str]]]:
    """Return the problems of each participant that has runs, for the report."""
    people = sorted({run.participant_id for run in start.runs})
    return {
        who: [(each.what, each.message) for each in problems if each.participant_id == who]
        for who in people
    }


def _written_files(start: Start, runs: Sequence[BoldRun]) -> dict[str, list[Path]]:
    """Return the files behind each participant's report."""
    files = [*(start.files(run) for run in runs), *_wholes(start, runs)]
    written: dict[str, list[Path]] = {}
    for each in files:
        written.setdefault(_person(each), []).extend(each.there())
    return written


def _withdraw_wholes(start: Start, runs: Sequence[BoldRun]) -> None:
    """Remove combined matrices of earlier versions of these runs."""
    for whole in _wholes(start, runs):
        for path in _of_whole(whole):
            path.unlink(missing_ok=True)


def _failed(failure: NodeFailure, runs: Sequence[BoldRun]) -> Problem:
    """Return the problem of a crashed node ``<run>.<node>``."""
    name, _, node = failure.node.partition(".")
    run = next(run for run in runs if run_name(run) == name)
    what = f"{name}, pictures" if node == PICTURES else name
    return _broken(failure, run.participant_id, what)


def _broken(failure: NodeFailure, participant_id: str, what: str) -> Problem:
    code = error_code(failure.error)
    return Problem(participant_id, what, failure.message, code, failure.crash_file)

"""The group level: the chosen analysis, its report, the closing table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from fmmtc_bidsapp.bidsio.derivatives.dataset import (
    check_output_dir,
    check_work_dir,
    require_written,
    run_id_after,
)
from fmmtc_bidsapp.bidsio.files.atomic import noting_written, write_json
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, citation, outcomes_log
from fmmtc_bidsapp.bidsio.files.run_lock import holding
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.bidsio.tables.quality import has_quality
from fmmtc_bidsapp.engine import (
    Outcome,
    error_code,
    exit_code,
    node_file,
    outcome_columns,
    print_outcomes,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.apply import apply
from fmmtc_bidsapp.group.cohort.admission import require_quality, write_plan
from fmmtc_bidsapp.group.compare import compare
from fmmtc_bidsapp.group.dry_run import dry_run
from fmmtc_bidsapp.group.tasks.workflow import quality_workflow, report_workflow
from fmmtc_bidsapp.group.train import train
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.reports.data.outputs import RESULTS_KEY, RESULTS_NOTE, results_digest
from fmmtc_bidsapp.reports.text.methods import methods_sections, write_citation

__all__ = ["run_group"]

_QUALITY_ONLY = "qc"


def run_group(plan: GroupPlan) -> int:
    """Run the group level and return its exit code (`docs/interface.md`)."""
    inputs = [plan.bids_dir, *plan.derivatives.values()]
    check_output_dir(plan.output_dir, inputs)
    check_work_dir(plan.resources.work_dir, inputs)
    logs = GroupFiles(plan.output_dir, plan.label).log_dir("any").parent.glob("*")
    with holding():
        return _MODES[plan.mode](replace(plan, run_id=run_id_after(plan.run_id, logs)))


def _process(plan: GroupPlan) -> int:
    with noting_written() as written:
        outcomes = _ANALYSES[plan.analysis](plan)
        code = _close(plan, outcomes)
    reports = [GroupFiles(plan.output_dir, plan.label).report, citation(plan.output_dir)]
    has_reports = plan.analysis != _QUALITY_ONLY and code == 0
    require_written(plan.output_dir, [*written, *(reports if has_reports else [])])
    return code


def _close(plan: GroupPlan, outcomes: list[Outcome]) -> int:
    """Print and write the closing table; return the exit code."""
    print_outcomes(outcomes, title=f"Group level, {plan.output_dir}")
    write_tsv(outcomes_log(plan.output_dir, plan.run_id), outcome_columns(outcomes))
    return exit_code(outcomes)


def _train(plan: GroupPlan) -> list[Outcome]:
    return _and_report(plan, train(plan, partial(_answer_first, plan)))


def _compare(plan: GroupPlan) -> list[Outcome]:
    return _and_report(plan, compare(plan, partial(_answer_first, plan)))


def _apply(plan: GroupPlan) -> list[Outcome]:
    return _and_report(plan, apply(plan))


def _and_report(plan: GroupPlan, analysed: list[Outcome]) -> list[Outcome]:
    """Write quality and report after an analysis, and print where the results are."""
    files = GroupFiles(plan.output_dir, plan.label)
    _note_results(plan, files)
    outcomes = [*analysed, *_quality(plan), *_report(plan)]
    print(f"Predictions: {files.predictions}")
    _print_places(files)
    return outcomes


def _answer_first(plan: GroupPlan) -> None:
    """Write the report before explanations are computed, and print the answer.

    An error here is raised again by the report after the explanations, and reported then.
    """
    files = GroupFiles(plan.output_dir, plan.label)
    _note_results(plan, files)
    if not _report(plan):
        print(f"Report:      {files.report} (explanations follow)", flush=True)


def _note_results(plan: GroupPlan, files: GroupFiles) -> None:
    """Record the digest of the results, so that reports can say when they were first computed."""
    note = files.log_dir(plan.run_id) / RESULTS_NOTE
    write_json(note, {RESULTS_KEY: results_digest(files)})


def _quality(plan: GroupPlan) -> list[Outcome]:
    """Write the quality of all runs; series of another program have no quality tables."""
    if plan.analysis == _QUALITY_ONLY:
        require_quality(plan)
    elif plan.series_dir != plan.output_dir or not has_quality(plan.output_dir):
        return []
    workflow = quality_workflow(plan, write_plan(plan))
    failures = run_workflow(workflow, plan.resources, title="quality").failures
    if not failures:
        print(node_file(workflow, "quality", "summary.txt").read_text(encoding="utf-8"), flush=True)
        return [Outcome("quality", "done")] if plan.analysis == _QUALITY_ONLY else []
    return [Outcome("quality", "failed", each.message, error_code(each.error)) for each in failures]


def _report(plan: GroupPlan) -> list[Outcome]:
    """Write the report, the sheets and the methods text; return those that failed."""
    log_dir = GroupFiles(plan.output_dir, plan.label).log_dir(plan.run_id)
    workflow = report_workflow(plan, log_dir)
    failures = run_workflow(workflow, plan.resources, title="report").failures
    if "report" not in {each.node for each in failures}:
        answer = node_file(workflow, "report", "answer.txt").read_text(encoding="utf-8")
        print(f"Answer:      {answer}", flush=True)
    return [Outcome(each.node, "failed", each.message, error_code(each.error)) for each in failures]


def _rewrite_report(plan: GroupPlan) -> int:
    """Write the report and the methods text again, from the written files alone."""
    files = GroupFiles(plan.output_dir, plan.label)
    if not files.predictions.is_file():
        raise InputError(
            f"{files.predictions} does not exist, and a report needs it. Give the --label of a "
            "finished analysis."
        )
    outcomes = _report(plan) or [Outcome("report", "done")]
    _print_places(files)
    return _close(plan, outcomes)


def _write_boilerplate(plan: GroupPlan) -> int:
    """Write the methods text of the whole dataset again from the written files, and print it."""
    if not methods_sections(plan.output_dir):
        raise InputError(f"{plan.output_dir} contains no finished run or analysis to describe.")
    write_citation(plan.output_dir)
    print(citation(plan.output_dir).read_text(encoding="utf-8"))
    return 0


def _dry_run(plan: GroupPlan) -> int:
    dry_run(plan)
    return 0


def _print_places(files: GroupFiles) -> None:
    print(f"Report:      {files.report}")
    if any(files.sheets_dir.glob("*")):
        print(f"Sheets:      {files.sheets_dir}")


_ANALYSES: Mapping[str, Callable[[GroupPlan], list[Outcome]]] = {
    "train": _train,
    "compare": _compare,
    "apply": _apply,
    _QUALITY_ONLY: _quality,
}
_MODES: Mapping[str, Callable[[GroupPlan], int]] = {
    "run": _process,
    "reports-only": _rewrite_report,
    "boilerplate-only": _write_boilerplate,
    "dry-run": _dry_run,
}

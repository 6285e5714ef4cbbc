"""The group level: the chosen analysis, its report, and the table that ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.write import check_output_dir
from fmmtc_bidsapp.engine import Outcome, exit_code, print_outcomes
from fmmtc_bidsapp.group.apply import apply
from fmmtc_bidsapp.group.train import train
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.reports.group import write_group_report
from fmmtc_bidsapp.reports.methods import write_citation

__all__ = ["run_group"]

_ANALYSES: Mapping[str, Callable[[GroupPlan], list[Outcome]]] = {"train": train, "apply": apply}


def run_group(plan: GroupPlan) -> int:
    """Run the group level.

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
        When nothing can be started.
    """
    check_output_dir(plan.output_dir, [plan.bids_dir, *plan.derivatives.values()])
    outcomes = _ANALYSES[plan.analysis](plan)
    write_citation(plan.output_dir)
    report = write_group_report(plan.output_dir, plan.label)
    print(f"Predictions: {GroupFiles(plan.output_dir, plan.label).predictions}")
    print(f"Report:      {report}")
    print_outcomes(outcomes, title=f"Group level, {plan.output_dir}")
    return exit_code(outcomes)

"""Checks that every analysis makes before the first series is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tomli_w

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.atlases.a424 import cache_dir
from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort, counted_reasons, read_cohort
from fmmtc_bidsapp.bidsio.cohort.covariates import (
    CovariateColumns,
    CovariateLevels,
    covariate_columns,
)
from fmmtc_bidsapp.bidsio.cohort.distinct_runs import averaged_runs, notes_on_acquisitions
from fmmtc_bidsapp.bidsio.cohort.eligibility import Eligible, LabelRow, read_eligible
from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.bidsio.derivatives.dataset import check_configuration, prepare_output
from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.bidsio.tables.cells import is_missing, sizes
from fmmtc_bidsapp.bidsio.tables.quality import has_quality
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.evaluation.leakage import refuse_leaks
from fmmtc_bidsapp.models.encoders.brainlm.spec import BRAINLM
from fmmtc_bidsapp.models.encoders.registry import spec_of
from fmmtc_bidsapp.options import CohortOptions, ModelOptions
from fmmtc_bidsapp.plan import GroupPlan, plan_table
from fmmtc_bidsapp.records import EligibilityStep, Person

__all__ = [
    "announce",
    "check_prepared",
    "prepare",
    "print_steps",
    "read_people",
    "require_quality",
    "with_weights_folder",
    "write_plan",
]


def with_weights_folder(options: ModelOptions) -> ModelOptions:
    """Fill in the default folder of pre-trained weights."""
    spec = spec_of(options.encoder)
    own = BRAINLM if spec is None or not spec.is_pretrained else spec
    folder = Path(options.encoder_weights or cache_dir() / own.folder)
    return replace(options, encoder_weights=str(folder.absolute()))


def read_people(
    plan: GroupPlan,
    options: CohortOptions,
    *,
    smallest_class: int,
    trained: OutcomeCoding | None = None,
) -> Cohort:
    """Read the cohort that a plan selects, and print how many people each step leaves.

    `smallest_class` is the fewest people of each outcome. `trained` is the outcome of a finished
    model (``apply``): people without an outcome, or without a row in the table, enter too, with `y`
    None.
    """
    eligible = _eligible(plan, options, trained)
    if options.covariates and trained is None:
        _refuse_leaks(eligible, options)
    selection = plan.selection
    cohort = read_cohort(
        plan.series_dir,
        eligible,
        options,
        Query(selection.participants, selection.sessions, selection.tasks, selection.runs),
        atlas=selection.atlas,
        space=selection.space,
        bids_dir=plan.bids_dir,
        smallest_class=smallest_class,
        tell=print_steps,
        warn=_warn,
    )
    _print_groups(cohort.people, options, plan.protocol.subset_by)
    if options.adjust:
        _refuse_empty_adjustment(cohort.people, options, is_training=trained is None)
    return cohort


def _print_groups(people: Sequence[Person], options: CohortOptions, subset_by: str | None) -> None:
    """Print the number and sizes of the groups of columns."""
    columns = {
        f"--group-by {options.group_by}": [person.group for person in people],
        f"--subset-by {subset_by}": [person.arm for person in people],
    }
    for i, column in enumerate(options.stratify_by):
        columns[f"--stratify-by {column}"] = [person.strata[i] for person in people]
    for title, values in columns.items():
        known = [value for value in values if value is not None]
        if known:
            n = len(set(known))
            print(f"{title}: {n} group{'' if n == 1 else 's'} ({sizes(known)})", flush=True)


def _refuse_empty_adjustment(
    people: Sequence[Person], options: CohortOptions, *, is_training: bool
) -> None:
    """Refuse to regress out a covariate without values, or with one value in training."""
    for i, name in enumerate(options.covariates):
        known = {person.covariates[i] for person in people if not is_missing(person.covariates[i])}
        if not known:
            raise InputError(
                f"--adjust: {name} is n/a for all {len(people)} people, so it cannot be regressed "
                "out. Correct the table (are its participant_id those of the scans?), or leave "
                f"{name} out of --covariates."
            )
        # New people may have one value: the regression was learnt in training.
        if len(known) == 1 and is_training:
            raise InputError(
                f"--adjust: {name} is {known.pop()} for everyone who has it, so there is nothing "
                f"to regress out. Leave {name} out of --covariates."
            )


def _eligible(plan: GroupPlan, options: CohortOptions, trained: OutcomeCoding | None) -> Eligible:
    """Read the tables if any column is needed; else everyone with files is admitted."""
    subset_by, table = plan.protocol.subset_by, plan.participants_table
    needed = [*options.where, *options.covariates, *options.stratify_by, *plan.phenotype]
    needed += [each for each in (options.group_by, subset_by) if each]
    has_outcome = options.target is not None and (trained is None or table.is_file())
    if not (needed or has_outcome):
        return Eligible(others=LabelRow(""))
    return read_eligible(
        table,
        options,
        phenotype=plan.phenotype,
        subset_by=subset_by,
        participants=plan.selection.participants,
        sessions=plan.selection.sessions,
        trained=trained,
        tell=print_steps,
        warn=_warn,
    )


def _warn(line: str) -> None:
    print(f"WARNING: {line}", flush=True)


def _refuse_leaks(eligible: Eligible, options: CohortOptions) -> None:
    """Check the covariates of everyone whom the tables admit, with or without data."""
    rows = [row for row in eligible.rows if row.y is not None]
    found = covariate_columns([row.covariates for row in rows], options.covariates)
    refuse_leaks(found.names, found.values, np.array([row.y for row in rows], dtype=np.int64))


def prepare(plan: GroupPlan, cohort: Cohort, digests: Mapping[str, str]) -> Path:
    """Make the output a dataset, write the plan, and return the folder of crash files."""
    prepare_output(
        plan.output_dir,
        config_hash=_configuration(plan, cohort, digests),
        desc=f"group-{plan.label}",
        sources=_sources(plan),
        version=__version__,
    )
    return write_plan(plan)


def check_prepared(plan: GroupPlan, cohort: Cohort, digests: Mapping[str, str]) -> None:
    """Refuse what `prepare` would refuse; write nothing."""
    hashes = {f"group-{plan.label}": _configuration(plan, cohort, digests)}
    check_configuration(plan.output_dir, hashes, _sources(plan))


def _configuration(plan: GroupPlan, cohort: Cohort, digests: Mapping[str, str]) -> str:
    parcels = hashlib.sha256("\n".join(cohort.parcels).encode()).hexdigest()
    atlas = f"{cohort.atlas_label} {cohort.atlas_digest}"
    return plan.configuration_hash({**digests, "atlas": atlas, "parcels": parcels})


def _sources(plan: GroupPlan) -> dict[str, Path]:
    return {} if plan.series_dir == plan.output_dir else {"parcels": plan.series_dir}


def require_quality(plan: GroupPlan) -> None:
    """Refuse a summary of quality without quality tables."""
    if plan.series_dir != plan.output_dir or not has_quality(plan.output_dir):
        raise InputError(
            f"{plan.series_dir} contains no quality table of a run. Run the participant level into "
            "the output folder first, and leave --derivatives parcels= out."
        )


def write_plan(plan: GroupPlan) -> Path:
    """Write the plan, and return the folder of crash files."""
    log_dir = GroupFiles(plan.output_dir, plan.label).log_dir(plan.run_id)
    write_text(log_dir / "plan.toml", tomli_w.dumps(plan_table(plan)))
    return log_dir


def print_steps(steps: Sequence[EligibilityStep]) -> None:
    """Print how many people each step left: all, by outcome, by arm and outcome."""
    if not steps:
        return
    has_outcome = any(each.n_positive is not None for each in steps)
    arms = [each.arm for each in steps[0].arms]
    header = ["People", "all", *(["positive", "negative"] if has_outcome else []), *arms]
    rows = [header]
    for each in steps:
        outcomes = [str(each.n_positive), str(each.n_negative)] if has_outcome else []
        in_arms = [
            f"{own.n} ({own.n_positive}/{own.n_negative})" if has_outcome else str(own.n)
            for own in each.arms
        ]
        rows.append([each.step, str(each.n), *outcomes, *in_arms])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(max(widths[0], _STEP_WIDTH)), *cells]), flush=True)


_STEP_WIDTH = 28
"""Width that aligns the steps by table with those by data."""


def _print_runs(cohort: Cohort) -> None:
    """Print exclusions, and which runs of a person are averaged."""
    for line in (counted_reasons(cohort.exclusions), averaged_runs(cohort.people)):
        if line:
            print(line)
    for note in notes_on_acquisitions(cohort.people):
        print(f"WARNING: {note}.")


def announce(
    plan: GroupPlan,
    cohort: Cohort,
    notice: str,
    levels: Sequence[CovariateLevels] | None = None,
) -> None:
    """Print what will be done, and notes on the cohort.

    `notice` is a further warning, `levels` are the covariates of the training (``apply``).
    """
    print(f"fmmtc {__version__}: {plan.analysis} {plan.label} on {plan.series_dir}")
    print(f"Atlas {cohort.atlas_label or 'unnamed'}, {len(cohort.parcels)} parcels")
    _print_runs(cohort)
    print(f"Made by {', '.join(cohort.origin.made_by) or 'an unknown program'}")
    if cohort.origin.simulated:
        print("SIMULATED DATA: nobody was scanned.")
    if cohort.divisions.coding is not None:
        print(f"Outcome {cohort.divisions.coding}.")
    if cohort.covariate_names:
        covariates = covariate_columns(
            [person.covariates for person in cohort.people],
            cohort.covariate_names,
            levels,
            cohort.meanings,
        )
        print(f"Covariates: {_listed(covariates)}")
        for note in covariates.notes:
            print(f"WARNING: {note}.")
    if not cohort.has_series:
        print("There are no series: connectivity is read from matrices.")
    elif not cohort.tr_s:
        print("WARNING: no sidecar gives the repetition time of the series.")
    if notice:
        print(f"WARNING: {notice}")


def _listed(covariates: CovariateColumns) -> str:
    return ", ".join(
        f"{each.name} (number)" if each.levels is None else f"{each.name} ({'/'.join(each.levels)})"
        for each in covariates.levels
    )

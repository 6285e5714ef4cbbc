"""What both analyses do before the first series is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import tomli_w

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.atlas import cache_dir
from fmmtc_bidsapp.bidsio.cohort import Cohort, read_cohort
from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.write import prepare_output, write_text
from fmmtc_bidsapp.options import CohortOptions, ModelOptions
from fmmtc_bidsapp.plan import GroupPlan, plan_table

__all__ = ["announce", "prepare", "read_people", "with_weights_folder", "write_plan"]


def with_weights_folder(options: ModelOptions) -> ModelOptions:
    """Fill in where pre-trained weights are looked for when no folder is named."""
    folder = Path(options.encoder_weights or cache_dir() / "brainlm" / "old_13M")
    return replace(options, encoder_weights=str(folder.absolute()))


def read_people(plan: GroupPlan, options: CohortOptions, *, smallest_class: int) -> Cohort:
    """Read the cohort that a plan selects; the table only where something of it is needed."""
    needed = options.target is not None or options.where
    return read_cohort(
        plan.series_dir,
        plan.participants_table if needed else None,
        options,
        participants=plan.selection.participants,
        sessions=plan.selection.sessions,
        tasks=plan.selection.tasks,
        runs=plan.selection.runs,
        atlas=plan.selection.atlas,
        space=plan.selection.space,
        smallest_class=smallest_class,
    )


def prepare(plan: GroupPlan, cohort: Cohort, digests: Mapping[str, str]) -> Path:
    """Make the output a dataset, write the plan, and return the folder of crash files."""
    parcels = hashlib.sha256("\n".join(cohort.parcels).encode()).hexdigest()
    atlas = f"{cohort.atlas_label} {cohort.atlas_digest}"
    prepare_output(
        plan.output_dir,
        config_hash=plan.configuration_hash({**digests, "atlas": atlas, "parcels": parcels}),
        desc=f"group-{plan.label}",
        sources={} if plan.series_dir == plan.output_dir else {"parcels": plan.series_dir},
        version=__version__,
    )
    return write_plan(plan)


def write_plan(plan: GroupPlan) -> Path:
    """Write the plan, and return the folder of crash files."""
    log_dir = GroupFiles(plan.output_dir, plan.label).log_dir(plan.run_id)
    write_text(log_dir / "plan.toml", tomli_w.dumps(plan_table(plan)))
    return log_dir


def announce(plan: GroupPlan, cohort: Cohort, notice: str) -> None:
    """Say who is in and what is about to be done."""
    print(f"fmmtc {__version__}: {plan.analysis} {plan.label} on {plan.series_dir}")
    for step, count in cohort.eligibility:
        print(f"  {step}: {count}")
    print(f"Atlas {cohort.atlas_label or 'unnamed'}, {len(cohort.parcels)} parcels")
    if not cohort.tr_s:
        print("WARNING: no sidecar gives the repetition time of the series.")
    if notice:
        print(f"WARNING: {notice}")

"""The graph of the participant level: three nodes for a run, one report for a participant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow, node_name
from fmmtc_bidsapp.participant.nodes import Connect, Parcellate, Report, WriteRun
from fmmtc_bidsapp.plan import ParticipantPlan
from fmmtc_bidsapp.records import Atlas, BoldRun

__all__ = ["report_workflow", "run_name", "runs_workflow"]

_PARCELLATE_GB = 0.2
"""Constant, whatever the length of the image: the file is streamed."""
_WRITE_GB = 0.3
# Nodes that write to the output folder always run again (overwrite): nipype's cache cannot see
# that someone deleted their files, and writing identical bytes is free.
_REPORT_GB = 0.6


def run_name(run: BoldRun) -> str:
    """Name of the run's nodes: its entities in letters, digits and underscores."""
    return node_name("_".join(f"{key}_{value}" for key, value in run.entities.items()))


def runs_workflow(
    plan: ParticipantPlan, runs: Sequence[BoldRun], atlas: Atlas, source_dir: Path, crash_dir: Path
) -> Any:
    """Build find-to-file for every run; runs share no edge, so one failure stops no other."""
    workflow = new_workflow("participant", plan, crash_dir)
    workflow.add_nodes([_run_workflow(plan, run, atlas, source_dir) for run in runs])
    return workflow


def _run_workflow(
    plan: ParticipantPlan, run: BoldRun, atlas: Atlas, source_dir: Path
) -> pe.Workflow:
    parcels = {
        "atlas": str(atlas.image),
        "atlas_digest": atlas.digest,
        "min_coverage": plan.parcel.min_coverage,
    }
    parcellate = pe.Node(
        Parcellate(bold=str(run.bold), mask=str(run.mask), **parcels),
        name="parcellate",
        mem_gb=_PARCELLATE_GB,
    )
    connect = pe.Node(Connect(), name="connect", mem_gb=_WRITE_GB)
    write = pe.Node(
        WriteRun(
            run=json.dumps(_description(run)),
            bold=str(run.bold),
            source_dir=str(source_dir),
            desc=plan.denoise.denoise_strategy,
            output_dir=str(plan.output_dir),
            **parcels,
        ),
        name="write",
        mem_gb=_WRITE_GB,
        overwrite=True,
    )
    if run.confounds is not None:
        write.inputs.confounds = str(run.confounds)
    workflow = pe.Workflow(name=run_name(run))
    workflow.connect(
        [
            (parcellate, connect, [("means", "means")]),
            (parcellate, write, [("means", "means"), ("resampled", "resampled")]),
            (connect, write, [("matrix", "matrix")]),
        ]
    )
    return workflow


def _description(run: BoldRun) -> dict[str, Any]:
    """Say what a run is in values that JSON keeps."""
    entities = dict(run.entities)
    return {
        "entities": entities,
        "space": run.space,
        "res": run.res,
        "tr_s": run.tr_s,
        "start_time_s": run.start_time_s,
    }


def report_workflow(
    plan: ParticipantPlan,
    participants: Sequence[str],
    problems: Mapping[str, Sequence[tuple[str, str]]],
    crash_dir: Path,
) -> Any:
    """Build one report node for every participant.

    Parameters
    ----------
    plan
        Where the written files are.
    participants
        Ids of those who have any.
    problems
        By id, what failed: (run, message).
    crash_dir
        Where crash files go.
    """
    workflow = new_workflow("reports", plan, crash_dir)
    for participant in participants:
        report = Report(
            output_dir=str(plan.output_dir),
            participant_id=participant,
            problems=json.dumps(problems.get(participant, [])),
        )
        name = node_name(participant)
        workflow.add_nodes([pe.Node(report, name=name, mem_gb=_REPORT_GB, overwrite=True)])
    return workflow

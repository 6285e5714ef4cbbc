"""The graphs of the participant level: a run, a task, a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.bidsio.files.origin import told_origin
from fmmtc_bidsapp.engine import new_workflow, node_name
from fmmtc_bidsapp.participant.admission import Start
from fmmtc_bidsapp.participant.memory import DRAW_GB, SERIES_GB, parcellate_gb
from fmmtc_bidsapp.participant.nodes import (
    Clean,
    Combine,
    Connect,
    Draw,
    DrawCombined,
    Parcellate,
    ParcellateCifti,
    Report,
    Write,
)
from fmmtc_bidsapp.participant.serialization import describe_files, describe_strategy, stamp
from fmmtc_bidsapp.plan import ParticipantPlan
from fmmtc_bidsapp.records import BoldRun

__all__ = [
    "combine_workflow",
    "combined_name",
    "draw_combined_workflow",
    "draw_workflow",
    "report_workflow",
    "run_name",
    "run_nodes",
]

# Nodes that write to the output folder always run again (overwrite): nipype's cache cannot see
# that someone deleted their files, and writing identical bytes is free.


def run_name(run: BoldRun) -> str:
    """Name of the run's nodes: its entities in letters, digits and underscores."""
    return node_name("_".join(f"{key}_{value}" for key, value in run.entities.items()))


def run_nodes(start: Start, run: BoldRun) -> pe.Workflow:
    """Build image-to-figures for one run; runs share no edge, so one failure stops no other."""
    files = describe_files(start.files(run))
    strategy = describe_strategy(start.strategy)
    parcellate = _PARCELLATE[run.file_format](start, run)
    clean = pe.Node(
        Clean(strategy=strategy, dummy_scans=start.plan.denoise.dummy_scans),
        name="clean",
        mem_gb=SERIES_GB,
    )
    measure = start.plan.connectivity.fc_measure
    connect = pe.Node(Connect(measure=measure), name="connect", mem_gb=SERIES_GB)
    write = pe.Node(_write(start, run, files, strategy), name="write", mem_gb=SERIES_GB)
    draw = _draw(run, files)
    write.overwrite = True
    _set_known(clean, confounds=run.confounds, aroma=run.aroma, tr_s=run.tr_s)
    _set_known(clean, confounds_sidecar=start.confounds_sidecar(run))
    _set_known(write, confounds=run.confounds, aroma=run.aroma, tr_s=run.tr_s)
    workflow = pe.Workflow(name=run_name(run))
    workflow.connect(
        [
            (parcellate, clean, [("means", "means")]),
            (clean, connect, [("cleaned", "cleaned")]),
            (parcellate, write, [("means", "means")]),
            (clean, write, [("cleaned", "cleaned")]),
            (connect, write, [("matrix", "matrix")]),
            (write, draw, [("qc", "qc")]),
        ]
    )
    return workflow


def _draw(run: BoldRun, files: str) -> pe.Node:
    draw = pe.Node(Draw(files=files), name="draw", mem_gb=DRAW_GB, overwrite=True)
    _set_known(draw, boldref=run.boldref)
    return draw


def _parcels(start: Start, run: BoldRun) -> dict[str, Any]:
    return {
        "bold": str(run.bold),
        "bold_stamp": stamp(run.bold),
        "atlas": str(start.atlas.image),
        "atlas_digest": start.atlas.digest,
        "min_coverage": start.plan.parcel.min_coverage,
    }


def _parcellate_nifti(start: Start, run: BoldRun) -> pe.Node:
    interface = Parcellate(
        mask=str(run.mask),
        target=start.plan.parcel.resampling_target,
        placement_dir=str(start.placement_dir),
        **_parcels(start, run),
    )
    transform = start.transforms.get(run.space)
    memory_gb = parcellate_gb(run.bold, warped=transform is not None)
    node = pe.Node(interface, name="parcellate", mem_gb=memory_gb)
    if transform is not None:
        _set_known(node, transform=transform.path, transform_digest=transform.digest)
    _set_known(node, template_mask=start.template_masks[run.space], anat_mask=run.anat_mask)
    return node


def _parcellate_cifti(start: Start, run: BoldRun) -> pe.Node:
    interface = ParcellateCifti(**_parcels(start, run))
    return pe.Node(interface, name="parcellate", mem_gb=SERIES_GB)


_PARCELLATE = {"nifti": _parcellate_nifti, "cifti": _parcellate_cifti}


def _write(start: Start, run: BoldRun, files: str, strategy: str) -> Write:
    return Write(
        files=files,
        strategy=strategy,
        atlas=str(start.atlas.image),
        fisher_z=start.plan.connectivity.fisher_z,
        min_volumes=start.plan.denoise.min_volumes,
        min_dof=start.plan.denoise.min_dof,
        sidecar=json.dumps(_sidecar(start, run)),
        confound_sources=[start.uri(each) for each in (run.confounds, run.aroma) if each],
    )


def _sidecar(start: Start, run: BoldRun) -> dict[str, Any]:
    """Say what only the plan and the run know of a series."""
    transform = start.transforms.get(run.space)
    return {
        "Sources": [start.uri(run.bold)],
        **told_origin(start.origin),
        "AtlasDigest": start.atlas.digest,
        "AtlasSpace": start.atlas.space,
        "AtlasDescription": start.atlas.title,
        "AtlasTransform": "n/a" if transform is None else transform.path.name,
        "AtlasTransformDigest": "n/a" if transform is None else transform.digest,
        "ResamplingTarget": start.plan.parcel.resampling_target,
        "MinimumCoverage": start.plan.parcel.min_coverage,
        **({} if run.start_time_s is None else {"StartTime": run.start_time_s}),
    }


def _set_known(node: pe.Node, **values: Any) -> None:
    """Set the inputs that are there; nipype tells an absent one from an empty one."""
    for name, value in values.items():
        if value is not None:
            setattr(node.inputs, name, str(value) if isinstance(value, Path) else value)


def draw_workflow(start: Start, runs: Sequence[BoldRun]) -> Any:
    """Build one node for the pictures of every run that is written."""
    workflow = new_workflow("pictures", start.plan, start.crash_dir)
    for run in runs:
        files = start.files(run)
        draw = _draw(run, describe_files(files))
        draw.inputs.qc = str(files.qc)
        inside = pe.Workflow(name=run_name(run))
        inside.add_nodes([draw])
        workflow.add_nodes([inside])
    return workflow


def combined_name(files: RunFiles) -> str:
    """Name of the node of a matrix over several runs, as of its file."""
    return node_name(files.relmat.name.partition(".")[0])


def combine_workflow(
    plan: ParticipantPlan, tasks: Sequence[Sequence[RunFiles]], crash_dir: Path
) -> Any:
    """Build one node for each task of which there are several runs."""
    workflow = new_workflow("combine", plan, crash_dir)
    for runs in tasks:
        name = combined_name(runs[0].combined())
        combine = Combine(runs=[describe_files(each) for each in runs])
        workflow.add_nodes([pe.Node(combine, name=name, mem_gb=DRAW_GB, overwrite=True)])
    return workflow


def draw_combined_workflow(
    plan: ParticipantPlan, wholes: Sequence[RunFiles], crash_dir: Path
) -> Any:
    """Build one node for the picture of every matrix over several runs that is written."""
    workflow = new_workflow("combined_pictures", plan, crash_dir)
    for files in wholes:
        draw = DrawCombined(files=describe_files(files))
        name = combined_name(files)
        workflow.add_nodes([pe.Node(draw, name=name, mem_gb=DRAW_GB, overwrite=True)])
    return workflow


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
        workflow.add_nodes([pe.Node(report, name=name, mem_gb=DRAW_GB, overwrite=True)])
    return workflow

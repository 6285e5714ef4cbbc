"""The graphs of the participant level: a run, a task, a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.bidsio.files.origin import origin_keys
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.engine import Task, new_workflow, node_name, task
from fmmtc_bidsapp.participant.admission import Start
from fmmtc_bidsapp.participant.memory import DRAW_GB, SERIES_GB, parcellate_gb
from fmmtc_bidsapp.participant.tasks import (
    clean_run,
    combine_and_draw,
    connect_run,
    parcellate,
    parcellate_cifti,
    write_files,
)
from fmmtc_bidsapp.plan import ParticipantPlan
from fmmtc_bidsapp.records import BoldRun
from fmmtc_bidsapp.reports.figures.run_figures import draw_combined, draw_run
from fmmtc_bidsapp.reports.pages.participant import write_participant_report

__all__ = [
    "combine_workflow",
    "combined_name",
    "draw_combined_workflow",
    "draw_workflow",
    "report_workflow",
    "run_name",
    "run_nodes",
]


def run_name(run: BoldRun) -> str:
    """Return the name of the run's nodes: its entities in letters, digits and underscores."""
    return node_name("_".join(f"{key}_{value}" for key, value in run.entities.items()))


def run_nodes(start: Start, run: BoldRun) -> pe.Workflow:
    """Build image-to-figures for one run; runs share no edge, so one failure stops no other."""
    files, denoise = start.files(run), start.plan.denoise
    tables = {"confounds": run.confounds, "aroma": run.aroma}
    known = {"files": files, "strategy": start.strategy}
    tr_s = {} if run.tr_s is None else {"tr_s": run.tr_s}
    parcellate = _PARCELLATE[run.file_format](start, run)
    sidecar = start.confounds_sidecar(run)
    clean = task(
        "clean",
        Task(
            clean_run,
            options={"strategy": start.strategy, "dummy_scans": denoise.dummy_scans, **tr_s},
            files=tables,
            upstream=["means"],
            # It says which tissue a component is from.
            stamp="" if sidecar is None else digest_of(sidecar),
        ),
        memory_gb=SERIES_GB,
    )
    connect = task(
        "connect",
        Task(
            connect_run,
            options={"measure": start.plan.connectivity.fc_measure},
            upstream=["cleaned"],
        ),
        memory_gb=SERIES_GB,
    )
    write = task(
        "write",
        Task(
            write_files,
            options={
                **known,
                **tr_s,
                "fisher_z_written": start.plan.connectivity.fisher_z,
                "min_volumes": denoise.min_volumes,
                "min_dof": denoise.min_dof,
                "sidecar": _sidecar(start, run),
                "confound_sources": [start.uri(each) for each in tables.values() if each],
            },
            files=tables,
            places={"atlas": start.atlas.image},
            upstream=["means", "cleaned", "matrix"],
        ),
        memory_gb=SERIES_GB,
        writes_output=True,
    )
    workflow = pe.Workflow(name=run_name(run))
    workflow.connect(
        [
            (parcellate, clean, [("file", "means")]),
            (clean, connect, [("file", "cleaned")]),
            (parcellate, write, [("file", "means")]),
            (clean, write, [("file", "cleaned")]),
            (connect, write, [("file", "matrix")]),
            # The quality table is written last, so everything else is there.
            (write, _draw(run, files), [("file", "after")]),
        ]
    )
    return workflow


def _draw(run: BoldRun, files: RunFiles) -> pe.Node:
    pictures = Task(draw_run, options={"files": files}, places={"boldref": run.boldref})
    return task("draw", pictures, memory_gb=DRAW_GB, writes_output=True)


def _parcellate_nifti(start: Start, run: BoldRun) -> pe.Node:
    transform = start.transforms.get(run.space)
    interface = Task(
        parcellate,
        options={
            "target": start.plan.parcel.resampling_target,
            "min_coverage": start.plan.parcel.min_coverage,
        },
        files={"mask": run.mask, "anat_mask": run.anat_mask},
        places={
            "bold": run.bold,
            "atlas": start.atlas.image,
            "placement_dir": start.placement_dir,
            "transform": None if transform is None else transform.path,
            "template_mask": start.template_masks[run.space],
        },
        stamp=" ".join(
            [_stamp(run.bold), start.atlas.digest, "" if transform is None else transform.digest]
        ),
    )
    memory_gb = parcellate_gb(run.bold, warped=transform is not None)
    return task("parcellate", interface, memory_gb=memory_gb)


def _parcellate_cifti(start: Start, run: BoldRun) -> pe.Node:
    interface = Task(
        parcellate_cifti,
        options={"min_coverage": start.plan.parcel.min_coverage},
        places={"bold": run.bold, "atlas": start.atlas.image},
        stamp=f"{_stamp(run.bold)} {start.atlas.digest}",
    )
    return task("parcellate", interface, memory_gb=SERIES_GB)


def _stamp(path: Path) -> str:
    """Return size and date of an image: hashing it would take minutes."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


_PARCELLATE = {"nifti": _parcellate_nifti, "cifti": _parcellate_cifti}


def _sidecar(start: Start, run: BoldRun) -> dict[str, Any]:
    """Return the sidecar keys of a series that only plan and run know."""
    transform = start.transforms.get(run.space)
    return {
        "Sources": [start.uri(run.bold)],
        **origin_keys(start.origin),
        "AtlasDigest": start.atlas.digest,
        "AtlasSpace": start.atlas.space,
        "AtlasDescription": start.atlas.title,
        "AtlasTransform": "n/a" if transform is None else transform.path.name,
        "AtlasTransformDigest": "n/a" if transform is None else transform.digest,
        "ResamplingTarget": start.plan.parcel.resampling_target,
        "MinimumCoverage": start.plan.parcel.min_coverage,
        **({} if run.start_time_s is None else {"StartTime": run.start_time_s}),
    }


def draw_workflow(start: Start, runs: Sequence[BoldRun]) -> Any:
    """Build a node for the figures of each written run."""
    workflow = new_workflow("pictures", start.plan, start.crash_dir)
    for run in runs:
        draw = _draw(run, start.files(run))
        inside = pe.Workflow(name=run_name(run))
        inside.add_nodes([draw])
        workflow.add_nodes([inside])
    return workflow


def combined_name(files: RunFiles) -> str:
    """Return the node name of a matrix over several runs, after its file."""
    return node_name(files.relmat.name.partition(".")[0])


def combine_workflow(
    plan: ParticipantPlan, tasks: Sequence[Sequence[RunFiles]], crash_dir: Path
) -> Any:
    """Build a node for each task with several runs."""
    workflow = new_workflow("combine", plan, crash_dir)
    for runs in tasks:
        name = combined_name(runs[0].combined())
        combine = Task(combine_and_draw, options={"runs": runs})
        workflow.add_nodes([task(name, combine, memory_gb=DRAW_GB, writes_output=True)])
    return workflow


def draw_combined_workflow(
    plan: ParticipantPlan, wholes: Sequence[RunFiles], crash_dir: Path
) -> Any:
    """Build a node for the figure of each written combined matrix."""
    workflow = new_workflow("combined_pictures", plan, crash_dir)
    for files in wholes:
        draw = Task(draw_combined, options={"files": files})
        name = combined_name(files)
        workflow.add_nodes([task(name, draw, memory_gb=DRAW_GB, writes_output=True)])
    return workflow


def report_workflow(
    plan: ParticipantPlan,
    participants: Sequence[str],
    problems: Mapping[str, Sequence[tuple[str, str]]],
    crash_dir: Path,
) -> Any:
    """Build a report node per participant; ``problems`` are (run, message) by participant."""
    workflow = new_workflow("reports", plan, crash_dir)
    for participant in participants:
        report = Task(
            write_participant_report,
            options={
                "participant_id": participant,
                "problems": problems.get(participant, []),
            },
            places={"output_dir": plan.output_dir},
        )
        name = node_name(participant)
        workflow.add_nodes([task(name, report, memory_gb=DRAW_GB, writes_output=True)])
    return workflow

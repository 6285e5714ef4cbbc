"""Combine the runs of one task into one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fmmtc_bidsapp.bidsio.derivatives.write import write_connectome
from fmmtc_bidsapp.bidsio.files.names import RunFiles, bids_uri
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.bidsio.tables.quality import read_quality
from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Connectome
from fmmtc_bidsapp.signals.connectivity import combine, fisher_z

__all__ = ["combine_runs", "runs_of_a_task", "unusable"]


def runs_of_a_task(files: Sequence[RunFiles]) -> list[tuple[RunFiles, ...]]:
    """Group runs that differ in ``run-`` only, two or more per group.

    A task that also has a run without ``run-`` is left out: its matrix has the name of the combined
    one.
    """
    groups: dict[Path, list[RunFiles]] = {}
    for each in files:
        groups.setdefault(each.combined().relmat, []).append(each)
    own_names = {each.relmat for each in files}
    return [
        tuple(group) for whole, group in groups.items() if len(group) > 1 and whole not in own_names
    ]


def unusable(runs: Sequence[RunFiles]) -> dict[Path, str]:
    """Return the reasons of unusable runs, by the path of the run's matrix."""
    rated = {each.relmat: read_quality(each.qc) for each in runs}
    return {path: quality.reasons for path, quality in rated.items() if not quality.usable}


def combine_runs(runs: Sequence[RunFiles]) -> Path:
    """Write the mean matrix of a task's usable runs, weighted by retained volumes; return its path.

    ``RunsLeftOut`` of the sidecar lists unusable runs with reasons. InputError if no run is usable.
    """
    left_out = unusable(runs)
    files = runs[0].combined()
    runs = [each for each in runs if each.relmat not in left_out]
    if not runs:
        raise InputError(f"{files.relmat.name} cannot be computed: none of its runs is usable.")
    found = [read_relmat(each.relmat) for each in runs]
    sidecars = [read_json(each.timeseries.with_suffix(".json")) for each in runs]
    first = found[0]
    plain = [np.tanh(each.matrix) if each.fisher_z else each.matrix for each in found]
    weights = [each["NumberOfVolumesRetained"] for each in sidecars]
    mean = combine(plain, weights, first.measure)
    whole = Connectome(
        fisher_z(mean) if first.fisher_z else mean, first.parcels, first.measure, first.fisher_z
    )
    reasons_by_run = {
        bids_uri(path, files.output_dir): reasons for path, reasons in left_out.items()
    }
    write_connectome(
        files, whole, sources=[each.relmat for each in runs], about={"RunsLeftOut": reasons_by_run}
    )
    return files.relmat

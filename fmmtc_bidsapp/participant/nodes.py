"""Thin nipype interfaces of the participant level: load, call, save.

Inputs and outputs are paths, numbers and JSON, never records or arrays: nipype hashes objects by
their repr, which numpy truncates, so two different arrays can look alike. It also hashes the
content of any file that a text names: ``hash_files=False`` where the content is not an input, or is
stated by a digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from fmmtc_bidsapp.bidsio.atlas import resolve_atlas
from fmmtc_bidsapp.bidsio.names import RunFiles, bids_uri
from fmmtc_bidsapp.bidsio.read import read_confounds
from fmmtc_bidsapp.bidsio.write import write_run
from fmmtc_bidsapp.records import Connectome, ParcelSeries
from fmmtc_bidsapp.reports.participant import write_participant_report
from fmmtc_bidsapp.signals.confounds import framewise_displacement
from fmmtc_bidsapp.signals.connectivity import correlate
from fmmtc_bidsapp.signals.parcellate import ParcelMeans, parcel_means
from fmmtc_bidsapp.signals.quality import assess
from fmmtc_bidsapp.signals.space import labels_on_grid, read_grid, read_mask

__all__ = ["Connect", "Parcellate", "Report", "WriteRun"]


class _ParcellateInput(BaseInterfaceInputSpec):
    bold = File(exists=True, mandatory=True)
    mask = File(exists=True, mandatory=True)
    atlas = traits.Str(mandatory=True, hash_files=False, desc="path of the label image")
    atlas_digest = traits.Str(mandatory=True)
    min_coverage = traits.Float(mandatory=True)


class _ParcellateOutput(TraitedSpec):
    means = File(desc="arrays of ParcelMeans")
    resampled = traits.Bool(desc="the labels were carried to another grid")


class Parcellate(SimpleInterface):
    """Mean signal per parcel of one image, in one pass over the file."""

    input_spec = _ParcellateInput
    output_spec = _ParcellateOutput

    def _run_interface(self, runtime: Any) -> Any:
        atlas = resolve_atlas(self.inputs.atlas)
        bold = Path(self.inputs.bold)
        grid = read_grid(bold)
        labels, resampled = labels_on_grid(atlas.image, grid)
        means = parcel_means(
            bold,
            labels,
            atlas.index,
            mask=read_mask(Path(self.inputs.mask), grid),
            min_coverage=self.inputs.min_coverage,
        )
        self._results["means"] = _save_means(means, Path(runtime.cwd) / "means.npz")
        self._results["resampled"] = resampled
        return runtime


def _save_means(means: ParcelMeans, path: Path) -> str:
    values = {name: value for name, value in vars(means).items() if value is not None}
    np.savez(path, **values)
    return str(path)


def _load_means(path: str) -> ParcelMeans:
    with np.load(path) as arrays:
        values = {name: array if array.ndim else array.item() for name, array in arrays.items()}
    return ParcelMeans(**({"tr_header_s": None} | values))


class _ConnectInput(BaseInterfaceInputSpec):
    means = File(exists=True, mandatory=True)


class _ConnectOutput(TraitedSpec):
    matrix = File(desc="(parcel, parcel) correlation")


class Connect(SimpleInterface):
    """Functional connectivity of one series."""

    input_spec = _ConnectInput
    output_spec = _ConnectOutput

    def _run_interface(self, runtime: Any) -> Any:
        path = Path(runtime.cwd) / "matrix.npy"
        np.save(path, correlate(_load_means(self.inputs.means).signal))
        self._results["matrix"] = str(path)
        return runtime


class _WriteRunInput(BaseInterfaceInputSpec):
    means = File(exists=True, mandatory=True)
    matrix = File(exists=True, mandatory=True)
    resampled = traits.Bool(mandatory=True)
    run = traits.Str(mandatory=True, desc="entities, space, res and times of the run as JSON")
    bold = traits.Str(mandatory=True, hash_files=False, desc="path of the source image")
    source_dir = traits.Str(mandatory=True, hash_files=False, desc="root of its dataset")
    confounds = File(exists=True)
    atlas = traits.Str(mandatory=True, hash_files=False, desc="path of the label image")
    atlas_digest = traits.Str(mandatory=True)
    min_coverage = traits.Float(mandatory=True)
    desc = traits.Str(mandatory=True)
    output_dir = traits.Str(mandatory=True, hash_files=False)


class _WriteRunOutput(TraitedSpec):
    timeseries = File(exists=True)


class WriteRun(SimpleInterface):
    """Series, matrix, coverage and quality of one run into the derivative dataset."""

    input_spec = _WriteRunInput
    output_spec = _WriteRunOutput

    def _run_interface(self, runtime: Any) -> Any:
        run = json.loads(self.inputs.run)
        atlas = resolve_atlas(self.inputs.atlas)
        means = _load_means(self.inputs.means)
        matrix = np.load(self.inputs.matrix)
        tr_s = run["tr_s"] or means.tr_header_s
        quality = assess(
            means,
            matrix,
            _read_fd_mm(self.inputs.confounds, means.n_volumes),
            tr_s=tr_s,
            atlas_resampled=self.inputs.resampled,
        )
        files = RunFiles(
            Path(self.inputs.output_dir),
            run["entities"],
            run["space"],
            atlas.label,
            self.inputs.desc,
            run["res"],
        )
        source = bids_uri(Path(self.inputs.bold), Path(self.inputs.source_dir), "fmriprep")
        write_run(
            files,
            ParcelSeries(means.signal, atlas.names, tr_s, means.coverage),
            Connectome(matrix, atlas.names, "correlation"),
            quality,
            _start_time(run)
            | {
                "Sources": [source],
                "AtlasDigest": atlas.digest,
                "AtlasSpace": atlas.space,
                "AtlasDescription": atlas.title,
                "AtlasResampling": "nearest" if self.inputs.resampled else "none",
                "MinimumCoverage": self.inputs.min_coverage,
            },
        )
        self._results["timeseries"] = str(files.timeseries)
        return runtime


def _start_time(run: Mapping[str, Any]) -> dict[str, Any]:
    return {} if run["start_time_s"] is None else {"StartTime": run["start_time_s"]}


def _read_fd_mm(confounds: Any, n_volumes: int) -> Any:
    return framewise_displacement(read_confounds(Path(confounds), n_volumes)) if confounds else None


class _ReportInput(BaseInterfaceInputSpec):
    output_dir = traits.Str(mandatory=True, hash_files=False)
    participant_id = traits.Str(mandatory=True)
    problems = traits.Str("[]", usedefault=True, desc="what failed, as JSON pairs")


class _ReportOutput(TraitedSpec):
    report = File(exists=True)


class Report(SimpleInterface):
    """The participant's HTML report from the written files."""

    input_spec = _ReportInput
    output_spec = _ReportOutput

    def _run_interface(self, runtime: Any) -> Any:
        problems = [tuple(pair) for pair in json.loads(self.inputs.problems)]
        report = write_participant_report(
            Path(self.inputs.output_dir), self.inputs.participant_id, problems=problems
        )
        self._results["report"] = str(report)
        return runtime

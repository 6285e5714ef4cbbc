"""Thin nipype interfaces of the participant level: load, call, save.

Inputs and outputs are paths, numbers and JSON, never records or arrays: nipype hashes objects by
their repr, which numpy truncates, so two different arrays can look alike. It also hashes the
content of any file that a text names: ``hash_files=False`` where the content is not an input, or is
stated by a digest or a stamp.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

from fmmtc_bidsapp.bidsio.atlases.atlas import require_dlabel, resolve_atlas
from fmmtc_bidsapp.bidsio.derivatives.write import write_run
from fmmtc_bidsapp.bidsio.tables.read_series import read_component_masks, read_run_confounds
from fmmtc_bidsapp.engine import save_array
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.participant.combine import combine_runs
from fmmtc_bidsapp.participant.serialization import (
    load_cleaned,
    load_means,
    read_files,
    read_strategy_text,
    save_cleaned,
    save_means,
)
from fmmtc_bidsapp.records import Connectome, ParcelSeries, Strategy
from fmmtc_bidsapp.reports.figures.run_figures import draw_combined, draw_run
from fmmtc_bidsapp.reports.pages.participant import write_participant_report
from fmmtc_bidsapp.signals.connectivity import connect, fisher_z
from fmmtc_bidsapp.signals.denoising.confounds import relative_rms_mm
from fmmtc_bidsapp.signals.denoising.denoise import clean
from fmmtc_bidsapp.signals.parcellation.cifti import cifti_parcel_means
from fmmtc_bidsapp.signals.parcellation.parcellate import parcel_means
from fmmtc_bidsapp.signals.parcellation.placement import placed_once
from fmmtc_bidsapp.signals.parcellation.space import (
    Grid,
    header_remarks,
    mask_overlap,
    read_grid,
    read_mask,
)
from fmmtc_bidsapp.signals.quality import assess

__all__ = [
    "Clean",
    "Combine",
    "Connect",
    "Draw",
    "DrawCombined",
    "Parcellate",
    "ParcellateCifti",
    "Report",
    "Write",
]


class _ParcelsInput(BaseInterfaceInputSpec):
    bold = traits.Str(mandatory=True, hash_files=False, desc="path of the image")
    bold_stamp = traits.Str(mandatory=True, desc="size and date of the image")
    atlas = traits.Str(mandatory=True, hash_files=False, desc="path of the label image")
    atlas_digest = traits.Str(mandatory=True)
    min_coverage = traits.Float(mandatory=True)


class _ParcellateInput(_ParcelsInput):
    mask = File(exists=True, mandatory=True)
    transform = traits.Str(hash_files=False, desc="path of the transform between the templates")
    transform_digest = traits.Str("")
    template_mask = traits.Str(hash_files=False, desc="path of the template's brain mask")
    anat_mask = File(exists=True, desc="brain mask of the anatomical image in the same space")
    target = traits.Str(mandatory=True, desc="data or atlas")
    placement_dir = traits.Str(mandatory=True, hash_files=False, desc="where placements are kept")


class _ParcellateOutput(TraitedSpec):
    means = File(desc="arrays of ParcelMeans, and how labels and image met")


def _path_or_none(text: Any) -> Path | None:
    return Path(text) if text else None


class Parcellate(SimpleInterface):
    """Mean signal per parcel of one image, in one pass over the file."""

    input_spec = _ParcellateInput
    output_spec = _ParcellateOutput

    def _run_interface(self, runtime: Any) -> Any:
        atlas = resolve_atlas(self.inputs.atlas)
        bold = Path(self.inputs.bold)
        grid = read_grid(bold)
        placed = placed_once(
            Path(self.inputs.placement_dir),
            atlas.image,
            atlas.index,
            grid,
            target=self.inputs.target,
            transform=_path_or_none(self.inputs.transform),
        )
        mask_path = Path(self.inputs.mask)
        mask = read_mask(mask_path, grid)
        means = parcel_means(bold, placed, mask=mask, min_coverage=self.inputs.min_coverage)
        about = {
            "resampling": placed.resampling,
            "template_overlap": _overlap(mask, grid, self.inputs.template_mask),
            "anat_overlap": _overlap(mask, grid, self.inputs.anat_mask),
            "remarks": header_remarks([bold, mask_path, atlas.image]),
        }
        self._results["means"] = save_means(Path(runtime.cwd) / "means.npz", means, about)
        return runtime


def _overlap(mask: Any, grid: Grid, other_mask: Any) -> dict[str, float] | None:
    return vars(mask_overlap(mask, grid, Path(other_mask))) if other_mask else None


class ParcellateCifti(SimpleInterface):
    """Mean signal per parcel of one series of grayordinates."""

    input_spec = _ParcelsInput
    output_spec = _ParcellateOutput

    def _run_interface(self, runtime: Any) -> Any:
        atlas = resolve_atlas(self.inputs.atlas)
        means = cifti_parcel_means(
            Path(self.inputs.bold),
            require_dlabel(atlas),
            atlas.index,
            min_coverage=self.inputs.min_coverage,
        )
        about: dict[str, Any] = {
            "resampling": "none",
            "template_overlap": None,
            "anat_overlap": None,
            "remarks": [],
        }
        self._results["means"] = save_means(Path(runtime.cwd) / "means.npz", means, about)
        return runtime


class _CleanInput(BaseInterfaceInputSpec):
    means = File(exists=True, mandatory=True)
    confounds = File(exists=True)
    confounds_sidecar = File(exists=True, desc="which tissue a component is from")
    aroma = File(exists=True)
    strategy = traits.Str(mandatory=True, desc="JSON of the strategy")
    dummy_scans = traits.Str(mandatory=True)
    tr_s = traits.Float(desc="repetition time of the sidecar")


class _CleanOutput(TraitedSpec):
    cleaned = File(desc="arrays of CleanedSeries")


class Clean(SimpleInterface):
    """Confounds, filter and censoring on the parcel series of one run."""

    input_spec = _CleanInput
    output_spec = _CleanOutput

    def _run_interface(self, runtime: Any) -> Any:
        means, _ = load_means(self.inputs.means)
        strategy = read_strategy_text(self.inputs.strategy)
        confounds = _confounds(self.inputs, means.n_volumes)
        masks = _masks(self.inputs.confounds, strategy)
        with _naming(_tables(self.inputs)):
            cleaned = clean(
                means.signal,
                confounds,
                strategy,
                tr_s=self.inputs.tr_s or means.tr_header_s,
                dummy_scans=self.inputs.dummy_scans,
                masks=masks,
            )
        self._results["cleaned"] = save_cleaned(Path(runtime.cwd) / "cleaned.npz", cleaned)
        return runtime


def _masks(confounds: Any, strategy: Strategy) -> dict[str, str]:
    """Read what components are of, where the strategy takes some: else no sidecar is needed."""
    wanted = confounds and strategy.takes("comp_cor")
    return read_component_masks(Path(confounds)) if wanted else {}


def _confounds(inputs: Any, n_volumes: int) -> Any:
    return read_run_confounds(_tables(inputs), n_volumes)


def _tables(inputs: Any) -> list[Path]:
    return [Path(each) for each in (inputs.confounds, inputs.aroma) if each]


@contextmanager
def _naming(tables: Sequence[Path]) -> Iterator[None]:
    """Add to an error of cleaning, which knows arrays alone, the tables that it is about."""
    try:
        yield
    except InputError as error:
        if not tables:
            raise
        raise InputError(f"{error} Confounds: {', '.join(map(str, tables))}") from error


class _ConnectInput(BaseInterfaceInputSpec):
    cleaned = File(exists=True, mandatory=True)
    measure = traits.Str(mandatory=True)


class _ConnectOutput(TraitedSpec):
    matrix = File(desc="(parcel, parcel)")


class Connect(SimpleInterface):
    """Functional connectivity of one series."""

    input_spec = _ConnectInput
    output_spec = _ConnectOutput

    def _run_interface(self, runtime: Any) -> Any:
        matrix = connect(load_cleaned(self.inputs.cleaned).signal, self.inputs.measure)
        self._results["matrix"] = save_array(Path(runtime.cwd) / "matrix.npy", matrix)
        return runtime


class _WriteInput(BaseInterfaceInputSpec):
    means = File(exists=True, mandatory=True)
    cleaned = File(exists=True, mandatory=True)
    matrix = File(exists=True, mandatory=True)
    confounds = File(exists=True)
    aroma = File(exists=True)
    strategy = traits.Str(mandatory=True, desc="JSON of the strategy")
    tr_s = traits.Float(desc="repetition time of the sidecar")
    atlas = traits.Str(mandatory=True, hash_files=False, desc="path of the label image")
    fisher_z = traits.Bool(mandatory=True)
    min_volumes = traits.Int(mandatory=True)
    min_dof = traits.Int(mandatory=True)
    sidecar = traits.Str(mandatory=True, desc="what else the sidecars say")
    confound_sources = traits.List(traits.Str, desc="BIDS URIs")
    files = traits.Str(mandatory=True, desc="JSON of RunFiles")


class _WriteOutput(TraitedSpec):
    qc = File(exists=True)


class Write(SimpleInterface):
    """Series, matrix, coverage and quality of one run into the derivative dataset."""

    input_spec = _WriteInput
    output_spec = _WriteOutput

    def _run_interface(self, runtime: Any) -> Any:
        atlas = resolve_atlas(self.inputs.atlas)
        means, about = load_means(self.inputs.means)
        cleaned = load_cleaned(self.inputs.cleaned)
        matrix = np.load(self.inputs.matrix)
        files = read_files(self.inputs.files)
        quality = assess(
            means,
            cleaned,
            matrix,
            tr_sidecar_s=self.inputs.tr_s or None,
            relative_rms_mm=relative_rms_mm(_confounds(self.inputs, means.n_volumes) or {}),
            atlas_resampling=about["resampling"],
            template_overlap=about["template_overlap"],
            anat_overlap=about["anat_overlap"],
            image_remarks=about["remarks"],
            measure=files.measure,
            min_volumes=self.inputs.min_volumes,
            min_dof=self.inputs.min_dof,
        )
        shown = fisher_z(matrix) if self.inputs.fisher_z else matrix
        write_run(
            files,
            ParcelSeries(means.signal, atlas.names, quality.tr_s, means.coverage),
            cleaned,
            read_strategy_text(self.inputs.strategy),
            Connectome(shown, atlas.names, files.measure, self.inputs.fisher_z),
            quality,
            json.loads(self.inputs.sidecar)
            | {"AtlasResampling": about["resampling"], "ImageNotes": about["remarks"]},
            self.inputs.confound_sources,
        )
        self._results["qc"] = str(files.qc)
        return runtime


class _DrawInput(BaseInterfaceInputSpec):
    files = traits.Str(mandatory=True, desc="JSON of RunFiles")
    qc = File(exists=True, mandatory=True, desc="written last, so everything else is there")
    boldref = traits.Str(hash_files=False, desc="path of the reference volume")


class _DrawOutput(TraitedSpec):
    figures = traits.List(traits.Str)


class Draw(SimpleInterface):
    """Pictures of one run, for the report."""

    input_spec = _DrawInput
    output_spec = _DrawOutput

    def _run_interface(self, runtime: Any) -> Any:
        files = read_files(self.inputs.files)
        figures = draw_run(files, _path_or_none(self.inputs.boldref))
        self._results["figures"] = [str(path) for path in figures]
        return runtime


class _CombineInput(BaseInterfaceInputSpec):
    runs = traits.List(traits.Str, mandatory=True, desc="JSON of RunFiles of each run")


class _CombineOutput(TraitedSpec):
    relmat = File(exists=True)
    figure = File(exists=True)


class Combine(SimpleInterface):
    """One matrix over the runs of a task, and its picture."""

    input_spec = _CombineInput
    output_spec = _CombineOutput

    def _run_interface(self, runtime: Any) -> Any:
        runs = [read_files(each) for each in self.inputs.runs]
        self._results["relmat"] = str(combine_runs(runs))
        self._results["figure"] = str(draw_combined(runs[0].combined()))
        return runtime


class _DrawCombinedInput(BaseInterfaceInputSpec):
    files = traits.Str(mandatory=True, desc="JSON of RunFiles of the matrix")


class _DrawCombinedOutput(TraitedSpec):
    figure = File(exists=True)


class DrawCombined(SimpleInterface):
    """The picture of a matrix over the runs of a task, for the report."""

    input_spec = _DrawCombinedInput
    output_spec = _DrawCombinedOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["figure"] = str(draw_combined(read_files(self.inputs.files)))
        return runtime


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

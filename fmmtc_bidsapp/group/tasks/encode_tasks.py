"""The steps that read and encode scans, each a function that a `Task` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat, read_series
from fmmtc_bidsapp.engine import save_arrays
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.encode.person import (
    EncodedPerson,
    MatrixRun,
    SeriesRun,
    encode_person,
    fit_scale_of_runs,
    merge_matrices,
)
from fmmtc_bidsapp.group.encode.serialization import load_scale, save_scale
from fmmtc_bidsapp.group.tasks.compute import Compute, start_torch
from fmmtc_bidsapp.models.encoders.registry import build_encoder
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats

__all__ = ["encode", "fit_scale", "merge"]


def encode(
    series: Sequence[Path],
    xyz_mm: Floats,
    weights: Path,
    *,
    compute: Compute,
    tr_s: Sequence[float | None],
    folder: Path,
    scale: Path | None = None,
) -> Path:
    """Compute encoder features, merged connectivity and a window of series of one person."""
    device, _ = start_torch(compute)
    encoder = None
    if compute.model.encoder != NO_ENCODER:
        encoder = build_encoder(compute.model, weights, compute.seed).to(device)
    person = encode_person(
        encoder,
        _read_runs(series, tr_s),
        xyz_mm,
        compute.model,
        scale=None if scale is None else load_scale(scale),
    )
    return _save_person(person, folder)


def _save_person(person: EncodedPerson, folder: Path) -> Path:
    about = {**person.about, "precision": "float32"}
    return Path(save_arrays(folder / "encoded.npz", person.arrays, about))


def _read_runs(series: Sequence[Path], tr_s: Sequence[float | None]) -> list[SeriesRun]:
    runs = zip(series, tr_s, strict=True)
    return [SeriesRun(path.name, read_series(path).signal, own_tr_s) for path, own_tr_s in runs]


def fit_scale(
    series: Sequence[Path], *, model: ModelOptions, tr_s: Sequence[float | None], folder: Path
) -> Path:
    """Learn the median and interquartile range of each parcel over the training people."""
    scale = fit_scale_of_runs(_read_runs(series, tr_s), model)
    return Path(save_scale(folder / "scale.npy", scale))


def merge(
    matrices: Sequence[Path],
    *,
    fisher_z: Sequence[bool],
    n_volumes: Sequence[int | None],
    parcels: Sequence[str],
    folder: Path,
) -> Path:
    """Merge the connectivity of a person who has matrices alone."""
    runs = [
        MatrixRun(path.name, replace(read_relmat(path), fisher_z=is_z), n)
        for path, is_z, n in zip(matrices, fisher_z, n_volumes, strict=True)
    ]
    return _save_person(merge_matrices(runs, parcels), folder)

"""A confounds table for simulated series, with fMRIPrep's column names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.streams import Stream, random_stream

__all__ = ["ConfoundsTable", "simulate_confounds"]

Floats = NDArray[np.float64]

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_HEAD_RADIUS_MM = 50.0
_FSL_RADIUS_MM = 80.0
_HIGH_PASS_S = 128.0
# fMRIPrep's defaults for the motion_outlier columns.
_FD_OUTLIER_MM = 0.5
_STD_DVARS_OUTLIER = 1.5
_TISSUE_VOXELS = 40
_COMPONENTS = {"c": ("CSF", 3), "w": ("WM", 3), "a": ("combined", 5)}


@dataclass(frozen=True, eq=False)
class ConfoundsTable:
    """A confounds table and its sidecar."""

    columns: dict[str, Floats]
    """(time,) by name; differences between volumes are NaN in the first row."""
    sidecar: dict[str, Any]


def _power_fd_mm(motion: Floats) -> Floats:
    """Return framewise displacement (time,) in mm, NaN first, from (time, 6) mm and rad.

    Power et al. (2012), doi:10.1016/j.neuroimage.2011.10.018.
    """
    radius_mm = np.array([1.0, 1.0, 1.0, *[_HEAD_RADIUS_MM] * 3])
    fd_mm: Floats = (np.abs(_difference(motion)) * radius_mm).sum(axis=1)
    return fd_mm


def simulate_confounds(
    options: SimulationOptions, series: NDArray[np.float32], person: int
) -> ConfoundsTable:
    """Return a person's confounds in fMRIPrep's order.

    Motion, white matter and CSF are independent of ``series`` (time, parcel); global signal and
    DVARS are computed from it.
    """
    motion = _motion(options, person)
    rng = random_stream(options.seed, Stream.PHYSIOLOGY, person)
    tissue = {name: _tissue(rng, options) for name in ("CSF", "WM")}
    components, components_sidecar = _compcor(tissue)
    spikes = _spikes(motion, series)
    columns = {
        **_expanded("global_signal", series.mean(axis=1, dtype=np.float64)),
        **_expanded("csf", tissue["CSF"].mean(axis=1)),
        **_expanded("white_matter", tissue["WM"].mean(axis=1)),
        "csf_wm": np.hstack([tissue["CSF"], tissue["WM"]]).mean(axis=1),
        **spikes,
        **components,
        **_cosines(options.volumes, options.tr_s),
    }
    for name, trace in zip(_MOTION, motion.T, strict=True):
        columns |= _expanded(name, trace)
    columns |= _outliers(spikes)
    return ConfoundsTable(columns, _units() | components_sidecar)


def _difference(values: Floats) -> Floats:
    """Return the change since the volume before, NaN in the first row."""
    return np.diff(values, axis=0, prepend=np.full_like(values[:1], np.nan))


def _motion(options: SimulationOptions, person: int) -> Floats:
    rng = random_stream(options.seed, Stream.MOTION, person)
    typical_mm = options.mean_fd_mm * rng.lognormal(0, 0.4)
    # Six normal steps whose absolute values add up to the wanted displacement on average.
    step_mm = typical_mm / (6 * np.sqrt(2 / np.pi))
    steps = step_mm * rng.standard_normal((options.volumes, 6))
    steps[rng.random(options.volumes) < 0.02] *= 5
    position = np.cumsum(steps, axis=0)
    position -= position[options.volumes // 2]
    position[:, 3:] /= _HEAD_RADIUS_MM
    # Rounded as they are written, so that the displacement is that of the written table.
    return position.round(8)


def _spikes(motion: Floats, series: NDArray[np.float32]) -> dict[str, Floats]:
    dvars = np.sqrt((_difference(series.astype(np.float64)) ** 2).mean(axis=1))
    turn, shift = _difference(motion[:, 3:]), _difference(motion[:, :3])
    # Jenkinson's RMS deviation (FSL technical report TR99MJ1) for small rotations.
    rmsd = np.sqrt(_FSL_RADIUS_MM**2 / 5 * 2 * (turn**2).sum(axis=1) + (shift**2).sum(axis=1))
    return {
        "std_dvars": dvars / np.sqrt(np.nanmean(dvars**2)),
        "dvars": dvars,
        "framewise_displacement": _power_fd_mm(motion),
        "rmsd": rmsd,
    }


def _outliers(spikes: dict[str, Floats]) -> dict[str, Floats]:
    fd_mm, std_dvars = spikes["framewise_displacement"], spikes["std_dvars"]
    volumes = np.flatnonzero((fd_mm > _FD_OUTLIER_MM) | (std_dvars > _STD_DVARS_OUTLIER))
    time = np.arange(len(fd_mm))
    return {
        f"motion_outlier{number:02d}": (time == volume).astype(np.float64)
        for number, volume in enumerate(volumes)
    }


def _expanded(name: str, trace: Floats) -> dict[str, Floats]:
    change = _difference(trace)
    return {
        name: trace,
        f"{name}_derivative1": change,
        f"{name}_derivative1_power2": change**2,
        f"{name}_power2": trace**2,
    }


def _cosines(volumes: int, tr_s: float) -> dict[str, Floats]:
    count = int(2 * volumes * tr_s / _HIGH_PASS_S)
    middle = (np.arange(volumes) + 0.5) * np.pi / volumes
    return {
        f"cosine{order:02d}": np.sqrt(2 / volumes) * np.cos((order + 1) * middle)
        for order in range(count)
    }


def _tissue(rng: np.random.Generator, options: SimulationOptions) -> Floats:
    """Draw (time, voxel) of a tissue without grey matter's effects."""
    shared = rng.standard_normal((options.volumes, 3)) @ rng.standard_normal((3, _TISSUE_VOXELS))
    own = rng.standard_normal((options.volumes, _TISSUE_VOXELS))
    return options.baseline + options.fluctuation * (shared + own) / 2


def _compcor(tissue: dict[str, Floats]) -> tuple[dict[str, Floats], dict[str, Any]]:
    voxels = {"c": tissue["CSF"], "w": tissue["WM"], "a": np.hstack(list(tissue.values()))}
    columns: dict[str, Floats] = {}
    sidecar: dict[str, Any] = {}
    for prefix, (mask, retained) in _COMPONENTS.items():
        centred = voxels[prefix] - voxels[prefix].mean(axis=0)
        component, singular, _ = np.linalg.svd(centred, full_matrices=False)
        explained = singular**2 / (singular**2).sum()
        for rank in range(retained):
            name = f"{prefix}_comp_cor_{rank:02d}"
            columns[name] = component[:, rank].round(10)
            sidecar[name] = {
                "CumulativeVarianceExplained": round(float(explained[: rank + 1].sum()), 10),
                "Mask": mask,
                "Method": "aCompCor",
                "Retained": True,
                "SingularValue": round(float(singular[rank]), 6),
                "VarianceExplained": round(float(explained[rank]), 10),
            }
    return columns, sidecar


def _units() -> dict[str, Any]:
    motion = {name: {"Units": "mm" if name.startswith("trans") else "rad"} for name in _MOTION}
    return {"framewise_displacement": {"Units": "mm"}, **motion}

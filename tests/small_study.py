"""A study of a few people in fMRIPrep's layout, which a test spoils as it needs, and the command.

Every command is a process of its own, as a user runs it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
from nibabel.cifti2 import BrainModelAxis, LabelAxis, SeriesAxis
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.simulate.dataset import write_dataset
from fmmtc_bidsapp.simulate.options import SimulationOptions

N6, N9 = "MNI152NLin6Asym", "MNI152NLin2009cAsym"
N_PARCELS, N_VOLUMES = 24, 80
PARCELS = tuple(f"Block{number:02}" for number in range(1, N_PARCELS + 1))
STILL_MM, JUMP_MM = 0.1, 0.9

_ATLAS_SHAPE = (46, 55, 46)
_ATLAS_AFFINE = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str
    """What it said on both streams."""
    duration_s: float


def fmmtc(*words: str | Path, **environment: str) -> Ended:
    """Run the command; a terminal's width must not break what it says."""
    command = [sys.executable, "-m", "fmmtc_bidsapp", *map(str, words)]
    environ = {**os.environ, "FMMTC_CACHE_DIR": "/nonexistent", **environment}
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    return Ended(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def tree(*folders: Path) -> dict[Path, tuple[int, str]]:
    """Take down the date and content of every file, and that there is a folder."""
    return {
        path: (path.lstat().st_mtime_ns, _digest(path)) if path.is_file() else (0, "folder")
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_study(out: Path, atlas: Path) -> Path:
    """Simulate four people at 6 mm whose heads keep still."""
    options = SimulationOptions(people=4, controls=0, volumes=N_VOLUMES, strength=2.0, seed=3)
    write_dataset(out, options, resolve_atlas(str(atlas)), voxel_size_mm=6.0)
    for number in range(1, 5):
        plant_motion(func_file(out, f"sub-{number:02}", "confounds_timeseries.tsv"))
    return out


def func_dir(study: Path, participant: str) -> Path:
    return study / "derivatives" / "fmriprep" / participant / "func"


def func_file(study: Path, participant: str, ending: str = "desc-preproc_bold.nii.gz") -> Path:
    (path,) = func_dir(study, participant).glob(f"*{ending}")
    return path


def plant_motion(confounds: Path, jumps: Sequence[int] = ()) -> None:
    """Let the head keep still but for these volumes."""
    table = pd.read_csv(confounds, sep="\t", na_values="n/a")
    table["framewise_displacement"] = [np.nan, *[STILL_MM] * (len(table) - 1)]
    table.loc[list(jumps), "framewise_displacement"] = JUMP_MM
    table["std_dvars"] = [np.nan, *[1.0] * (len(table) - 1)]
    table.to_csv(confounds, sep="\t", index=False, na_rep="n/a")


def respell(study: Path, participant: str, old: str, new: str) -> None:
    """Give all of a participant's files that have some letters in their name others."""
    for path in sorted(func_dir(study, participant).glob(f"*{old}*")):
        path.rename(path.with_name(path.name.replace(old, new)))


def copy_person(study: Path, old: str, new: str) -> None:
    """Put one participant's files into another's folder, under that one's name."""
    there = func_dir(study, new)
    there.mkdir(parents=True, exist_ok=True)
    for path in func_dir(study, old).iterdir():
        shutil.copy(path, there / path.name.replace(old, new))


def flip(path: Path) -> None:
    """Store an image from right to left, with an affine that says so."""
    image: Any = nib.load(path)
    affine = image.affine @ np.array(
        [[-1.0, 0, 0, image.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    data = np.ascontiguousarray(np.asanyarray(image.dataobj)[::-1])
    flipped = nib.Nifti1Image(data, affine, image.header)
    nib.save(flipped, path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_block_atlas(folder: Path) -> Path:
    """Draw blocks in the middle of the MNI grid, six networks of four, and their grayordinates."""
    labels = np.zeros(_ATLAS_SHAPE, dtype=np.float32)
    block = labels[10:34, 10:46, 12:36]
    block[:] = (np.arange(24)[:, None, None] // 12) * (N_PARCELS // 2) + 1
    block += (np.arange(36)[None, :, None] // 12) * (N_PARCELS // 6)
    block += np.arange(24)[None, None, :] // 6
    image = folder / f"tpl-{N6}_atlas-Blocks_dseg.nii.gz"
    nib.save(nib.Nifti1Image(labels, _ATLAS_AFFINE), image)
    index = np.arange(1, N_PARCELS + 1)
    table = pd.DataFrame({"index": index, "name": PARCELS})
    table["network"] = [f"Net{number % 6}" for number in index]
    table[["x", "y", "z"]] = [
        np.round(nib.affines.apply_affine(_ATLAS_AFFINE, np.argwhere(labels == i).mean(0)), 3)
        for i in index
    ]
    table.to_csv(_beside(image, ".tsv"), sep="\t", index=False)
    _write_dlabel(_beside(image, ".dlabel.nii"))
    return image


def _beside(image: Path, ending: str) -> Path:
    return image.with_name(image.name.removesuffix(".nii.gz") + ending)


# A few of the 91k grayordinates: files name theirs, so none need the others.
_VERTICES = np.arange(300, 360)
_VOXELS = np.add(np.argwhere(np.ones((4, 4, 3))), [40, 50, 30])
_DENSE_SHAPE, _DENSE_MM = (91, 109, 91), np.diag([-2.0, 2, 2, 1])
_MODELS: Mapping[str, BrainModelAxis] = {
    **{
        side: BrainModelAxis.from_surface(_VERTICES, 32492, name=f"CIFTI_STRUCTURE_CORTEX_{side}")
        for side in ("LEFT", "RIGHT")
    },
    "THALAMUS": BrainModelAxis(
        ["CIFTI_STRUCTURE_THALAMUS_LEFT"] * len(_VOXELS),
        voxel=_VOXELS,
        affine=_DENSE_MM,
        volume_shape=_DENSE_SHAPE,
    ),
}
_DENSE_LABELS = {
    name: np.arange(start, start + len(models)) % (N_PARCELS + 1)
    for start, (name, models) in enumerate(_MODELS.items())
}


def _write_dlabel(path: Path) -> None:
    names = {0: ("???", (0.0, 0.0, 0.0, 0.0))}
    names |= {i: (name, (0.5, 0.5, 0.5, 1.0)) for i, name in enumerate(PARCELS, start=1)}
    left, right, thalamus = _MODELS.values()
    labels = np.concatenate(list(_DENSE_LABELS.values()))
    axes = (LabelAxis(["Blocks"], [names]), left + right + thalamus)
    nib.save(nib.Cifti2Image(labels[None].astype(np.float32), axes), path)


def write_dense_series(study: Path, participant: str, *, seed: int) -> NDArray[np.float64]:
    """Write a CIFTI series in another order than the atlas's; returns its (time, parcel) means."""
    order = ("RIGHT", "LEFT", "THALAMUS")
    labels = np.concatenate([_DENSE_LABELS[name] for name in order])
    rng = np.random.default_rng(seed)
    values = (1000 + 10 * rng.standard_normal((N_VOLUMES, len(labels)))).astype(np.float32)
    first, second, third = (_MODELS[name] for name in order)
    axes = (SeriesAxis(0, 2.0, N_VOLUMES), first + second + third)
    folder = func_dir(study, participant)
    name = f"{participant}_task-rest_space-fsLR_den-91k_bold"
    nib.save(nib.Cifti2Image(values, axes), folder / f"{name}.dtseries.nii")
    (folder / f"{name}.json").write_text('{"RepetitionTime": 2.0, "TaskName": "rest"}')
    exact = values.astype(np.float64)
    return np.stack([exact[:, labels == i].mean(axis=1) for i in range(1, N_PARCELS + 1)], axis=1)


def as_itk(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """Hand an image to SimpleITK, whose millimetres count to the left and the back."""
    in_lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(in_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing)
    image.SetOrigin(in_lps[:3, 3])
    image.SetDirection((in_lps[:3, :3] / spacing).ravel())
    return image


def write_templates(home: Path) -> Mapping[tuple[str, str], Path]:
    """Make a TemplateFlow folder with transforms both ways, and a brain mask; by source, target."""
    transforms = {(N6, N9): _transform(1), (N9, N6): _transform(2)}
    paths = {}
    for (source, target), transform in transforms.items():
        path = home / f"tpl-{target}" / f"tpl-{target}_from-{source}_mode-image_xfm.h5"
        path.parent.mkdir(parents=True)
        sitk.WriteTransform(transform, str(path))
        paths[source, target] = path
    mask = np.zeros(_ATLAS_SHAPE, dtype=np.uint8)
    mask[6:40, 6:50, 6:40] = 1
    named = home / f"tpl-{N9}" / f"tpl-{N9}_res-02_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, _ATLAS_AFFINE), named)
    return paths


def _transform(seed: int) -> Any:
    """Bend smoothly by a few mm, then turn and stretch a little."""
    shift = gaussian_filter(
        np.random.default_rng(seed).standard_normal((25, 30, 25, 3)), (3, 3, 3, 0)
    )
    field = sitk.GetImageFromArray(shift * (2.5 / shift.std()), isVector=True)
    field.SetOrigin((-100.0, -120, -90))
    field.SetSpacing((9, 9, 9))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((nib.eulerangles.euler2mat(0.03, -0.02, 0.05) * [1.02, 0.99, 1.01]).ravel())
    affine.SetTranslation((1.3, -2.1, 0.7))
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(affine)
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    return composite

"""A study of a few people on a handful of voxels, written in milliseconds, for a test to damage."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis, SeriesAxis
from numpy.typing import NDArray

SPACE = "MNI152NLin6Asym"
SHAPE, N_VOLUMES, TR_S = (6, 7, 6), 40, 2.0
AFFINE = np.array([[-4.0, 0, 0, 10], [0, 4, 0, -14], [0, 0, 4, -8], [0, 0, 0, 1]])
INDEX = (3, 1, 20, 7, 5, 11)
"""Labels in the order of the table, which is not theirs."""
NAMES = tuple(f"Parcel{label:02}" for label in INDEX)
N_VERTICES = 30
DTYPES: Mapping[str, tuple[type, float, float]] = {
    "float": (np.float32, 1.0, 0.0),
    "scaled": (np.int16, 0.25, 100.0),
    "double": (np.float64, 1.0, 0.0),
}
"""How images are stored: type, slope and intercept. With ``scaled`` only headers tell the time."""


@dataclass(frozen=True)
class TinyStudy:
    """Where the files of a study are."""

    root: Path
    """fMRIPrep's derivatives."""
    atlas: Path

    def func(self, participant: str = "01") -> Path:
        """Folder of a participant's functional files."""
        return self.root / f"sub-{participant}" / "func"

    def files(self, participant: str = "01") -> dict[str, Path]:
        """Files a run rests on, by their role; the anatomical mask is not written."""
        func, start = self.func(participant), f"sub-{participant}_task-rest"
        stem = self.atlas.name.partition(".")[0]
        return {
            "bold": func / f"{start}_space-{SPACE}_desc-preproc_bold.nii.gz",
            "mask": func / f"{start}_space-{SPACE}_desc-brain_mask.nii.gz",
            "anat mask": func.with_name("anat")
            / f"sub-{participant}_space-{SPACE}_desc-brain_mask.nii.gz",
            "sidecar": func / f"{start}_space-{SPACE}_desc-preproc_bold.json",
            "confounds": func / f"{start}_desc-confounds_timeseries.tsv",
            "masks of components": func / f"{start}_desc-confounds_timeseries.json",
            "dense": func / f"{start}_space-fsLR_den-91k_bold.dtseries.nii",
            "atlas": self.atlas,
            "atlas table": self.atlas.with_name(f"{stem}.tsv"),
            "atlas sidecar": self.atlas.with_name(f"{stem}.json"),
            "atlas on grayordinates": self.atlas.with_name(f"{stem}.dlabel.nii"),
        }


def write_study(
    folder: Path, participants: Sequence[str] = ("01",), *, dense: bool = False, kind: str = "float"
) -> TinyStudy:
    """Write a study; ``dense`` for CIFTI instead of NIfTI images, ``kind`` of `DTYPES`."""
    study = TinyStudy(
        folder / "fmriprep", folder / "atlas" / f"space-{SPACE}_atlas-Tiny_dseg.nii.gz"
    )
    study.atlas.parent.mkdir(parents=True)
    study.root.mkdir(parents=True)
    description = {"Name": "tiny", "BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "fMRIPrep"}]}
    (study.root / "dataset_description.json").write_text(json.dumps(description))
    _write_atlas(study)
    for number, participant in enumerate(participants):
        rng = np.random.default_rng(number)
        study.func(participant).mkdir(parents=True)
        write = _write_dense if dense else _write_volumes
        write(study.files(participant), rng, kind)
        _write_tables(study.files(participant), rng, kind)
    return study


def run_all(workflow: Any, folder: Path) -> None:
    """Run the interfaces of a run's nodes but the pictures', one after the other."""
    results: dict[str, Any] = {}
    for name in ("parcellate", "clean", "connect", "write"):
        node = workflow.get_node(name)
        for source, _, edge in workflow._graph.in_edges(node, data=True):
            for output, target in edge["connect"]:
                setattr(node.interface.inputs, target, getattr(results[source.name], output))
        results[name] = node.interface.run(cwd=str(folder)).outputs


def labels() -> NDArray[np.int16]:
    """Six blocks of the grid with a rim of background."""
    found = np.zeros(SHAPE, dtype=np.int16)
    block = found[1:5, :6, :]
    block[:] = np.array(INDEX)[
        (np.arange(4) // 2)[:, None, None] * 3 + (np.arange(6) // 2)[:, None]
    ]
    return found


def _write_atlas(study: TinyStudy) -> None:
    files = study.files()
    save(files["atlas"], labels())
    rows = (f"{label}\t{name}\tNet{label % 2}" for label, name in zip(INDEX, NAMES, strict=True))
    files["atlas table"].write_text("\n".join(["index\tname\tnetwork", *rows]) + "\n")
    files["atlas sidecar"].write_text(json.dumps({"Name": "Six blocks", "License": "CC0"}))
    titles = {0: ("background", (0, 0, 0, 0))}
    titles |= {label: (name, (0, 0, 0, 1)) for label, name in zip(INDEX, NAMES, strict=True)}
    on_grid = np.resize([0, *INDEX], len(grayordinates()))
    axes = LabelAxis(["tiny"], [titles]), grayordinates()
    _save_cifti(files["atlas on grayordinates"], on_grid[None].astype(np.float32), axes)


def grayordinates() -> BrainModelAxis:
    """A little cortex and a little thalamus."""
    cortex = BrainModelAxis.from_surface(
        np.arange(2, 22), N_VERTICES, name="CIFTI_STRUCTURE_CORTEX_LEFT"
    )
    voxels = np.add(np.argwhere(np.ones((2, 2, 2))), [40, 50, 30])
    thalamus = BrainModelAxis(
        ["CIFTI_STRUCTURE_THALAMUS_LEFT"] * len(voxels),
        voxel=voxels,
        affine=np.diag([-2.0, 2, 2, 1]),
        volume_shape=(91, 109, 91),
    )
    return cortex + thalamus


def _write_volumes(files: Mapping[str, Path], rng: np.random.Generator, kind: str) -> None:
    dtype, slope, intercept = DTYPES[kind]
    signal = 1000 + 20 * rng.normal(size=(*SHAPE, N_VOLUMES))
    # A voxel outside the field of view, and a parcel that the mask cuts.
    signal[1, 0, 0] = 0
    stored = (signal - intercept) / slope
    save(files["bold"], stored.astype(dtype), slope=slope, intercept=intercept, tr_s=TR_S)
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask[:, :1] = 0
    save(files["mask"], mask)


def _write_dense(files: Mapping[str, Path], rng: np.random.Generator, kind: str) -> None:
    dtype, _, _ = DTYPES[kind]
    values = 1000 + 20 * rng.normal(size=(N_VOLUMES, len(grayordinates())))
    axes = SeriesAxis(0, TR_S, N_VOLUMES, "SECOND"), grayordinates()
    _save_cifti(files["dense"], values.astype(dtype), axes)


def save(
    path: Path,
    values: NDArray[np.generic],
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    tr_s: float | None = None,
) -> None:
    """Write stored values as a compressed NIfTI image on the study's grid."""
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    if tr_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr_s))
    content = bytearray(image.to_bytes())
    # nibabel would choose a scale of its own.
    content[112:120] = np.array([slope, intercept], dtype="<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content), 1, mtime=0))


def _save_cifti(path: Path, values: NDArray[np.generic], axes: tuple[object, object]) -> None:
    image = nib.Cifti2Image(values, axes)
    image.set_data_dtype(values.dtype)
    nib.save(image, path)


def _write_tables(files: Mapping[str, Path], rng: np.random.Generator, kind: str) -> None:
    columns = confounds(rng)
    rows = ("\t".join(cells) for cells in zip(*columns.values(), strict=True))
    files["confounds"].write_text("\n".join(["\t".join(columns), *rows]) + "\n")
    parts = {name: {"Mask": "CSF"} for name in columns if name.startswith("a_comp_cor")}
    files["masks of components"].write_text(json.dumps(parts))
    tr = {} if kind == "scaled" else {"RepetitionTime": TR_S}
    about = json.dumps({**tr, "StartTime": 0.5, "SkullStripped": False})
    for image in ("bold", "dense"):
        if files[image].is_file():
            files[image].with_name(files[image].name.partition(".")[0] + ".json").write_text(about)


def confounds(rng: np.random.Generator) -> dict[str, list[str]]:
    """Columns of fMRIPrep's table as text, few enough to leave degrees of freedom."""
    table: dict[str, NDArray[np.float64]] = {}
    for name in ("csf", "white_matter", "global_signal"):
        table[name] = 500 + rng.normal(size=N_VOLUMES)
    for name in (f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"):
        values = 0.05 * rng.normal(size=N_VOLUMES).cumsum()
        change = np.diff(values, prepend=np.nan)
        table |= {name: values, f"{name}_derivative1": change}
        table |= {f"{name}_power2": values**2, f"{name}_derivative1_power2": change**2}
    table["framewise_displacement"] = np.r_[np.nan, rng.gamma(2, 0.05, N_VOLUMES - 1)]
    table["rmsd"] = np.r_[np.nan, rng.gamma(2, 0.02, N_VOLUMES - 1)]
    table["std_dvars"] = np.r_[np.nan, 1 + 0.1 * rng.normal(size=N_VOLUMES - 1)]
    table["cosine00"] = np.cos(np.pi * (np.arange(N_VOLUMES) + 0.5) / N_VOLUMES)
    table["a_comp_cor_00"] = rng.normal(size=N_VOLUMES)
    table["non_steady_state_outlier00"] = (np.arange(N_VOLUMES) == 0).astype(float)
    return {
        name: ["n/a" if np.isnan(value) else repr(float(value)) for value in values]
        for name, values in table.items()
    }

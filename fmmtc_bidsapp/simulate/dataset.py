"""A simulated cohort as a BIDS dataset with derivatives in fMRIPrep's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.atlases import a424
from fmmtc_bidsapp.bidsio.files.atomic import write_bytes, write_json, write_text
from fmmtc_bidsapp.bidsio.files.names import build_name, dataset_description
from fmmtc_bidsapp.bidsio.files.origin import SIMULATOR
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.simulate.confounds import simulate_confounds
from fmmtc_bidsapp.simulate.images import SPACE, Canvas, make_canvas, paint, write_image
from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.streams import Stream, random_stream
from fmmtc_bidsapp.simulate.truth import GroundTruth, simulate_cohort

__all__ = ["derivatives_dir", "is_finished", "recipe", "truth_dir", "write_dataset"]

_BIDS_VERSION = "1.11.1"
_TASK = "rest"
_TRUTH = "truth.json"
_RECIPE = "MadeFrom"

_MADE_BY = {
    "Name": SIMULATOR,
    "Version": __version__,
    "Description": "Simulated data: nobody was scanned, and fMRIPrep never ran.",
}

_README = """\
# Simulated drug-response study

Nobody was scanned: this dataset was computed by `fmmtc-tools simulate`, with a response effect
that is known. There are no raw images. `derivatives/fmriprep` holds what fMRIPrep would have left,
with signals that were painted into the parcels of an atlas; fMRIPrep itself never ran.
`sourcedata/simulation` holds the truth: `truth.tsv` with each person's latent values and oracles,
`truth.json` with the options, the definition of every oracle and its AUROC on this cohort, and
the atlas that was painted.
"""

_PARTICIPANT_COLUMNS = {
    "type": {
        "Description": "Patient or healthy control.",
        "Levels": {"patient": "", "control": ""},
    },
    "study": {"Description": "Study arm: study 1 gave placebo only, study 2 gave either."},
    "gender": {"Description": "Gender.", "Levels": {"female": "", "male": ""}},
    "Age": {"Description": "Age.", "Units": "year"},
    "Drug": {"Description": "Drug given.", "Levels": {"placebo": "", "duloxetine": ""}},
    "Response": {
        "Description": "Simulated response to treatment.",
        "Levels": {"1": "responder", "0": "no responder"},
    },
}

# What fMRIPrep writes and BIDS has no name for.
_BIDSIGNORE = ("*_boldref.nii.gz", "*_timeseries.tsv", "*_timeseries.json")


def derivatives_dir(out: Path) -> Path:
    """Name the folder with the fMRIPrep-like derivatives."""
    return out / "derivatives" / "fmriprep"


def truth_dir(out: Path) -> Path:
    """Name the folder with the ground truth and the atlas."""
    return out / "sourcedata" / "simulation"


def recipe(
    options: SimulationOptions, atlas: Atlas, voxel_size_mm: float, dtype: str
) -> dict[str, Any]:
    """Return everything that decides a dataset's bytes, as plain JSON values."""
    study = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(options).items()}
    return {
        "version": __version__,
        "atlas": atlas.label,
        "atlas_digest": atlas.digest,
        "voxel_size_mm": float(voxel_size_mm),
        "dtype": dtype,
        **study,
    }


def is_finished(out: Path, made_from: dict[str, Any]) -> bool:
    """Return whether a folder holds the dataset of a recipe; a UsageError if anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    truth = truth_dir(out) / _TRUTH
    if not truth.is_file():
        raise UsageError(
            f"{out} is not empty and has no finished simulation. Choose another folder, or "
            "delete it if it is from an interrupted simulation."
        )
    found = json.loads(truth.read_text(encoding="utf-8"))[_RECIPE]
    other = [
        f"{key} {found.get(key)} (requested: {wanted})"
        for key, wanted in made_from.items()
        if found.get(key) != wanted
    ]
    if other:
        raise UsageError(
            f"{out} holds another simulation, made with {', '.join(other)}. Choose another "
            "folder, or delete this one."
        )
    return True


def write_dataset(
    out: Path,
    options: SimulationOptions,
    atlas: Atlas,
    *,
    voxel_size_mm: float = 4.0,
    dtype: str = "int16",
    progress: Callable[[str], None] | None = None,
) -> GroundTruth:
    """Simulate a cohort and write its dataset; the truth, written last, marks it as finished."""
    truth = simulate_cohort(options, atlas.networks)
    canvas = make_canvas(atlas, voxel_size_mm)
    for path in _atlas_files(atlas.image):
        write_bytes(truth_dir(out) / path.name, path.read_bytes())
    _write_raw(out, truth)
    _write_derivatives_root(derivatives_dir(out))
    for person, label in enumerate(truth.participant_ids):
        _write_person(derivatives_dir(out), truth, canvas, person, dtype)
        if progress is not None:
            progress(label)
    made_from = recipe(options, atlas, voxel_size_mm, dtype)
    unpainted = np.setdiff1d(np.arange(len(atlas.names)), canvas.parcel)
    _write_truth(truth_dir(out), truth, made_from, [atlas.names[each] for each in unpainted])
    return truth


def _write_raw(out: Path, truth: GroundTruth) -> None:
    write_json(
        dataset_description(out),
        {
            "Name": "Simulated drug-response study",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["Nobody was scanned", "fmmtc_bidsapp"],
            "GeneratedBy": [_MADE_BY],
        },
    )
    write_text(out / "README.md", _README)
    write_tsv(
        out / "participants.tsv", {"participant_id": truth.participant_ids, **truth.covariates}
    )
    write_json(out / "participants.json", _PARTICIPANT_COLUMNS)
    for label in truth.participant_ids:
        # An empty list of scans: the person is in the dataset without a raw image.
        write_tsv(out / label / f"{label}_scans.tsv", {"filename": []})


def _write_derivatives_root(root: Path) -> None:
    write_json(
        dataset_description(root),
        {
            "Name": "Simulated derivatives in the layout of fMRIPrep",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "derivative",
            "License": "CC0",
            "GeneratedBy": [_MADE_BY],
        },
    )
    write_text(root / ".bidsignore", "\n".join(_BIDSIGNORE) + "\n")


def _write_person(root: Path, truth: GroundTruth, canvas: Canvas, person: int, dtype: str) -> None:
    label, options, series = truth.participant_ids[person], truth.options, truth.series[person]
    rng = random_stream(options.seed, Stream.VOXELS, person)
    bold = _func_path(root, label, {"space": SPACE, "desc": "preproc"}, "bold.nii.gz")
    volumes = paint(canvas, series, options, rng)
    timing = (options.volumes, options.tr_s)
    write_image(bold, volumes, canvas.grid, dtype=dtype, time=timing)
    write_json(
        _sidecar(bold),
        {
            "RepetitionTime": options.tr_s,
            "SkullStripped": False,
            "SliceTimingCorrected": False,
            "StartTime": 0.0,
            "TaskName": _TASK,
        },
    )
    mask = _func_path(root, label, {"space": SPACE, "desc": "brain"}, "mask.nii.gz")
    write_image(mask, [canvas.brain], canvas.grid, dtype="uint8")
    write_json(_sidecar(mask), {"Type": "Brain", "RawSources": []})
    reference = _func_path(root, label, {"space": SPACE}, "boldref.nii.gz")
    mean = paint(canvas, series.mean(axis=0, keepdims=True), options, rng)
    write_image(reference, mean, canvas.grid, dtype=dtype)
    confounds = simulate_confounds(options, series, person)
    table = _func_path(root, label, {"desc": "confounds"}, "timeseries.tsv")
    write_tsv(table, confounds.columns)
    write_json(_sidecar(table), confounds.sidecar)


def _func_path(root: Path, label: str, extra: dict[str, str], ending: str) -> Path:
    suffix, extension = ending.split(".", maxsplit=1)
    entities = {"sub": label.removeprefix("sub-"), "task": _TASK, **extra}
    return root / label / "func" / build_name(entities, suffix, f".{extension}")


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")


def _atlas_files(image: Path) -> list[Path]:
    """List the files of an atlas; they keep their names, by which A424 is recognised."""
    if image.name == a424.IMAGE:
        return [image.with_name(name) for name in a424.SHA256]
    stem = image.name.partition(".")[0]
    table, sidecar = (image.with_name(stem + ending) for ending in (".tsv", ".json"))
    return [image, table, *([sidecar] if sidecar.is_file() else [])]


def _write_truth(
    folder: Path, truth: GroundTruth, made_from: dict[str, Any], unpainted: list[str]
) -> None:
    write_tsv(
        folder / "truth.tsv",
        {
            "participant_id": truth.participant_ids,
            "y": truth.covariates["Response"],
            **{f"latent_{name}": z.round(6) for name, z in truth.latents.items()},
            **{f"oracle_{each.name}": each.value.round(6) for each in truth.oracles},
        },
    )
    write_json(
        folder / _TRUTH,
        {
            _RECIPE: made_from,
            "PlantedNetworks": truth.planted,
            "ParcelsWithoutVoxels": unpainted,
            "Oracles": {
                f"oracle_{each.name}": {
                    "Description": each.definition,
                    "Planted": each.name in truth.latents,
                    "AUROC": round(each.auroc, 4),
                }
                for each in truth.oracles
            },
        },
    )

"""A trained model as a folder that ``apply`` needs and nothing else.

``model.safetensors`` holds every tensor, ``config.json`` what the network is and who it was trained
on, ``preprocessing.json`` how a series becomes its input, ``calibration.json`` how its output
becomes a probability. Nothing in a bundle is executed when it is read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.bidsio.write import atomic_path, write_json, write_text
from fmmtc_bidsapp.errors import InputError, ModelFileError, UsageError
from fmmtc_bidsapp.group.ranges import TrainingRange
from fmmtc_bidsapp.learning.experiments import FittedModel, restore_model
from fmmtc_bidsapp.learning.learner import Setup
from fmmtc_bidsapp.model.checkpoint import file_digest, load_tensors, save_tensors
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Calibration, Floats

__all__ = [
    "Bundle",
    "check_fits",
    "fitted_files",
    "load_bundle_model",
    "read_bundle",
    "save_bundle_model",
    "withdraw_bundle",
    "write_bundle",
]

FORMAT = 1
"""Raised when an older program could misread a newer bundle."""

_TENSORS = "model.safetensors"
_DESCRIPTION = "description.json"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle without its tensors."""

    folder: Path
    digest: str
    """sha256 of the tensors' file."""
    model: ModelOptions
    """The options it was trained with; ``encoder_weights`` is the user's to give."""
    seed: int
    """Seed of the random encoder and of the token orders."""
    encoder_digest: str
    precision: str
    """Arithmetic of the encoder: features of another would be shifted."""
    atlas_label: str | None
    atlas_digest: str | None
    parcels: tuple[str, ...]
    coordinates_mm: Floats
    calibration: Calibration
    training_range: TrainingRange
    target: str
    positive_value: str


def save_bundle_model(folder: Path, model: FittedModel) -> tuple[Path, Path]:
    """Write a fitted model's tensors and description into a node's folder."""
    tensors, description = folder / _TENSORS, folder / _DESCRIPTION
    save_tensors(tensors, model.tensors())
    description.write_text(json.dumps(model.description()), encoding="utf-8")
    return tensors, description


def fitted_files(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Find the tensors, and read the description, that `save_bundle_model` left in a folder."""
    return folder / _TENSORS, _read_json(folder / _DESCRIPTION)


def write_bundle(
    bundle: Bundle, tensors: Path, description: Mapping[str, Any], *, n_people: int, card: str
) -> None:
    """Write a bundle, its tensors last, so that a folder with tensors is whole.

    Parameters
    ----------
    bundle
        What is to be read back.
    tensors
        The file that ``bundle.digest`` is of.
    description
        Of the fitted model.
    n_people
        How many it was trained on.
    card
        Text of ``MODEL_CARD.md``.
    """
    folder = bundle.folder
    network = {name: value for name, value in description.items() if name != "calibration"}
    prevalence = {"prevalence": description["prevalence"]}
    write_json(folder / "calibration.json", asdict(bundle.calibration) | prevalence)
    write_json(
        folder / "preprocessing.json",
        {
            "options": _without_paths(bundle.model),
            "seed": bundle.seed,
            "encoder_digest": bundle.encoder_digest,
            "precision": bundle.precision,
            "atlas": bundle.atlas_label,
            "atlas_digest": bundle.atlas_digest,
            "parcels": list(bundle.parcels),
            "coordinates_mm": bundle.coordinates_mm.tolist(),
        },
    )
    write_json(
        folder / "config.json",
        {
            "format": FORMAT,
            "version": __version__,
            "target": bundle.target,
            "positive_value": bundle.positive_value,
            "n_people": n_people,
            "training_range": asdict(bundle.training_range),
            "sha256": bundle.digest,
            "network": network,
        },
    )
    write_text(folder / "MODEL_CARD.md", card)
    kept = folder / _TENSORS
    if not kept.is_file() or file_digest(kept) != bundle.digest:
        with atomic_path(kept) as partial:
            shutil.copyfile(tensors, partial)


def withdraw_bundle(folder: Path) -> None:
    """Take the tensors of an older run away, so that no bundle belies the written figures."""
    (folder / _TENSORS).unlink(missing_ok=True)


def _without_paths(model: ModelOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(model).items() if name != "encoder_weights"}


def read_bundle(folder: Path) -> Bundle:
    """Read everything of a bundle but its tensors, and check that those are the ones it means.

    Raises
    ------
    ModelFileError
        When a file is missing, damaged, from another bundle, or of a newer format.
    """
    config, preprocessing, calibration = (
        _read_json(folder / name)
        for name in ("config.json", "preprocessing.json", "calibration.json")
    )
    if config.get("format") != FORMAT:
        raise ModelFileError(
            f"{folder} has bundle format {config.get('format')}, this program reads {FORMAT}; use "
            f"fmmtc_bidsapp {config.get('version')}, or train again."
        )
    tensors = folder / _TENSORS
    digest = file_digest(tensors) if tensors.is_file() else "absent"
    if digest != config.get("sha256"):
        raise ModelFileError(
            f"{tensors} is not the file config.json was written with (sha256 {digest}, expected "
            f"{config.get('sha256')}); copy the whole bundle again."
        )
    try:
        ranges = config["training_range"]
        return Bundle(
            folder=folder,
            digest=digest,
            model=ModelOptions(**preprocessing["options"]),
            seed=preprocessing["seed"],
            encoder_digest=preprocessing["encoder_digest"],
            precision=preprocessing["precision"],
            atlas_label=preprocessing["atlas"],
            atlas_digest=preprocessing["atlas_digest"],
            parcels=tuple(preprocessing["parcels"]),
            coordinates_mm=np.array(preprocessing["coordinates_mm"], dtype=np.float64),
            calibration=Calibration(
                **{name: value for name, value in calibration.items() if name != "prevalence"}
            ),
            training_range=TrainingRange(
                None if ranges["tr_s"] is None else tuple(ranges["tr_s"]),
                tuple(ranges["n_volumes"]),
                None if ranges["mean_fd_mm"] is None else tuple(ranges["mean_fd_mm"]),
            ),
            target=config["target"],
            positive_value=config["positive_value"],
        )
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"{folder} is not a whole bundle ({error}); copy it again, or train again."
        ) from error


def load_bundle_model(folder: Path, setup: Setup) -> FittedModel:
    """Read the model of a bundle.

    Raises
    ------
    ModelFileError
        When its tensors are not those its configuration promises.
    """
    description = _read_json(folder / "config.json")["network"]
    calibration = _read_json(folder / "calibration.json")
    calibration.pop("prevalence")
    tensors = load_tensors(folder / _TENSORS, description["tensors"])
    return restore_model(tensors, description | {"calibration": calibration}, setup)


def check_fits(bundle: Bundle, cohort: Cohort, asked: ModelOptions, flags: Sequence[str]) -> None:
    """Refuse to apply a bundle to series it was not made for.

    Parameters
    ----------
    bundle, cohort
        What is applied, and to whom.
    asked
        Model options of the command.
    flags
        Names of those that the user gave.

    Raises
    ------
    UsageError
        When a flag contradicts the bundle.
    InputError
        When the series have another atlas, other parcels or another order of them.
    """
    own, other = _without_paths(bundle.model), _without_paths(asked)
    for name in flags:
        if name in own and own[name] != other[name]:
            raise UsageError(
                f"--{name.replace('_', '-')} is {other[name]}, but the bundle {bundle.folder} was "
                f"trained with {own[name]}; leave the flag out."
            )
    problem = _atlas_problem(bundle, cohort)
    if problem:
        raise InputError(
            f"The bundle {bundle.folder} cannot be applied to these series: {problem}. Make the "
            "series with the atlas it was trained with, or train a bundle on this one."
        )


def _atlas_problem(bundle: Bundle, cohort: Cohort) -> str | None:
    if bundle.atlas_label != cohort.atlas_label:
        return f"it was trained on atlas {bundle.atlas_label}, they are of {cohort.atlas_label}"
    if set(bundle.parcels) != set(cohort.parcels):
        shared = len(set(bundle.parcels) & set(cohort.parcels))
        return (
            f"it knows {len(bundle.parcels)} parcels, they have {len(cohort.parcels)}, and "
            f"{shared} of the names are the same"
        )
    if bundle.parcels != cohort.parcels:
        return "their parcels are the same but stand in another order"
    if bundle.atlas_digest != cohort.atlas_digest:
        return "the atlas has the same label and parcels, but another digest"
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path} cannot be read ({error}); --model needs a whole models/<label> folder."
        ) from error
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path} holds no JSON object; copy the whole bundle again.")
    return dict(content)

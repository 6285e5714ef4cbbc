"""Write a bundle, or withdraw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.files.atomic import atomic_path, write_text
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.group.bundle.bundle import Bundle, without_paths
from fmmtc_bidsapp.group.bundle.files import (
    CALIBRATION_FILE,
    CARD_FILE,
    CONFIG_FILE,
    FILES_OF_FORMAT,
    FORMAT,
    MODEL_PREFIX,
    PEOPLE_FILE,
    PREPROCESSING_FILE,
    RANGE_PREFIX,
    TENSORS_FILE,
    render,
    text_digest,
)
from fmmtc_bidsapp.group.bundle.fitted import fitted_files
from fmmtc_bidsapp.learning.evaluation.distance import (
    ConnectivityRange,
)
from fmmtc_bidsapp.learning.model_selection.ensemble import (
    unite_descriptions,
    unite_tensors,
)
from fmmtc_bidsapp.models.checkpoint import load_tensors, save_tensors
from fmmtc_bidsapp.models.encoders.windows import Scale

__all__ = ["withdraw_bundle", "write_bundle"]


def write_bundle(
    bundle: Bundle, trainings: Sequence[Path], connectivity: ConnectivityRange | None, card: str
) -> None:
    """Write a bundle from the folders of its trainings; identical files are left alone.

    A partly written bundle is refused when read: its configuration, written last, does not match.
    """
    folder = bundle.folder
    parts = [fitted_files(each) for each in trainings]
    descriptions = [description for _, description in parts]
    network = unite_descriptions(descriptions)
    tensors = unite_tensors([load_tensors(path, each["tensors"]) for path, each in parts])
    everything = {f"{MODEL_PREFIX}{name}": each for name, each in tensors.items()}
    if connectivity is not None:
        own = connectivity.tensors()
        everything |= {f"{RANGE_PREFIX}{name}": each for name, each in own.items()}
    calibration = {name: network.pop(name) for name in ("calibration", "prevalence")}
    network.pop("tensors")
    write_text(folder / CARD_FILE, card)
    write_text(folder / CALIBRATION_FILE, render(calibration))
    write_text(folder / PREPROCESSING_FILE, render(_preprocessing(bundle)))
    people = None if bundle.people is None else asdict(bundle.people)
    write_text(folder / PEOPLE_FILE, render({"people": people}))
    with atomic_path(folder / TENSORS_FILE) as partial:
        save_tensors(partial, everything)
    config = _config(bundle, network) | {
        "shapes": {name: list(each.shape) for name, each in everything.items()},
        "sha256": {name: digest_of(folder / name) for name in FILES_OF_FORMAT[FORMAT]},
    }
    write_text(folder / CONFIG_FILE, _sealed(config))


def _preprocessing(bundle: Bundle) -> dict[str, Any]:
    xyz_mm = bundle.coordinates_mm
    scale = {} if bundle.scale is None else {"scale": _numbers(bundle.scale)}
    return scale | {
        "options": without_paths(bundle.model),
        "seed": bundle.seed,
        "encoder_digest": bundle.encoder_digest,
        "random_digest": bundle.random_digest,
        "precision": bundle.precision,
        "atlas": bundle.atlas_label,
        "atlas_digest": bundle.atlas_digest,
        "parcels": list(bundle.parcels),
        "coordinates_mm": None if xyz_mm is None else xyz_mm.tolist(),
        **({"modalities": dict(bundle.modalities)} if bundle.modalities else {}),
        "adjust": bundle.adjust,
        "covariates": [asdict(each) for each in bundle.covariates],
    }


def _numbers(scale: Scale) -> dict[str, list[float | None]]:
    """Return a number for each parcel by statistic; null for NaN, which JSON lacks."""
    values = {"median": scale.median, "iqr": scale.iqr}
    return {
        name: [None if np.isnan(each) else float(each) for each in own]
        for name, own in values.items()
    }


def _config(bundle: Bundle, network: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "model": bundle.main,
        "title": bundle.title,
        "trainings": bundle.trainings,
        "target": bundle.target,
        "positive_value": bundle.positive_value,
        "negative_value": bundle.negative_value,
        "positive_meaning": bundle.positive_meaning,
        "negative_meaning": bundle.negative_meaning,
        "n_people": bundle.n_people,
        "training_range": asdict(bundle.training_range),
        "connectivity_limit": bundle.connectivity_limit,
        "evidence": None if bundle.evidence is None else asdict(bundle.evidence),
        "network": dict(network),
        **({"packages": [asdict(each) for each in bundle.packages]} if bundle.packages else {}),
    }


def _sealed(config: Mapping[str, Any]) -> str:
    """Return the text of a configuration with its digest."""
    return render({**config, "seal": text_digest(render(config))})


def withdraw_bundle(folder: Path) -> None:
    """Remove configuration and tensors of an older run, which no longer match the tables."""
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    (folder / TENSORS_FILE).unlink(missing_ok=True)

"""Read a bundle, after every file has proven to be unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import MissingResourceError, ModelFileError
from fmmtc_bidsapp.group.bundle.bundle import Bundle, Package
from fmmtc_bidsapp.group.bundle.bundle_schema import (
    CALIBRATION,
    CONFIG,
    PACKAGES,
    PEOPLE,
    PREPROCESSING,
    disagreements,
)
from fmmtc_bidsapp.group.bundle.files import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    FILES_OF_FORMAT,
    FORMAT,
    MODEL_PREFIX,
    PEOPLE_FILE,
    PREPROCESSING_FILE,
    RANGE_PREFIX,
    READ_FORMATS,
    TENSORS_FILE,
    read_object,
    render,
    text_digest,
)
from fmmtc_bidsapp.group.bundle.known_people import KnownPeople
from fmmtc_bidsapp.group.bundle.schema import Record
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.bundle.validation_summary import Evidence
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER, learns_scale
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.evaluation.distance import (
    DECLARED_RANGE,
    ConnectivityRange,
    restore_connectivity_range,
)
from fmmtc_bidsapp.learning.model_selection.ensemble import (
    EnsembleModel,
    restore_trainings,
)
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel
from fmmtc_bidsapp.models.checkpoint import load_tensors
from fmmtc_bidsapp.models.declared import check_tensors_declared
from fmmtc_bidsapp.models.encoders.registry import ENCODERS
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.models.networks.resnet import current_name
from fmmtc_bidsapp.options import ModelOptions

__all__ = ["load_bundle_model", "load_connectivity_range", "read_bundle"]


_SHOWN = 5


def read_bundle(folder: Path) -> Bundle:
    """Read everything of a bundle but its tensors, after every file has proven to be unchanged."""
    config = _verified(folder)
    preprocessing = _read_known(folder / PREPROCESSING_FILE, PREPROCESSING)
    wrong = disagreements(config, preprocessing)
    if wrong:
        raise _not_whole(folder, wrong)
    ranges, xyz_mm = config["training_range"], preprocessing["coordinates_mm"]
    return Bundle(
        folder=folder,
        main=config["model"],
        title=config["title"],
        model=_options(preprocessing["options"]),
        seed=preprocessing["seed"],
        encoder_digest=preprocessing["encoder_digest"],
        random_digest=preprocessing.get("random_digest"),
        precision=preprocessing["precision"],
        atlas_label=preprocessing["atlas"],
        atlas_digest=preprocessing["atlas_digest"],
        parcels=tuple(preprocessing["parcels"]),
        coordinates_mm=None if xyz_mm is None else np.array(xyz_mm, dtype=np.float64),
        training_range=TrainingRange(
            **{each.name: _pair(ranges[each.name]) for each in fields(TrainingRange)}
        ),
        connectivity_limit=config["connectivity_limit"],
        target=config["target"],
        positive_value=config["positive_value"],
        negative_value=config.get("negative_value"),
        positive_meaning=config.get("positive_meaning"),
        negative_meaning=config.get("negative_meaning"),
        people=_people(folder, config),
        n_people=config["n_people"],
        trainings=config["trainings"],
        adjust=preprocessing["adjust"],
        covariates=tuple(CovariateLevels(**each) for each in preprocessing["covariates"]),
        scale=_scale(folder, config["model"], preprocessing),
        evidence=_evidence(config.get("evidence")),
        packages=tuple(Package(**each) for each in config.get("packages", ())),
        modalities={k: tuple(v) for k, v in preprocessing.get("modalities", {}).items()},
        digest=config["seal"],
    )


def _not_whole(path: Path, problems: Sequence[str]) -> ModelFileError:
    """Return the error for wrong fields of a bundle."""
    shown = "; ".join(problems[:_SHOWN]) + ("; …" if len(problems) > _SHOWN else "")
    return ModelFileError(
        f"{path} is not as this program writes it: {shown}. Copy the whole bundle again, or train "
        "again."
    )


def _read_known(path: Path, kind: Record) -> dict[str, Any]:
    """Read a file and check all of its fields."""
    content = read_object(path)
    _check_fields(path, content, kind)
    return content


def _check_fields(path: Path, content: Any, kind: Record) -> None:
    found = [f"{field} {problem}" for field, problem in kind.problems("", content)]
    if found:
        raise _not_whole(path, found)


def _options(found: Mapping[str, Any]) -> ModelOptions:
    """Return the options, with an encoder that may come from another package."""
    encoder = found.get("encoder", "brainlm")
    if encoder != NO_ENCODER and encoder not in ENCODERS:
        raise MissingResourceError(
            f"The bundle needs the encoder {encoder!r}, which no installed package has. "
            "Install its package of the training (entry point fmmtc.encoders)."
        )
    return ModelOptions(**found)


def _scale(folder: Path, main: str, preprocessing: Mapping[str, Any]) -> Scale | None:
    """Return the scale of the training people, and refuse a bundle that lacks it."""
    found = preprocessing.get("scale")
    if found is not None:
        median, iqr = (np.array(found[name], dtype=np.float64) for name in ("median", "iqr"))
        return Scale(median, iqr)
    if learns_scale([main], _options(preprocessing["options"]), has_series=True):
        raise ModelFileError(
            f"{folder} was trained with --normalisation robust, but {PREPROCESSING_FILE} holds no "
            "median and interquartile range of its training people; train again."
        )
    return None


def _verified(folder: Path) -> dict[str, Any]:
    """Read the configuration, after it and all files that it names have proven to be unchanged."""
    config = _read_config(folder)
    files = FILES_OF_FORMAT[config["format"]]
    if set(files) != set(config["sha256"]):
        raise _not_whole(folder / CONFIG_FILE, [f"sha256 does not name {', '.join(files)}"])
    for name in files:
        _check_digest(folder / name, config["sha256"][name])
    return config


def _read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration, and refuse another format before any other field is read."""
    path = folder / CONFIG_FILE
    config = read_object(path)
    found = config.get("format")
    if isinstance(found, bool) or found not in READ_FORMATS:
        newer = isinstance(found, int) and found > FORMAT
        raise ModelFileError(
            f"{folder} has bundle format {found}, this program, {__version__}, reads "
            f"{' and '.join(map(str, READ_FORMATS))}: it "
            f"is {'newer' if newer else 'older'} than the program. Use fmmtc_bidsapp "
            f"{str(config.get('version'))[:20]}, or train again."
        )
    _require_packages(folder, path, config.get("packages", []))
    _check_fields(path, config, CONFIG)
    seal = config["seal"]
    unsealed = {name: value for name, value in config.items() if name != "seal"}
    # Rendered again, so that even a changed space is found.
    if seal != text_digest(render(unsealed)) or path.read_text(encoding="utf-8") != render(config):
        raise ModelFileError(
            f"{path} was changed since it was written (its sha256 is not the one it holds); copy "
            "the whole bundle again."
        )
    return config


def _require_packages(folder: Path, path: Path, packages: Any) -> None:
    """Refuse a bundle that needs a package that is not installed."""
    found = [f"{field} {problem}" for field, problem in PACKAGES.problems("packages", packages)]
    if found:
        raise _not_whole(path, found)
    for each in (Package(**own) for own in packages):
        if each.installed is None:
            raise MissingResourceError(
                f"The bundle {folder} needs {each.name!r} ({each.group}) of {each.distribution} "
                f"{each.version}, which is not installed: pip install "
                f"{each.distribution}=={each.version}"
            )


def _check_digest(path: Path, expected: str) -> None:
    found = digest_of(path) if path.is_file() else "absent"
    if found != expected:
        raise ModelFileError(
            f"{path} is not the file that config.json was written with (sha256 {found}, expected "
            f"{expected}); copy the whole bundle again."
        )


def _evidence(written: Mapping[str, Any] | None) -> Evidence | None:
    if written is None:
        return None
    lists = {name: tuple(value) for name, value in written.items() if isinstance(value, list)}
    return Evidence(**{**written, **lists})


def _people(folder: Path, config: Mapping[str, Any]) -> KnownPeople | None:
    if PEOPLE_FILE not in FILES_OF_FORMAT[config["format"]]:
        return None
    written = _read_known(folder / PEOPLE_FILE, PEOPLE)["people"]
    if written is None:
        return None
    lists = {name: tuple(written[name]) for name in ("labels", "files", "scans")}
    return KnownPeople(**{**written, **lists})


def _pair(limits: Sequence[Any] | None) -> Any:
    return None if limits is None else tuple(limits)


def load_bundle_model(folder: Path, setup: Setup) -> FittedModel | EnsembleModel:
    """Read the model of a bundle; ModelFileError if tensors and configuration disagree."""
    config = _verified(folder)
    preprocessing = _read_known(folder / PREPROCESSING_FILE, PREPROCESSING)
    description = config["network"] | _read_known(folder / CALIBRATION_FILE, CALIBRATION)
    depths = _depths(config["network"])
    found = _tensors(folder, config, MODEL_PREFIX)
    tensors = {current_name(name, depths): each for name, each in found.items()}
    if preprocessing["adjust"] != any("adjustment." in name for name in tensors):
        raise _not_whole(
            folder, ["adjust does not agree with whether there are tensors of an adjustment"]
        )
    return restore_trainings(tensors, description, setup, _lengths(preprocessing["parcels"]))


def _depths(network: Mapping[str, Any]) -> Sequence[int]:
    """Return the blocks of each stage of the ResNet of a bundle; none without one."""
    trainings = network.get("trainings") or [network]
    depths: Sequence[int] = trainings[0]["fitted"].get("resnet", {}).get("depths", ())
    return depths


def _lengths(parcels: Sequence[str]) -> dict[str, int]:
    """Return the lengths of axes of tensors that depend on parcels."""
    n_parcels = len(parcels)
    return {"parcel": n_parcels, "edge": n_parcels * (n_parcels - 1) // 2}


def load_connectivity_range(bundle: Bundle) -> ConnectivityRange | None:
    """Read the summed connectomes of the training people; None without any."""
    if bundle.connectivity_limit is None:
        return None
    tensors = _tensors(bundle.folder, _verified(bundle.folder), RANGE_PREFIX)
    check_tensors_declared(tensors, DECLARED_RANGE, _lengths(bundle.parcels))
    return restore_connectivity_range(tensors, bundle.connectivity_limit)


def _tensors(folder: Path, config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    tensors = load_tensors(folder / TENSORS_FILE, config["shapes"])
    return {
        name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
    }

"""A trained model as a folder, complete for ``apply``.

``model.safetensors`` holds every tensor, ``config.json`` what the model is, ``people.json`` digests
by which those it was trained on are known again, ``preprocessing.json`` how a series becomes its
input, ``calibration.json`` how its output becomes a probability. Nothing in a bundle is executed
when it is read, and nothing of it is used before every file has proven to be the one that was
written. ``MODEL_CARD.md`` is for people, who are to complete it; it may be changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.bidsio.files.atomic import atomic_path, write_text
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError, MissingResourceError, ModelFileError, UsageError
from fmmtc_bidsapp.extensions import outside
from fmmtc_bidsapp.group.bundle.bundle_schema import (
    CALIBRATION,
    CONFIG,
    PACKAGES,
    PEOPLE,
    PREPROCESSING,
    disagreements,
)
from fmmtc_bidsapp.group.bundle.known_people import KnownPeople
from fmmtc_bidsapp.group.bundle.schema import Record
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.bundle.validation_summary import Evidence
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER, learns_scale
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluation.distance import (
    DECLARED_RANGE,
    ConnectivityRange,
    restore_connectivity_range,
)
from fmmtc_bidsapp.learning.model_selection.ensemble import (
    EnsembleModel,
    restore_trainings,
    unite_descriptions,
    unite_tensors,
)
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel, restore_model
from fmmtc_bidsapp.models.checkpoint import load_tensors, save_tensors
from fmmtc_bidsapp.models.declared import check_tensors_declared
from fmmtc_bidsapp.models.encoders.registry import ENCODERS
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.models.networks.resnet import current_name
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats
from fmmtc_bidsapp.visible import visible_json

__all__ = [
    "Bundle",
    "Package",
    "check_fits",
    "fitted_files",
    "fitted_paths",
    "load_bundle_model",
    "load_connectivity_range",
    "load_fitted",
    "read_bundle",
    "save_bundle_model",
    "withdraw_bundle",
    "write_bundle",
]

FORMAT = 3
"""Raised whenever a program of another format could misread a bundle."""
_READ = (2, FORMAT)
"""Formats that are read. Format 2 says neither the negative value of the outcome nor who was
trained on, nor the ranges of the covariates."""

_TENSORS = "model.safetensors"
_CONFIG = "config.json"
_PREPROCESSING = "preprocessing.json"
_CALIBRATION = "calibration.json"
_PEOPLE = "people.json"
_DESCRIPTION = "description.json"
_CARD = "MODEL_CARD.md"
_FILES = {
    2: (_TENSORS, _PREPROCESSING, _CALIBRATION),
    3: (_TENSORS, _PREPROCESSING, _CALIBRATION, _PEOPLE),
}
"""Files that the configuration vouches for, by format."""
_OF_MODEL, _OF_RANGE = "model.", "connectivity."
"""What the names of tensors begin with."""
_SHOWN = 5
_ENCODED = ("encoder", "random encoder")
"""Needs that an encoder must be there for."""


@dataclass(frozen=True)
class Package:
    """An entry point that a bundle was trained with."""

    group: str
    name: str
    distribution: str
    version: str

    @property
    def installed(self) -> str | None:
        """Version that is installed; None where it is not, or is another distribution's."""
        for each in outside(self.group):
            if (each.name, each.distribution) == (self.name, self.distribution):
                return each.version
        return None


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle without its tensors."""

    folder: Path
    main: str
    """The model, a key of `MODELS`."""
    title: str
    """As a reader calls it."""
    model: ModelOptions
    """The options it was trained with; ``encoder_weights`` is the user's to give. Without an
    encoder, ``encoder`` is ``none``."""
    seed: int
    """Seed of the random encoder and of the token orders."""
    encoder_digest: str
    """``none`` without an encoder."""
    precision: str
    """Arithmetic of the encoder: features of another would be shifted."""
    atlas_label: str | None
    atlas_digest: str | None
    parcels: tuple[str, ...]
    coordinates_mm: Floats | None
    """(parcel, 3) what the encoder was told; None without an encoder."""
    training_range: TrainingRange
    connectivity_limit: float | None
    """Distance that 99 % of the training people keep from the mean connectome; None where there was
    no connectivity."""
    target: str
    positive_value: str
    n_people: int
    negative_value: str | None = None
    """None of a bundle of format 2, which does not say."""
    positive_meaning: str | None = None
    negative_meaning: str | None = None
    """What the values meant in the training; None where nobody said."""
    people: KnownPeople | None = None
    """Digests of those it was trained on; None of a bundle of format 2."""
    trainings: int = 1
    """How many trainings are united."""
    adjust: bool = False
    """Whether the covariates are regressed out of what the model sees."""
    covariates: tuple[CovariateLevels, ...] = ()
    """Of a model that needs them; none of another."""
    random_digest: str | None = None
    """Of the random encoder, where the model needs one beside the pre-trained."""
    scale: Scale | None = None
    """Of the training people, where series are brought to it and the model sees them."""
    evidence: Evidence | None = None
    """Of the cross-validation that it comes from; None of a bundle that does not say."""
    packages: tuple[Package, ...] = ()
    """Entry points of other packages that it needs."""
    modalities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each modality of another package, the names along its first axis."""
    digest: str = ""
    """sha256 of the configuration, which holds those of all other files; empty until it is read."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What people must have to be predicted (`Model.needs`)."""
        return MODELS[self.main].needs

    @property
    def coding(self) -> OutcomeCoding:
        """Which value of the target was which outcome."""
        return OutcomeCoding(
            self.target,
            self.positive_value,
            self.negative_value,
            self.positive_meaning,
            self.negative_meaning,
        )

    @property
    def encodes(self) -> bool:
        """Whether people must go through an encoder to be predicted."""
        return any(need in _ENCODED for need in self.needs)


def save_bundle_model(folder: Path, model: FittedModel) -> tuple[Path, Path]:
    """Write a fitted model's tensors and description into a node's folder."""
    tensors, description = folder / _TENSORS, folder / _DESCRIPTION
    save_tensors(tensors, model.tensors())
    description.write_text(json.dumps(model.description()), encoding="utf-8")
    return tensors, description


def fitted_files(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Find the tensors, and read the description, that `save_bundle_model` left in a folder."""
    return folder / _TENSORS, _read_json(folder / _DESCRIPTION)


def fitted_paths(folder: Path) -> tuple[Path, Path]:
    """Name the tensors and the description that `save_bundle_model` left in a folder."""
    return folder / _TENSORS, folder / _DESCRIPTION


def load_fitted(tensors: Path, description: Path, setup: Setup) -> FittedModel:
    """Read what `save_bundle_model` wrote.

    Raises
    ------
    ModelFileError
        When the tensors are not those of the description.
    """
    told = _read_json(description)
    return restore_model(load_tensors(tensors, told["tensors"]), told, setup)


def write_bundle(
    bundle: Bundle, trainings: Sequence[Path], connectivity: ConnectivityRange | None, card: str
) -> None:
    """Write a bundle; what is there already with the same bytes is left alone.

    A bundle written in part is refused when it is read: its configuration, the last, does not fit.

    Parameters
    ----------
    bundle
        What is to be read back.
    trainings
        Folders that `save_bundle_model` wrote to, one a training.
    connectivity
        Of the training people; ``bundle.connectivity_limit`` is its limit.
    card
        Text of ``MODEL_CARD.md``.
    """
    folder = bundle.folder
    parts = [fitted_files(each) for each in trainings]
    descriptions = [description for _, description in parts]
    network = unite_descriptions(descriptions)
    tensors = unite_tensors([load_tensors(path, each["tensors"]) for path, each in parts])
    everything = {f"{_OF_MODEL}{name}": each for name, each in tensors.items()}
    if connectivity is not None:
        own = connectivity.tensors()
        everything |= {f"{_OF_RANGE}{name}": each for name, each in own.items()}
    calibration = {name: network.pop(name) for name in ("calibration", "prevalence")}
    network.pop("tensors")
    write_text(folder / _CARD, card)
    write_text(folder / _CALIBRATION, _render(calibration))
    write_text(folder / _PREPROCESSING, _render(_preprocessing(bundle)))
    people = None if bundle.people is None else asdict(bundle.people)
    write_text(folder / _PEOPLE, _render({"people": people}))
    with atomic_path(folder / _TENSORS) as partial:
        save_tensors(partial, everything)
    config = _config(bundle, network) | {
        "shapes": {name: list(each.shape) for name, each in everything.items()},
        "sha256": {name: digest_of(folder / name) for name in _FILES[FORMAT]},
    }
    write_text(folder / _CONFIG, _sealed(config))


def _preprocessing(bundle: Bundle) -> dict[str, Any]:
    xyz_mm = bundle.coordinates_mm
    scale = {} if bundle.scale is None else {"scale": _numbers(bundle.scale)}
    return scale | {
        "options": _without_paths(bundle.model),
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
    """By statistic, a number a parcel; null where there is none, as JSON knows no NaN."""
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


def _render(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return visible_json(text) + "\n"


def _sealed(config: Mapping[str, Any]) -> str:
    """Add the digest of a configuration to it; whoever changes a byte must find a new one."""
    return _render({**config, "seal": _digest(_render(config))})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def withdraw_bundle(folder: Path) -> None:
    """Take the configuration and the tensors of an older run away, so that none belies figures."""
    (folder / _CONFIG).unlink(missing_ok=True)
    (folder / _TENSORS).unlink(missing_ok=True)


def _without_paths(model: ModelOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(model).items() if name != "encoder_weights"}


def read_bundle(folder: Path) -> Bundle:
    """Read everything of a bundle but its tensors, once every file has proven to be its own.

    Raises
    ------
    ModelFileError
        When a file is missing, changed, from another bundle, or of another format.
    """
    config = _verified(folder)
    preprocessing = _read_known(folder / _PREPROCESSING, PREPROCESSING)
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
    """Say what is wrong with the fields of a bundle."""
    shown = "; ".join(problems[:_SHOWN]) + ("; …" if len(problems) > _SHOWN else "")
    return ModelFileError(
        f"{path} is not as this program writes it: {shown}. Copy the whole bundle again, or train "
        "again."
    )


def _read_known(path: Path, kind: Record) -> dict[str, Any]:
    """Read a file whose every field is what it must be."""
    content = _read_json(path)
    _check_fields(path, content, kind)
    return content


def _check_fields(path: Path, content: Any, kind: Record) -> None:
    found = [f"{field} {problem}" for field, problem in kind.problems("", content)]
    if found:
        raise _not_whole(path, found)


def _options(found: Mapping[str, Any]) -> ModelOptions:
    """Build the options, with an encoder that may be another package's."""
    encoder = found.get("encoder", "brainlm")
    if encoder != NO_ENCODER and encoder not in ENCODERS:
        raise MissingResourceError(
            f"The bundle reads the encoder {encoder!r}, which no installed package adds. "
            "Install the one that it was trained with (entry point fmmtc.encoders)."
        )
    return ModelOptions(**found)


def _scale(folder: Path, main: str, preprocessing: Mapping[str, Any]) -> Scale | None:
    """Read the scale of the training people, and refuse a bundle that lacks it."""
    found = preprocessing.get("scale")
    if found is not None:
        median, iqr = (np.array(found[name], dtype=np.float64) for name in ("median", "iqr"))
        return Scale(median, iqr)
    if learns_scale([main], _options(preprocessing["options"]), has_series=True):
        raise ModelFileError(
            f"{folder} was trained with --normalisation robust, but {_PREPROCESSING} holds no "
            "median and interquartile range of its training people; train again."
        )
    return None


def _verified(folder: Path) -> dict[str, Any]:
    """Read the configuration, once it and all that it names have proven to be unchanged."""
    config = _read_config(folder)
    files = _FILES[config["format"]]
    if set(files) != set(config["sha256"]):
        raise _not_whole(folder / _CONFIG, [f"sha256 does not name {', '.join(files)}"])
    for name in files:
        _check_digest(folder / name, config["sha256"][name])
    return config


def _read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration, and refuse another format before anything else of it is looked at."""
    path = folder / _CONFIG
    config = _read_json(path)
    found = config.get("format")
    if isinstance(found, bool) or found not in _READ:
        newer = isinstance(found, int) and found > FORMAT
        raise ModelFileError(
            f"{folder} has bundle format {found}, this program, {__version__}, reads "
            f"{' and '.join(map(str, _READ))}: it "
            f"is {'newer' if newer else 'older'} than the program. Use fmmtc_bidsapp "
            f"{str(config.get('version'))[:20]}, or train again."
        )
    _require_packages(folder, path, config.get("packages", []))
    _check_fields(path, config, CONFIG)
    seal = config["seal"]
    unsealed = {name: value for name, value in config.items() if name != "seal"}
    # Rendered anew, so that not even a space is another one.
    if seal != _digest(_render(unsealed)) or path.read_text(encoding="utf-8") != _render(config):
        raise ModelFileError(
            f"{path} was changed since it was written (its sha256 is not the one it holds); copy "
            "the whole bundle again."
        )
    return config


def _require_packages(folder: Path, path: Path, packages: Any) -> None:
    """Refuse a bundle whose model comes from a package that is not installed."""
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
    if _PEOPLE not in _FILES[config["format"]]:
        return None
    written = _read_known(folder / _PEOPLE, PEOPLE)["people"]
    if written is None:
        return None
    lists = {name: tuple(written[name]) for name in ("labels", "files", "scans")}
    return KnownPeople(**{**written, **lists})


def _pair(limits: Sequence[Any] | None) -> Any:
    return None if limits is None else tuple(limits)


def load_bundle_model(folder: Path, setup: Setup) -> FittedModel | EnsembleModel:
    """Read the model of a bundle.

    Raises
    ------
    ModelFileError
        When its tensors are not those its configuration promises.
    """
    config = _verified(folder)
    preprocessing = _read_known(folder / _PREPROCESSING, PREPROCESSING)
    description = config["network"] | _read_known(folder / _CALIBRATION, CALIBRATION)
    depths = _depths(config["network"])
    found = _tensors(folder, config, _OF_MODEL)
    tensors = {current_name(name, depths): each for name, each in found.items()}
    if preprocessing["adjust"] != any("adjustment." in name for name in tensors):
        raise _not_whole(
            folder, ["adjust does not agree with whether there are tensors of an adjustment"]
        )
    return restore_trainings(tensors, description, setup, _lengths(preprocessing["parcels"]))


def _depths(network: Mapping[str, Any]) -> Sequence[int]:
    """Blocks of each stage of the ResNet of a bundle; none without one."""
    trainings = network.get("trainings") or [network]
    depths: Sequence[int] = trainings[0]["fitted"].get("resnet", {}).get("depths", ())
    return depths


def _lengths(parcels: Sequence[str]) -> dict[str, int]:
    """Count what tensors have along the axes that parcels decide."""
    n_parcels = len(parcels)
    return {"parcel": n_parcels, "edge": n_parcels * (n_parcels - 1) // 2}


def load_connectivity_range(bundle: Bundle) -> ConnectivityRange | None:
    """Read the connectomes of the training people in sum; None where there were none.

    Raises
    ------
    ModelFileError
        As `load_bundle_model`.
    """
    if bundle.connectivity_limit is None:
        return None
    tensors = _tensors(bundle.folder, _verified(bundle.folder), _OF_RANGE)
    check_tensors_declared(tensors, DECLARED_RANGE, _lengths(bundle.parcels))
    return restore_connectivity_range(tensors, bundle.connectivity_limit)


def _tensors(folder: Path, config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    tensors = load_tensors(folder / _TENSORS, config["shapes"])
    return {
        name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
    }


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
    problem = _atlas_problem(bundle, cohort) or _modality_problem(bundle, cohort)
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


def _modality_problem(bundle: Bundle, cohort: Cohort) -> str | None:
    for name, names in bundle.modalities.items():
        found = cohort.modalities[name].names
        if found != names:
            shared = len(set(found) & set(names))
            return (
                f"it knows {len(names)} places of {name}, they have {len(found)}, {shared} of the "
                "names are the same, and they must stand in one order"
            )
    return None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        # Half a character, as JSON can spell one, has no digest.
        json.dumps(content, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{path} cannot be read ({error}); --model needs a whole models/<label> folder."
        ) from error
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path} holds no JSON object; copy the whole bundle again.")
    return dict(content)

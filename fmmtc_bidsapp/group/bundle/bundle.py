"""A trained model as a folder, complete for ``apply``.

``model.safetensors`` holds every tensor, ``config.json`` what the model is, ``people.json`` digests
of the training participants, ``preprocessing.json`` how a series becomes its input,
``calibration.json`` how its output becomes a probability. Reading a bundle runs none of its
content, and nothing of it is used before every file has proven to be the one that was written.
``MODEL_CARD.md`` is for readers, who may change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.extensions import outside
from fmmtc_bidsapp.group.bundle.known_people import KnownPeople
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.bundle.validation_summary import Evidence
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats

__all__ = ["Bundle", "Package", "without_paths"]


_ENCODED = ("encoder", "random encoder")
"""Needs of models that an encoder meets."""


@dataclass(frozen=True)
class Package:
    """An entry point that a bundle was trained with."""

    group: str
    name: str
    distribution: str
    version: str

    @property
    def installed(self) -> str | None:
        """Return the installed version; None if absent or of another distribution."""
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
    """Title for readers."""
    model: ModelOptions
    """The options of the training, without ``encoder_weights``; ``encoder`` is ``none`` without
    one."""
    seed: int
    """Seed of the random encoder and of the token orders."""
    encoder_digest: str
    """``none`` without an encoder."""
    precision: str
    """Arithmetic of the encoder: another would shift its features."""
    atlas_label: str | None
    atlas_digest: str | None
    parcels: tuple[str, ...]
    coordinates_mm: Floats | None
    """(parcel, 3) as the encoder read them; None without an encoder."""
    training_range: TrainingRange
    connectivity_limit: float | None
    """Distance from the mean connectome that 99 % of the training people keep; None without
    connectivity."""
    target: str
    positive_value: str
    n_people: int
    negative_value: str | None = None
    """None for a bundle of format 2."""
    positive_meaning: str | None = None
    negative_meaning: str | None = None
    """Meaning of the values in the training; None if not given."""
    people: KnownPeople | None = None
    """Digests of the training people; None for a bundle of format 2."""
    trainings: int = 1
    """Number of trainings that are merged."""
    adjust: bool = False
    """Whether covariates are regressed out of the input."""
    covariates: tuple[CovariateLevels, ...] = ()
    """Empty for a model that needs none."""
    random_digest: str | None = None
    """Of the random encoder, if the model needs one beside the pre-trained."""
    scale: Scale | None = None
    """Scale of the training people, if the model reads series scaled by it."""
    evidence: Evidence | None = None
    """Results of its cross-validation; None if the bundle has none."""
    packages: tuple[Package, ...] = ()
    """Entry points of other packages that it needs."""
    modalities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names along the first axis of each modality of another package."""
    digest: str = ""
    """sha256 of the configuration, which holds those of all other files; empty until read."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Return what people must have to be predicted (`Model.needs`)."""
        return MODELS[self.main].needs

    @property
    def coding(self) -> OutcomeCoding:
        """Return the coding of the outcome."""
        return OutcomeCoding(
            self.target,
            self.positive_value,
            self.negative_value,
            self.positive_meaning,
            self.negative_meaning,
        )

    @property
    def encodes(self) -> bool:
        """Return whether people must go through an encoder to be predicted."""
        return any(need in _ENCODED for need in self.needs)


def without_paths(model: ModelOptions) -> dict[str, Any]:
    """Return the options without the folder of the weights, which differs by machine."""
    return {name: value for name, value in asdict(model).items() if name != "encoder_weights"}

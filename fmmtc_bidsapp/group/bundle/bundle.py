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


def without_paths(model: ModelOptions) -> dict[str, Any]:
    """Return the options without the folder of the weights, which differs by machine."""
    return {name: value for name, value in asdict(model).items() if name != "encoder_weights"}

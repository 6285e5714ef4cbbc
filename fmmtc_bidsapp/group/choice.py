"""The encoder of an analysis, and what it is told of the parcels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats, Person

__all__ = ["EncoderChoice", "coordinates", "require_repetition_times"]


@dataclass(frozen=True, eq=False)
class EncoderChoice:
    """The encoder and what it is told."""

    options: ModelOptions
    seed: int
    """Of random weights and of the token orders."""
    digest: str
    """Of its weights."""
    coordinates_mm: Floats
    """(parcel, 3)"""
    device: str
    precision: str
    """As in ``--precision``."""


def coordinates(cohort: Cohort, options: ModelOptions) -> tuple[Floats, str]:
    """Choose what the encoder is told of where the parcels are.

    Returns
    -------
    coordinates : array
        (parcel, 3) in mm; zeros for a random encoder on an atlas without coordinates.
    notice : str
        What a reader must know of it; empty where there is nothing to say.

    Raises
    ------
    InputError
        When pre-trained weights meet an atlas without coordinates.
    """
    if cohort.coordinates_mm is not None:
        return cohort.coordinates_mm, ""
    if options.encoder == "brainlm":
        raise InputError(
            f"The atlas {cohort.atlas_label} has no coordinates (columns x, y, z of its dseg.tsv), "
            "and the pre-trained encoder needs them. Add them, or use --encoder random."
        )
    notice = (
        f"The atlas {cohort.atlas_label} has no coordinates: the random encoder was told zeros."
    )
    return np.zeros((len(cohort.parcels), 3)), notice


def require_repetition_times(people: Sequence[Person], options: ModelOptions) -> None:
    """Refuse series without a repetition time for pre-trained weights.

    Raises
    ------
    InputError
        With the number of such series and the first of them.
    """
    without = [run.path for person in people for run in person.runs if run.tr_s is None]
    if without and options.encoder == "brainlm":
        raise InputError(
            f"{len(without)} series have no RepetitionTime in their sidecar, the first is "
            f"{without[0]}; the pre-trained encoder was trained on known ones. Add it, or use "
            "--encoder random."
        )

"""The forward pass from series and connectivity, with gradients throughout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.train import FittedNetwork
from fmmtc_bidsapp.learning.explanation.integrated_gradients import MOST_STEPS
from fmmtc_bidsapp.modalities.preparation import Preparation
from fmmtc_bidsapp.modalities.table import MODALITIES
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.records import Examples, Floats

__all__ = ["Arrays", "Function", "Route", "routes_of"]

Arrays = Mapping[str, NDArray[Any]]
"""Of one person: ``series`` (parcel, time), ``fc`` (parcel, parcel), other packages' modalities,
as the model sees them."""

Function = Callable[[torch.Tensor], torch.Tensor]

_VALUES_AT_ONCE = 2**20
_MOST_AT_ONCE = 64
"""Points of a path in one pass: of ResNet-18 on 424 parcels five, which take less than 1 GB."""
_MOST_STEPS_OF_ENCODER = 256
"""Where each step is a pass through the encoder: 1024 may take an hour a person on a CPU."""


@dataclass(frozen=True, eq=False)
class Route:
    """From one source to the input of one branch of a network: prepared, in the same axes."""

    source: str
    """Key of `Arrays`."""
    preparation: Preparation
    device: torch.device
    at_once: int
    """Points of a path in one pass."""
    most_steps: int = MOST_STEPS
    """Points of a path that completeness may take."""

    def prepare(self, person: Arrays) -> torch.Tensor:
        """Return the point of the attributions, (1, ...), with NaN if the network leaves it out."""
        prepared = self.preparation.apply(person[self.source][None])
        return torch.as_tensor(prepared, device=self.device)

    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        """Transpose an array with the axes of `prepare`, without the 1, to those of the source."""
        return prepared

    def lead(self, person: Arrays) -> Function:
        """Return the function from there to the input of the branch, (batch, ...) both."""
        return lambda prepared: prepared

    def changes(self, person: Arrays) -> NDArray[np.bool_]:
        """Whether the person has a value, in the axes of the source."""
        return ~np.isnan(person[self.source])


class _Connectivity(Route):
    """A matrix, which every step keeps symmetric."""

    def lead(self, person: Arrays) -> Function:
        """Keep noise from making it asymmetric."""
        return lambda matrix: (matrix + matrix.mT) / 2

    def changes(self, person: Arrays) -> NDArray[np.bool_]:
        return super().changes(person) & ~np.eye(len(person["fc"]), dtype=bool)


class _Window(Route):
    """A window of series that the network reads itself."""

    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        return prepared.T


class _Values(Route):
    """A modality of another package."""

    def prepare(self, person: Arrays) -> torch.Tensor:
        prepared, shape = super().prepare(person), person[self.source].shape
        if prepared.shape[1:] != shape:
            raise InputError(
                f"{self.source} cannot be mapped: its preparation turns {shape} into "
                f"{tuple(prepared.shape[1:])}. Maps need a preparation that keeps the axes."
            )
        return prepared


@dataclass(frozen=True, eq=False, kw_only=True)
class _Encoded(Route):
    """A window of series that the frozen encoder reads, whose features the network reads."""

    encoder: Encoder
    xyz_mm: Floats | None
    """(parcel, 3)"""

    def prepare(self, person: Arrays) -> torch.Tensor:
        """(1, parcel, time); missing values are 0, and left out of the order of the tokens."""
        window = np.nan_to_num(person["series"], nan=0.0).astype(np.float32)
        return torch.as_tensor(window[None], device=self.device)

    def lead(self, person: Arrays) -> Function:
        """Encode and standardise."""
        there = ~np.isnan(person["series"])
        learnt = self.preparation.arrays()
        mean, sd = (
            torch.as_tensor(each, dtype=torch.float32, device=self.device)
            for each in (learnt["cls_mean"], learnt["cls_sd"])
        )

        def encode(window: torch.Tensor) -> torch.Tensor:
            cls = self.encoder.window_features(window, there, self.xyz_mm)
            scaled: torch.Tensor = (cls - mean) / sd
            return scaled

        return encode


def routes_of(
    source: FittedNetwork,
    examples: Examples,
    encoder: Encoder | None,
) -> tuple[Route, ...]:
    """Return the way into each branch of a network, in the order of its streams.

    InputError if the way leads through an encoder and there is none, or no series for it.
    """
    # A network with a slow part contains the encoder.
    is_tuned, device = bool(source.kind.slow), source.setup.device
    routes: list[Route] = []
    for stream, preparation in zip(source.kind.streams, source.preparations, strict=True):
        values = stream.values(examples)
        at_once = min(_MOST_AT_ONCE, max(1, _VALUES_AT_ONCE // int(values[0].size)))
        if stream.source == "fc":
            routes.append(_Connectivity("fc", preparation, device, at_once))
        elif stream.source == "series":
            steps = (1, _MOST_STEPS_OF_ENCODER) if is_tuned else (at_once, MOST_STEPS)
            routes.append(_Window("series", preparation, device, *steps))
        elif stream.modality not in MODALITIES.own:
            routes.append(_Values(stream.source, preparation, device, at_once))
        else:
            routes.append(_encoded(preparation, device, encoder, examples))
    return tuple(routes)


def _encoded(
    preparation: Preparation,
    device: torch.device,
    encoder: Encoder | None,
    examples: Examples,
) -> _Encoded:
    unplaced = examples.coordinates_mm is None
    if encoder is None or examples.series is None or (unplaced and encoder.spec.reads_coordinates):
        raise InputError(
            "A map of the encoder's features goes back through the encoder. It needs the encoder, "
            "the parcel series and the coordinates of the parcels."
        )
    return _Encoded(
        "series",
        preparation,
        device,
        at_once=1,
        most_steps=_MOST_STEPS_OF_ENCODER,
        encoder=encoder,
        xyz_mm=examples.coordinates_mm,
    )

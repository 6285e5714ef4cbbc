"""The forward pass from series and connectivity, with gradients throughout."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class Route(ABC):
    """From one source to what one branch of a network reads."""

    source: str
    """Key of `Arrays`."""
    at_once: int
    """Points of a path in one pass."""
    most_steps: int = MOST_STEPS
    """Points of a path that completeness may take."""

    @abstractmethod
    def prepare(self, person: Arrays) -> torch.Tensor:
        """Return the point where attributions are taken, (1, ...).

        It has NaN where the network is to see that something is missing.
        """

    @abstractmethod
    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        """Put what has the shape of `prepare`, without the 1, into the axes of the source."""

    @abstractmethod
    def lead(self, row: int, person: Arrays) -> Function:
        """Return the function from there to what the branch reads, (batch, ...) both."""

    def changes(self, person: Arrays) -> NDArray[np.bool_]:
        """Whether the person has a value, in the axes of the source."""
        return ~np.isnan(person[self.source])


@dataclass(frozen=True, eq=False)
class _Connectivity(Route):
    """A matrix, which every step keeps symmetric."""

    preparation: Preparation
    device: torch.device
    at_once: int
    source = "fc"

    def prepare(self, person: Arrays) -> torch.Tensor:
        return torch.as_tensor(self.preparation.apply(person["fc"][None]), device=self.device)

    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        return prepared

    def lead(self, row: int, person: Arrays) -> Function:
        """Keep noise from making it asymmetric."""
        return lambda matrix: (matrix + matrix.mT) / 2

    def changes(self, person: Arrays) -> NDArray[np.bool_]:
        return super().changes(person) & ~np.eye(len(person["fc"]), dtype=bool)


@dataclass(frozen=True, eq=False)
class _Window(Route):
    """A window of series that the network reads itself."""

    preparation: Preparation
    device: torch.device
    at_once: int
    most_steps: int
    source = "series"

    def prepare(self, person: Arrays) -> torch.Tensor:
        return torch.as_tensor(self.preparation.apply(person["series"][None]), device=self.device)

    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        return prepared.T

    def lead(self, row: int, person: Arrays) -> Function:
        """Return it unchanged."""
        return lambda window: window


@dataclass(frozen=True, eq=False)
class _Values(Route):
    """A modality of another package, prepared in its own axes."""

    source: str
    preparation: Preparation
    device: torch.device
    at_once: int

    def prepare(self, person: Arrays) -> torch.Tensor:
        values = person[self.source][None]
        prepared = self.preparation.apply(values)
        if prepared.shape != values.shape:
            raise InputError(
                f"There is no way back to the values of {self.source}: its preparation makes "
                f"{prepared.shape[1:]} of {values.shape[1:]}. Maps need one that keeps the axes."
            )
        return torch.as_tensor(prepared, device=self.device)

    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        return prepared

    def lead(self, row: int, person: Arrays) -> Function:
        """Return it unchanged."""
        return lambda values: values


@dataclass(frozen=True, eq=False)
class _Encoded(Route):
    """A window of series that the frozen encoder reads, and the network what it makes of it."""

    preparation: Preparation
    device: torch.device
    encoder: Encoder
    xyz_mm: Floats | None
    """(parcel, 3)"""
    at_once = 1
    most_steps = _MOST_STEPS_OF_ENCODER
    source = "series"

    def prepare(self, person: Arrays) -> torch.Tensor:
        """(1, parcel, time); what is missing is 0, and left out of the order of the tokens."""
        window = np.nan_to_num(person["series"], nan=0.0).astype(np.float32)
        return torch.as_tensor(window[None], device=self.device)

    def turn(self, prepared: NDArray[Any]) -> NDArray[Any]:
        """(parcel, time) as it is."""
        return prepared

    def lead(self, row: int, person: Arrays) -> Function:
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
    device = source.setup.device
    routes: list[Route] = []
    for stream, preparation in zip(source.kind.streams, source.preparations, strict=True):
        if stream.source == "fc":
            routes.append(_Connectivity(preparation, device, _at_once(examples.fc)))
        elif stream.source == "series":
            # A network with a slow part has the encoder in itself.
            most = _MOST_STEPS_OF_ENCODER if source.kind.slow else MOST_STEPS
            at_once = 1 if source.kind.slow else _at_once(stream.values(examples))
            routes.append(_Window(preparation, device, at_once, most))
        elif stream.modality not in MODALITIES.own:
            at_once = _at_once(stream.values(examples))
            routes.append(_Values(stream.source, preparation, device, at_once))
        else:
            routes.append(_encoded(preparation, device, encoder, examples))
    return tuple(routes)


def _at_once(values: NDArray[Any]) -> int:
    return min(_MOST_AT_ONCE, max(1, _VALUES_AT_ONCE // int(values[0].size)))


def _encoded(
    preparation: Preparation,
    device: torch.device,
    encoder: Encoder | None,
    examples: Examples,
) -> _Encoded:
    unplaced = examples.coordinates_mm is None
    if encoder is None or examples.series is None or (unplaced and encoder.spec.reads_coordinates):
        raise InputError(
            "A map of what the encoder's features say goes back through the encoder; it needs the "
            "encoder itself, the parcel series, and the parcels' coordinates."
        )
    return _Encoded(preparation, device, encoder, examples.coordinates_mm)

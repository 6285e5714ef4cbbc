"""Batches of prepared participants on the compute device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.modalities.preparation import Preparation
from fmmtc_bidsapp.records import Examples, Ints

if TYPE_CHECKING:
    from fmmtc_bidsapp.learning.estimators.networks import Stream

__all__ = ["Batch", "Inputs", "n_batches", "split_batches"]

Batch = tuple[torch.Tensor, ...]

_MOST_BYTES = 2**29
"""Of what is held prepared, some 700 people of 424 x 424; more are prepared batch by batch."""


class Inputs:
    """The inputs of a network for some people, prepared once where they fit into memory.

    InputError with the participant if a prepared value is NaN that the network does not leave out.
    """

    def __init__(
        self,
        people: Examples,
        streams: Sequence[Stream],
        preparations: Sequence[Preparation],
        device: torch.device,
        rows: Ints | None = None,
    ) -> None:
        self.people = people
        self.streams = streams
        self.preparations = preparations
        self.device = device
        self.rows = rows = np.arange(len(people.keys)) if rows is None else rows
        sources = [each.values(people) for each in streams]
        n_values = sum(int(np.prod(each.shape[1:])) for each in sources) * len(rows)
        self.held = self._prepared(rows) if 4 * n_values <= _MOST_BYTES else None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int, order: Ints | None = None) -> Iterator[Batch]:
        """Yield all people in batches of at most `size`, by the positions in `order` if given."""
        positions = np.arange(len(self.rows)) if order is None else order
        if self.held is None:
            yield from (self._prepared(self.rows[at]) for at in split_batches(positions, size))
            return
        # One transfer for all batches: one per batch would make the host wait for the device.
        index = torch.as_tensor(positions, device=self.device)
        for at in index.tensor_split(n_batches(len(positions), size)):
            yield tuple(each.index_select(0, at) for each in self.held)

    def _prepared(self, rows: Ints) -> Batch:
        return tuple(
            self._prepare(stream, preparation, rows)
            for stream, preparation in zip(self.streams, self.preparations, strict=True)
        )

    def _prepare(self, stream: Stream, preparation: Preparation, rows: Ints) -> torch.Tensor:
        prepared = preparation.apply(stream.values(self.people)[rows])
        if not preparation.keeps_missing:
            lacking = np.isnan(prepared).reshape(len(rows), -1).any(axis=1)
            if lacking.any():
                key = self.people.keys[rows[lacking.argmax()]]
                raise InputError(
                    f"{stream.modality} of {key} has NaN after {type(preparation).__name__} "
                    f"({int(lacking.sum())} of {len(rows)} participants). Check the values of "
                    f"{stream.modality}; a preparation must fill in what is missing."
                )
        return torch.as_tensor(prepared, device=self.device)


def split_batches(rows: Ints, size: int) -> list[Ints]:
    """Cut rows into the fewest batches of at most `size`, of nearly equal length.

    From a size of 3 on no batch has one person alone, who would be the batch's BatchNorm
    statistics.
    """
    return np.array_split(rows, n_batches(len(rows), size))


def n_batches(n_rows: int, size: int) -> int:
    """Return the number of batches of `split_batches`: the optimiser's steps in an epoch."""
    return max(1, -(-n_rows // size))

"""Distance of a connectome from those of the training participants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.models.declared import Declared, flags, floats
from fmmtc_bidsapp.records import Floats
from fmmtc_bidsapp.stats import LARGEST_SINGLE, fisher_z

__all__ = [
    "DECLARED_RANGE",
    "ConnectivityRange",
    "connectivity_range",
    "restore_connectivity_range",
]

_SHARE = 0.99
"""Of the training people, within the limit."""
_FEWEST_PEOPLE = 3

DECLARED_RANGE: Mapping[str, Declared] = {"mean_z": floats("edge"), "known": flags("edge")}
"""What `ConnectivityRange.tensors` holds."""


@dataclass(frozen=True, eq=False)
class ConnectivityRange:
    """Distances of the training connectomes from their mean."""

    mean_z: NDArray[np.float32]
    """(edge,) mean Fisher's z of the training people, of the upper triangle row by row"""
    known: NDArray[np.bool_]
    """(edge,) whether a training person has it"""
    limit: float
    """Distance that 99 % of the training people keep, each from the mean of the others."""

    def distance(self, fc: NDArray[np.float32]) -> float:
        """Root mean square difference of (parcel, parcel) from the mean, in Fisher's z.

        Over the edges that both have; NaN where there is none.
        """
        return _distance(_edges(fc), np.where(self.known, self.mean_z.astype(np.float64), np.nan))

    def outside(self, fc: NDArray[np.float32]) -> list[str]:
        """Describe the distance of a connectome beyond the limit, or without shared edges."""
        found = self.distance(fc)
        if np.isnan(found):
            return ["connectivity shares no edge with the training participants"]
        if found <= self.limit:
            return []
        return [
            f"connectivity {found:.2f} from the training mean (RMS of Fisher's z), 99 % of the "
            f"training participants within {self.limit:.2f}"
        ]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Mean and known edges, by name."""
        return {"mean_z": torch.tensor(self.mean_z), "known": torch.tensor(self.known)}


def restore_connectivity_range(
    tensors: Mapping[str, torch.Tensor], limit: float
) -> ConnectivityRange:
    """Rebuild from `ConnectivityRange.tensors` and the limit."""
    return ConnectivityRange(tensors["mean_z"].numpy(), tensors["known"].numpy(), limit)


def connectivity_range(matrices: NDArray[np.float32]) -> ConnectivityRange | None:
    """Summarise (person, parcel, parcel) training connectomes, NaN at missing edges.

    None without connectivity, or with fewer than three people to compare.
    """
    n_people, n_parcels = matrices.shape[:2]
    if n_parcels < 2 or n_people < _FEWEST_PEOPLE:
        return None
    n_edges = n_parcels * (n_parcels - 1) // 2
    total, count = np.zeros(n_edges), np.zeros(n_edges, dtype=np.int64)
    # One person at a time, twice: all of them in double precision would be the cohort four times.
    for z in _each(matrices):
        total += np.nan_to_num(z)
        count += ~np.isnan(z)
    distances = []
    for z in _each(matrices):
        present = ~np.isnan(z)
        others = count - present
        mean = np.divide(
            total - np.nan_to_num(z), others, out=np.full(n_edges, np.nan), where=others > 0
        )
        distances.append(_distance(z, mean))
    known = [each for each in distances if not np.isnan(each)]
    if len(known) < _FEWEST_PEOPLE:
        return None
    mean_z = np.divide(total, count, out=np.zeros(n_edges), where=count > 0)
    return ConnectivityRange(
        mean_z.astype(np.float32), count > 0, float(np.quantile(known, _SHARE))
    )


def _each(matrices: NDArray[np.float32]) -> Iterator[Floats]:
    return (_edges(each) for each in matrices)


def _edges(fc: NDArray[np.float32]) -> Floats:
    return fisher_z(fc[np.triu_indices(len(fc), k=1)], LARGEST_SINGLE)


def _distance(z: Floats, mean: Floats) -> float:
    difference = z - mean
    shared = ~np.isnan(difference)
    return float(np.sqrt(np.mean(difference[shared] ** 2))) if shared.any() else float("nan")

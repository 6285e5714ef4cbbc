"""How values become the input of a network: learnt in the training rows, applied to all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError, ModelFileError
from fmmtc_bidsapp.models.declared import Declared, flags, floats
from fmmtc_bidsapp.records import Floats, Ints

__all__ = [
    "BareWindows",
    "CentredSeries",
    "FilledEdges",
    "Preparation",
    "ScaledColumns",
    "ScaledFeatures",
    "fill_edges",
    "fit_edge_means",
]

Arrays = Mapping[str, NDArray[Any]]


class Preparation(ABC):
    """How one source of the people becomes one input of a network."""

    declared: ClassVar[Mapping[str, Declared]] = {}
    """What `arrays` holds."""
    keeps_missing: ClassVar[bool] = False
    """Whether `apply` leaves NaN, for a network that leaves these values out; else it is an error.
    """

    @classmethod
    @abstractmethod
    def fit(cls, values: NDArray[Any], rows: Ints) -> Self:
        """Learn from the training rows of (person, ...) values."""

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild from `arrays`, and whatever else the mapping holds."""

    @abstractmethod
    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(person, ...) as `Examples` holds it -> (person, ...) as the network reads it."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt, by a name that no other preparation has."""


@dataclass(frozen=True, eq=False)
class ScaledFeatures(Preparation):
    """Encoder features, each to mean 0 and SD 1 over the training rows."""

    declared: ClassVar = {"cls_mean": floats("hidden"), "cls_sd": floats("hidden")}

    mean: Floats
    """(hidden,)"""
    sd: Floats
    """(hidden,), 1 where a feature does not vary"""

    @classmethod
    def fit(cls, values: NDArray[Any], rows: Ints) -> Self:
        """Learn from the training rows of (person, hidden) features."""
        own = values[rows]
        sd = own.std(axis=0)
        # A feature whose spread is rounding error would otherwise be blown up to unit variance.
        return cls(own.mean(axis=0), np.where(sd > 1e-7 * np.abs(own).max(axis=0), sd, 1.0))

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["cls_mean"], arrays["cls_sd"])

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(person, hidden) -> (person, hidden)."""
        if values.shape[1] != len(self.mean):
            raise ModelFileError(
                f"The model was trained on {len(self.mean)} encoder features, these participants "
                f"have {values.shape[1]}. Train it again."
            )
        return ((values - self.mean) / self.sd).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Mean and SD."""
        return {"cls_mean": self.mean, "cls_sd": self.sd}


@dataclass(frozen=True, eq=False)
class FilledEdges(Preparation):
    """Connectivity as it is, with the training mean where an edge is missing.

    An edge that no training row has takes the mean for everyone: a value that only other people
    have counts for nothing.
    """

    declared: ClassVar = {
        "edge_mean": floats("parcel", "parcel"),
        "edge_known": flags("parcel", "parcel"),
    }

    edge_mean: NDArray[np.float32]
    """(parcel, parcel), without NaN"""
    edge_known: NDArray[np.bool_]
    """(parcel, parcel) whether a training row has the edge"""

    @classmethod
    def fit(cls, values: NDArray[Any], rows: Ints) -> Self:
        """Learn from the training rows of (person, parcel, parcel) matrices."""
        return cls(*fit_edge_means(values, rows))

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["edge_mean"], arrays["edge_known"])

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(person, parcel, parcel) -> the same shape."""
        return fill_edges(values, self.edge_mean, self.edge_known)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Mean connectome, and which edges it is of."""
        return {"edge_mean": self.edge_mean, "edge_known": self.edge_known}


@dataclass(frozen=True, eq=False)
class CentredSeries(Preparation):
    """Windows of series, each parcel about its training mean, all divided by one training SD.

    What is missing becomes 0, which is then the training mean of the parcel. One SD for all
    parcels, as the amplitude of one parcel against another is part of what a network may read.
    """

    declared: ClassVar = {"series_mean": floats("parcel"), "series_sd": floats("parcel")}

    mean: Floats
    """(parcel,)"""
    sd: Floats
    """(parcel,) the same everywhere, but infinite for a parcel that no training row has: a value
    that only other people have counts for nothing"""

    @classmethod
    def fit(cls, values: NDArray[Any], rows: Ints) -> Self:
        """Learn from training rows of (person, parcel, time); InputError if all are equal."""
        total, count = np.zeros(values.shape[1]), np.zeros(values.shape[1], dtype=np.int64)
        for row in rows:
            count += (~np.isnan(values[row])).sum(axis=1)
            total += np.nansum(values[row], axis=1, dtype=np.float64)
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        squares = sum(float(np.nansum((values[row] - mean[:, None]) ** 2)) for row in rows)
        if squares == 0:
            raise InputError(
                f"The series of {len(rows)} training participants do not vary or have no value; "
                "check the timeseries files."
            )
        return cls(mean, np.where(count > 0, np.sqrt(squares / count.sum()), np.inf))

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["series_mean"], arrays["series_sd"])

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(person, parcel, time) -> (person, time, parcel)."""
        scaled = ((values - self.mean[:, None]) / self.sd[:, None]).astype(np.float32)
        return np.ascontiguousarray(np.where(np.isnan(scaled), 0, scaled).transpose(0, 2, 1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Mean and SD."""
        return {"series_mean": self.mean, "series_sd": self.sd}


@dataclass(frozen=True, eq=False)
class BareWindows(Preparation):
    """Windows of series as they are; the network leaves out what is NaN."""

    keeps_missing: ClassVar[bool] = True

    @classmethod
    def fit(cls, values: NDArray[Any], rows: Ints) -> Self:
        """Learn nothing."""
        return cls()

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild from nothing."""
        return cls()

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(person, parcel, time) -> (person, time, parcel)."""
        return np.ascontiguousarray(values.transpose(0, 2, 1), dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}


@dataclass(frozen=True, eq=False)
class ScaledColumns(Preparation):
    """Columns of numbers, each to mean 0 and SD 1 over the training rows that have it.

    A missing value becomes 0, which is the training mean; so does a column that the training rows
    do not have or that does not vary in them: a value that only other people have counts for
    nothing.
    """

    declared: ClassVar = {"column_mean": floats("column"), "column_scale": floats("column")}

    mean: Floats
    """(column,)"""
    scale: Floats
    """(column,) 1 / SD; 0 where there is none"""

    @classmethod
    def fit(cls, values: NDArray[Any], rows: Ints) -> Self:
        """Learn from the training rows of (person, column) numbers."""
        own = values[rows].astype(np.float64)
        there = ~np.isnan(own)
        count = there.sum(axis=0)
        total = np.where(there, own, 0.0).sum(axis=0)
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        squares = np.where(there, (own - mean) ** 2, 0.0).sum(axis=0)
        sd = np.sqrt(np.divide(squares, count, out=np.zeros_like(squares), where=count > 0))
        varies = sd > 1e-7 * np.abs(mean)
        return cls(mean, np.divide(1.0, sd, out=np.zeros_like(sd), where=varies))

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["column_mean"], arrays["column_scale"])

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(person, column) -> (person, column)."""
        if values.shape[1] != len(self.mean):
            raise ModelFileError(
                f"The model was trained on {len(self.mean)} columns, these participants have "
                f"{values.shape[1]}. Train it again."
            )
        scaled = (values - self.mean) * self.scale
        return np.where(np.isnan(scaled), 0.0, scaled).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Mean and scale."""
        return {"column_mean": self.mean, "column_scale": self.scale}


def fill_edges(
    fc: NDArray[np.float32], edge_mean: NDArray[np.float32], edge_known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Put the mean where an edge is NaN or unknown, ([person,] parcel, parcel) -> same shape."""
    return np.where(edge_known & ~np.isnan(fc), fc, edge_mean)


def fit_edge_means(
    fc: NDArray[np.float32], rows: Ints
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return every edge's mean over the training rows that have it, and which any has.

    Both (parcel, parcel), of `fc` (person, parcel, parcel) with NaN; an edge that no training
    row has takes the mean of all others. InputError if no training row has any edge.
    """
    total = np.zeros(fc.shape[1:])
    count = np.zeros(fc.shape[1:], dtype=np.int64)
    # One person at a time: a copy of all training matrices would double the memory of a cohort.
    for row in rows:
        present = ~np.isnan(fc[row])
        total += np.where(present, fc[row], 0.0)
        count += present
    off_diagonal = ~np.eye(len(total), dtype=bool)
    if not count[off_diagonal].any():
        raise InputError(
            f"None of the {len(rows)} training connectomes has a value; check the relmat files."
        )
    overall = total[off_diagonal].sum() / count[off_diagonal].sum()
    default = np.where(off_diagonal, overall, 1.0)
    means = np.divide(total, count, out=default, where=count > 0)
    return means.astype(np.float32), count > 0

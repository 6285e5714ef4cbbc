"""What is learnt about the inputs from the training rows, and applied to every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["Preparation", "fill_edges", "fit_edge_means", "fit_preparation"]


@dataclass(frozen=True, eq=False)
class Preparation:
    """Scale of the encoder features and mean connectome of the training rows."""

    cls_mean: Floats
    """(hidden,)"""
    cls_sd: Floats
    """(hidden,), 1 where a feature does not vary"""
    edge_mean: NDArray[np.float32]
    """(parcel, parcel), without NaN"""

    def cls(self, cls: Floats) -> NDArray[np.float32]:
        """Standardise encoder features, (person, hidden) -> (person, hidden)."""
        return ((cls - self.cls_mean) / self.cls_sd).astype(np.float32)

    def fc(self, fc: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill NaN edges with the training mean, (person, parcel, parcel) -> same shape."""
        return fill_edges(fc, self.edge_mean)


def fit_preparation(examples: Examples, rows: Ints) -> Preparation:
    """Learn the scale of the features and the mean connectome from the training rows.

    Parameters
    ----------
    examples : Examples
        The cohort.
    rows : array of int
        Training rows.

    Returns
    -------
    Preparation

    Raises
    ------
    InputError
        When no training row has a single edge.
    """
    cls = examples.cls[rows]
    sd = cls.std(axis=0)
    return Preparation(
        cls_mean=cls.mean(axis=0),
        # A feature whose spread is rounding error would otherwise be blown up to unit variance.
        cls_sd=np.where(sd > 1e-7 * np.abs(cls).max(axis=0), sd, 1.0),
        edge_mean=fit_edge_means(examples.fc, rows),
    )


def fill_edges(fc: NDArray[np.float32], edge_mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the mean where an edge is NaN, (person, parcel, parcel) -> same shape."""
    return np.where(np.isnan(fc), edge_mean, fc)


def fit_edge_means(fc: NDArray[np.float32], rows: Ints) -> NDArray[np.float32]:
    """Average every edge over the training rows that have it.

    Parameters
    ----------
    fc : array
        (person, parcel, parcel), NaN where a person lacks an edge.
    rows : array of int
        Training rows.

    Returns
    -------
    array
        (parcel, parcel) without NaN: an edge that no training row has takes the mean of all
        other edges.

    Raises
    ------
    InputError
        When no training row has a single edge.
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
    return means.astype(np.float32)

"""QC-FC: correlation of head motion and connectivity over participants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fmmtc_bidsapp.stats import rank_correlation

__all__ = ["FEWEST_PEOPLE", "EdgeSummary", "MotionConnectivity", "relate_motion"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_PEOPLE = 10
"""Fewest participants of an edge."""

N_BINS = 10

# Rounding error of a sum of squares, as a share of the sum.
_ROUNDING = 1e-20


@dataclass(frozen=True)
class EdgeSummary:
    """QC-FC over some of the edges."""

    low_mm: float | None
    high_mm: float | None
    """Euclidean distance of the closest and of the farthest two parcels; None if unknown."""
    n_edges: int
    median_r: float
    median_abs_r: float
    share_p_below_05: float
    share_q_below_05: float
    """Of the edges here; q (Benjamini and Hochberg) is over all edges."""


@dataclass(frozen=True)
class MotionConnectivity:
    """QC-FC of one group of connectomes."""

    n_people: int
    overall: EdgeSummary | None
    """All edges; None where nothing could be computed, see `problem`."""
    bins: tuple[EdgeSummary, ...] = ()
    """Ten bins of as many edges each, by rising distance; empty without coordinates."""
    distance_spearman: float | None = None
    """Rank correlation of r with distance."""
    chance_median_abs_r: float | None = None
    """Median of |r| expected for this number of participants without any effect of motion."""
    problem: str = ""
    """Why it was not computed."""


def relate_motion(
    connectomes: Iterable[Floats], mean_fd_mm: Floats, coordinates_mm: Floats | None
) -> MotionConnectivity:
    """Correlate every edge with head motion over participants.

    ``connectomes`` are (parcel, parcel) per participant, Fisher's z for correlations, NaN for
    absent edges; ``mean_fd_mm`` is (participant,), ``coordinates_mm`` (parcel, 3). Edges of fewer
    than ten participants, or without variance, are left out. Matrices are read one by one, so
    memory does not grow with participants. Power et al. 2015, doi:10.1016/j.neuroimage.2014.10.044;
    Ciric et al. 2017, doi:10.1016/j.neuroimage.2017.03.020; Ciric et al. 2018,
    doi:10.1038/s41596-018-0065-y.
    """
    n_people = len(mean_fd_mm)
    if n_people < FEWEST_PEOPLE:
        problem = f"{n_people} people have a matrix and known motion, {FEWEST_PEOPLE} are needed"
        return MotionConnectivity(n_people, None, problem=problem)
    if np.ptp(mean_fd_mm) == 0:
        return MotionConnectivity(n_people, None, problem="all participants have the same mean FD")
    sums = _Sums()
    for matrix, fd_mm in zip(connectomes, mean_fd_mm.tolist(), strict=True):
        sums.add(matrix, fd_mm)
    (rows, columns), r, people = sums.edges, sums.correlation(), sums.n
    known = np.isfinite(r)
    if not known.any():
        problem = f"no edge varies over {FEWEST_PEOPLE} or more participants"
        return MotionConnectivity(n_people, None, problem=problem)
    rows, columns, r, people = rows[known], columns[known], r[known], people[known]
    p = _p_values(r, people)
    q = stats.false_discovery_control(p)
    distance_mm = (
        np.full(len(r), np.nan)
        if coordinates_mm is None
        else np.linalg.norm(coordinates_mm[rows] - coordinates_mm[columns], axis=1)
    )
    (placed,) = np.nonzero(np.isfinite(distance_mm))
    by_distance = placed[np.argsort(distance_mm[placed], kind="stable")]
    parts = [part for part in np.array_split(by_distance, N_BINS) if len(part)]
    return MotionConnectivity(
        n_people,
        _summary(np.arange(len(r)), r, p, q, distance_mm),
        tuple(_summary(part, r, p, q, distance_mm) for part in parts),
        _or_none(rank_correlation(r[placed], distance_mm[placed])),
        _chance_median_abs_r(int(np.median(people))),
    )


class _Sums:
    """Running means and sums of squares of edges and motion, over participants with the edge."""

    def __init__(self) -> None:
        self.edges: tuple[Ints, Ints] = (np.empty(0, np.int64), np.empty(0, np.int64))
        self._allocate()

    def _allocate(self) -> None:
        self.n = np.zeros(len(self.edges[0]), dtype=np.int64)
        self._mean_z, self._mean_x, self._zz, self._xx, self._xz = np.zeros((5, len(self.n)))

    def add(self, matrix: Floats, x: float) -> None:
        """Add one participant (Welford's update)."""
        if not len(self.n):
            self.edges = np.triu_indices(len(matrix), k=1)
            self._allocate()
        z = matrix[self.edges]
        (here,) = np.nonzero(np.isfinite(z))
        self.n[here] += 1
        dz, dx = z[here] - self._mean_z[here], x - self._mean_x[here]
        self._mean_z[here] += dz / self.n[here]
        self._mean_x[here] += dx / self.n[here]
        self._zz[here] += dz * (z[here] - self._mean_z[here])
        self._xx[here] += dx * (x - self._mean_x[here])
        self._xz[here] += dx * (z[here] - self._mean_z[here])

    def correlation(self) -> Floats:
        """Return Pearson's r per edge, NaN for too few participants or no variance."""
        varies = (self._zz > _ROUNDING * self.n * self._mean_z**2) & (
            self._xx > _ROUNDING * self.n * self._mean_x**2
        )
        r = np.full(len(self.n), np.nan)
        keep = (self.n >= FEWEST_PEOPLE) & varies
        r[keep] = self._xz[keep] / np.sqrt(self._xx[keep] * self._zz[keep])
        return np.asarray(np.clip(r, -1, 1))


def _p_values(r: Floats, people: Ints) -> Floats:
    """Return two-sided p of Pearson's r by Student's t, without a division by 0 at r = 1."""
    freedom = people - 2
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(freedom / (1 - r**2))
    return np.asarray(2 * stats.t.sf(t, freedom))


def _chance_median_abs_r(n_people: int) -> float:
    t = stats.t.ppf(0.75, n_people - 2)
    return float(t / np.sqrt(n_people - 2 + t**2))


def _summary(
    part: Sequence[int] | Ints, r: Floats, p: Floats, q: Floats, distance_mm: Floats
) -> EdgeSummary:
    here = distance_mm[part]
    here = here[np.isfinite(here)]
    return EdgeSummary(
        low_mm=float(here.min()) if len(here) else None,
        high_mm=float(here.max()) if len(here) else None,
        n_edges=len(part),
        median_r=float(np.median(r[part])),
        median_abs_r=float(np.median(np.abs(r[part]))),
        share_p_below_05=float(np.mean(p[part] < 0.05)),
        share_q_below_05=float(np.mean(q[part] < 0.05)),
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value

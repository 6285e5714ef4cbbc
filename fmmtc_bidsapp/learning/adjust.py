"""Covariates regressed out of what the models see, by lines of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.fisher import fisher_z
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = [
    "ADJUSTED_BY_NEED",
    "Adjustment",
    "check_adjustment",
    "fit_adjustment",
    "parts_of",
    "restore_adjustment",
]

ADJUSTED_BY_NEED: Mapping[str, tuple[str, ...]] = {
    "encoder": ("cls",),
    "random encoder": ("cls_random",),
    "fc": ("fc",),
    "series": ("series",),
}
"""What a model's needs are of the examples. Covariates and motion are no features of the brain: the
baselines made of them stay as they are."""

_BLOCK = 16384
"""Columns at once: of 100 people 13 MB, where all 90,000 edges would be copied several times."""


@dataclass(frozen=True, eq=False)
class _Lines:
    """A line a column of features."""

    slopes: Floats
    """(covariate, column) on standardised covariates"""
    shift: Floats
    """(column,) what the covariates of the rows that have the column add to its mean"""
    kept: NDArray[np.bool_]
    """(column,) False where too few training rows have the column, which is missing from then on"""

    def residuals(self, columns: Floats, design: Floats) -> Floats:
        """(person, column), (person, covariate) -> (person, column) with the training mean."""
        adjusted = columns - design @ self.slopes + self.shift
        return np.where(self.kept, adjusted, np.nan)


_Take = Callable[[Examples, Ints, slice], Floats]
"""(examples, rows, columns) -> (row, column)"""
_Put = Callable[[Examples, _Lines, Floats], NDArray[Any]]
"""(examples, lines, design) -> the whole field, adjusted"""


@dataclass(frozen=True, eq=False)
class Adjustment:
    """What the covariates say of every feature, as the training rows have it."""

    mean: Floats
    """(covariate,) over the training rows; put where one is missing"""
    weight: Floats
    """(covariate,) one over the SD, 0 where the training rows do not vary"""
    lines: Mapping[str, _Lines]
    """By name of a field of `Examples`; ``fc`` has its upper triangle, in Fisher's z."""

    def apply(self, examples: Examples) -> Examples:
        """Put residuals plus the training mean in place of the features; all else stays.

        Parameters
        ----------
        examples : Examples
            Anyone, with the covariates of the training people in the same order.

        Raises
        ------
        InputError
            When they have other covariates.
        """
        design = self._design(examples)
        new: dict[str, Any] = {
            name: _FIELDS[name][1](examples, lines, design) for name, lines in self.lines.items()
        }
        return replace(examples, **new)

    def _design(self, examples: Examples) -> Floats:
        covariates = examples.covariates
        if covariates is None or covariates.shape[1] != len(self.mean):
            found = 0 if covariates is None else covariates.shape[1]
            raise InputError(
                f"--adjust was fitted on {len(self.mean)} covariate columns, these people have "
                f"{found}. Give the same --covariates."
            )
        return _standardise(covariates, self.mean, self.weight)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt, by name; all of it finite."""
        lines = {
            f"{name}.{part}": getattr(each, part)
            for name, each in self.lines.items()
            for part in ("slopes", "shift", "kept")
        }
        return {"mean": self.mean, "weight": self.weight, **lines}


def restore_adjustment(arrays: Mapping[str, NDArray[Any]]) -> Adjustment:
    """Rebuild from `Adjustment.arrays`."""
    names = sorted(name.removesuffix(".slopes") for name in arrays if name.endswith(".slopes"))
    lines = {
        name: _Lines(*(arrays[f"{name}.{part}"] for part in ("slopes", "shift", "kept")))
        for name in names
    }
    return Adjustment(arrays["mean"], arrays["weight"], lines)


def parts_of(needs: Sequence[str]) -> tuple[str, ...]:
    """Name the fields of `Examples` that models with these needs are to see adjusted, each once."""
    parts = (part for need in needs for part in ADJUSTED_BY_NEED.get(need, ()))
    return tuple(dict.fromkeys(parts))


def fit_adjustment(
    examples: Examples, rows: Ints, parts: Sequence[str] = ("cls", "cls_random", "fc", "series")
) -> Adjustment:
    """Learn from the training rows how every feature follows the covariates.

    A linear regression with an intercept, feature by feature, over the training rows that have the
    feature; of connectivity, in Fisher's z. A missing covariate takes the training mean. Outcomes
    are not read, so shuffled outcomes need no new fit.

    Parameters
    ----------
    examples : Examples
        The cohort.
    rows : array of int
        Training rows.
    parts : sequence of str
        Fields of `Examples` to adjust; those that the cohort lacks are passed over.

    Returns
    -------
    Adjustment
        Features that fewer training rows have than the regression needs are missing afterwards:
        left as they are, they would carry the covariates on.

    Raises
    ------
    InputError
        When there are no covariates, or too many for the training rows.

    References
    ----------
    Snoek et al. (2019), doi:10.1016/j.neuroimage.2018.09.074: why inside the fold.
    """
    if examples.covariates is None or not examples.covariates.shape[1]:
        raise InputError("--adjust needs --covariates: the columns to regress out.")
    check_adjustment(examples.covariates, rows)
    own = examples.covariates[rows]
    mean, weight = _moments(own)
    design = _standardise(own, mean, weight)
    there = [name for name in parts if _n_columns(examples, name)]
    lines = {name: _fit_lines(examples, rows, name, design) for name in there}
    return Adjustment(mean, weight, lines)


def _moments(covariates: Floats) -> tuple[Floats, Floats]:
    """Mean of what is known, and one over its SD; a covariate that nobody has says nothing."""
    known = ~np.isnan(covariates)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, covariates, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(known, (covariates - mean) ** 2, 0.0).sum(axis=0) / count)
    return mean, np.divide(1, sd, out=np.zeros_like(sd), where=sd > 1e-9 * np.abs(mean))


def _standardise(covariates: Floats, mean: Floats, weight: Floats) -> Floats:
    known: Floats = np.where(np.isnan(covariates), mean, covariates)
    return (known - mean) * weight


def _enough(n: int, rank: int) -> bool:
    """As many people left free as the regression uses up, beside the mean."""
    return n - 1 - rank >= rank and n > 1


def _n_columns(examples: Examples, name: str) -> int:
    values = getattr(examples, name)
    if values is None:
        return 0
    parcels = values.shape[1]
    return parcels * (parcels - 1) // 2 if name == "fc" else int(np.prod(values.shape[1:]))


def _fit_lines(examples: Examples, rows: Ints, name: str, design: Floats) -> _Lines:
    total = _n_columns(examples, name)
    blocks = [
        _fit_block(_FIELDS[name][0](examples, rows, slice(start, start + _BLOCK)), design)
        for start in range(0, total, _BLOCK)
    ]
    return _Lines(
        slopes=np.concatenate([slopes for slopes, _, _ in blocks], axis=1),
        shift=np.concatenate([shift for _, shift, _ in blocks]),
        kept=np.concatenate([kept for _, _, kept in blocks]),
    )


def _fit_block(columns: Floats, design: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Regress all columns that the same rows have at once."""
    present = ~np.isnan(columns)
    slopes = np.zeros((design.shape[1], columns.shape[1]))
    shift = np.zeros(columns.shape[1])
    kept = np.zeros(columns.shape[1], dtype=bool)
    patterns, which = np.unique(np.packbits(present, axis=0), axis=1, return_inverse=True)
    for i in range(patterns.shape[1]):
        members = np.flatnonzero(which.ravel() == i)
        own = present[:, members[0]]
        if not own.any():
            continue
        centre = design[own].mean(axis=0)
        centred = design[own] - centre
        if not _enough(len(centred), int(np.linalg.matrix_rank(centred))):
            continue
        fitted = np.linalg.pinv(centred) @ columns[np.ix_(own, members)]
        slopes[:, members], shift[members], kept[members] = fitted, centre @ fitted, True
    return slopes, shift, kept


def _take_edges(examples: Examples, rows: Ints, block: slice) -> Floats:
    first, second = (each[block] for each in np.triu_indices(examples.fc.shape[1], k=1))
    return fisher_z(examples.fc[rows[:, None], first, second])


def _put_edges(examples: Examples, lines: _Lines, design: Floats) -> NDArray[np.float32]:
    adjusted = examples.fc.copy()
    first, second = np.triu_indices(adjusted.shape[1], k=1)
    # One person at a time: the edges of all in double precision would be four copies of them.
    for matrix, own in zip(adjusted, design, strict=True):
        z = fisher_z(matrix[first, second])
        matrix[first, second] = matrix[second, first] = np.tanh(lines.residuals(z, own))
    return adjusted


def _take_series(examples: Examples, rows: Ints, block: slice) -> Floats:
    series = np.asarray(examples.series)
    return series.reshape(len(series), -1)[rows, block].astype(np.float64)


def _put_series(examples: Examples, lines: _Lines, design: Floats) -> NDArray[np.float32]:
    series = np.asarray(examples.series)
    adjusted = [
        lines.residuals(each.ravel().astype(np.float64), own).astype(np.float32)
        for each, own in zip(series, design, strict=True)
    ]
    return np.stack(adjusted).reshape(series.shape)


def _encoded(name: str) -> tuple[_Take, _Put]:
    def take(examples: Examples, rows: Ints, block: slice) -> Floats:
        taken: Floats = getattr(examples, name)[rows, block]
        return taken

    def put(examples: Examples, lines: _Lines, design: Floats) -> Floats:
        return lines.residuals(getattr(examples, name), design)

    return take, put


_FIELDS: Mapping[str, tuple[_Take, _Put]] = {
    "cls": _encoded("cls"),
    "cls_random": _encoded("cls_random"),
    "fc": (_take_edges, _put_edges),
    "series": (_take_series, _put_series),
}
"""How columns are taken from a field of `Examples`, and how the field is made anew."""


def check_adjustment(covariates: Floats, rows: Ints) -> None:
    """Refuse more covariates than some training people can bear.

    Parameters
    ----------
    covariates : array
        (person, covariate) of the cohort.
    rows : array of int
        Training rows.

    Raises
    ------
    InputError
        Where the regression would use up more than half of them.
    """
    own = covariates[rows]
    design = _standardise(own, *_moments(own))
    rank = int(np.linalg.matrix_rank(design - design.mean(axis=0)))
    if not _enough(len(rows), rank):
        raise InputError(
            f"--adjust has {rank} covariate columns for {len(rows)} training people; it needs "
            f"{2 * rank + 1} or more. Use fewer --covariates, or more people."
        )

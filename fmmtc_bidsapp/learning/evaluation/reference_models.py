"""Columns of the reference models: covariates, motion, acquisition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr
from scipy.stats import norm, rankdata

from fmmtc_bidsapp.records import Examples, Floats

__all__ = ["REFERENCES", "Reference", "reference_columns", "with_unknown"]

_MOST_CURVED = 0.25
"""Columns a person up to which curves are among them; beyond that they are straight lines alone."""
_MOST = 0.5
"""Columns a person above which nothing is left to be explained by the brain."""
_FEWEST_VALUES = 5
"""Different values from which a column can have a curve."""
_DEPENDENT = 1e-8


@dataclass(frozen=True, eq=False)
class Reference:
    """Columns of everything known besides the brain."""

    columns: Floats
    """(person, column) of mean 0 and variance 1, none a sum of the others; no column where nothing
    is known or varies."""
    names: tuple[str, ...]
    """Of the variables that vary, before curves."""
    curved: bool
    """Whether squares, ranks and squared ranks are among the columns, beside the values."""
    problem: str = ""
    """Why nothing can be held against them; empty where something can."""


REFERENCES: Mapping[str, Callable[[Examples], tuple[Floats | None, tuple[str, ...]]]] = {
    "covariates": lambda people: (people.covariates, people.covariate_names),
    "motion": lambda people: (
        None if people.mean_fd_mm is None else people.mean_fd_mm[:, None],
        ("mean_fd_mm",),
    ),
    "acquisition": lambda people: (people.acquisition, people.acquisition_names),
}
"""By the name of the reference model, (person, column) with NaN where unknown, and their names."""


def reference_columns(examples: Examples, references: Sequence[str]) -> Reference:
    """Return the columns of some `REFERENCES`; outcomes are not read.

    Every variable as a straight line and, with enough people, as its square, its normal rank
    and the square of that, so that a brain that follows a curve of it adds nothing. Whether a
    value is unknown is a column too; the value is then the mean of the others.
    """
    columns, names = [], []
    for each in references:
        values, own = REFERENCES[each](examples)
        if values is None:
            continue
        for column, name in zip(np.asarray(values, dtype=np.float64).T, own, strict=True):
            known = with_unknown(column, name)
            columns += [values for _, values in known]
            names += [title for title, _ in known]
    varying = [i for i, column in enumerate(columns) if np.ptp(column) > 0]
    lines = [columns[i] for i in varying]
    kept, kept_names = len(examples.keys), tuple(names[i] for i in varying)
    curves = [curve for column in lines for curve in _curves(column)]
    straight = _independent(lines, kept)
    if straight.shape[1] > _MOST * kept:
        problem = (
            f"{straight.shape[1]} columns for {kept} participants leave nothing for the brain "
            "to add"
        )
        return Reference(straight, kept_names, curved=False, problem=problem)
    curved = _independent([*lines, *curves], kept)
    if not curves or curved.shape[1] > _MOST_CURVED * kept:
        return Reference(straight, kept_names, curved=False)
    return Reference(curved, kept_names, curved=True)


def with_unknown(column: Floats, name: str) -> list[tuple[str, Floats]]:
    """Fill (person,) with its mean, and add whether values are unknown; empty if all are."""
    unknown = np.isnan(column)
    if unknown.all():
        return []
    filled = np.where(unknown, column[~unknown].mean(), column)
    kept_names = [(f"{name} unknown", unknown.astype(np.float64))] if unknown.any() else []
    return [(name, filled), *kept_names]


def _curves(column: Floats) -> list[Floats]:
    """(person,) squares, normal ranks and their squares, of a column with enough values."""
    if len(np.unique(column)) < _FEWEST_VALUES:
        return []
    rank = np.asarray(norm.ppf((rankdata(column) - 0.5) / len(column)), dtype=np.float64)
    return [(column - column.mean()) ** 2, rank, rank**2]


def _independent(columns: Sequence[Floats], n: int) -> Floats:
    """Return standardised (person, column) without columns that are sums of others."""
    if not columns:
        return np.empty((n, 0))
    stacked = np.stack(columns, axis=1)
    scaled = (stacked - stacked.mean(axis=0)) / stacked.std(axis=0)
    triangle, order = qr(scaled, mode="r", pivoting=True)
    size = np.abs(np.diagonal(triangle))
    rank = int((size > _DEPENDENT * max(size[0], 1.0)).sum())
    independent: Floats = scaled[:, np.sort(order[:rank])]
    return independent

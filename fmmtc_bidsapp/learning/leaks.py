"""What would make a figure too good to be true: scans that are there twice, columns that tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Duplicate, Examples, Floats, Ints, Leak

__all__ = ["find_duplicates", "leaking_covariates", "refuse_leaks"]

_SAME_SCAN = 0.999
_TELLING = 0.45 - 1e-9
"""Distance of a covariate's AUROC from 0.5 at which it is taken for the outcome itself; the rest
is rounding, 0.95 - 0.5 being less than 0.45."""
_FEWEST_EDGES = 10
_FEWEST_PEOPLE = 5
"""Of each outcome; fewer are ranked without a mistake by chance."""


def find_duplicates(examples: Examples, least: float = _SAME_SCAN) -> tuple[Duplicate, ...]:
    """Find pairs of people whose connectomes correlate as those of one scan do.

    One scan under two names, in training and in test, is an answer given away. Scans of one
    person, or of twins, correlate at 0.6 to 0.9.

    Parameters
    ----------
    examples : Examples
        The cohort.
    least : float
        Correlation over the edges that both have from which a pair is reported.

    Returns
    -------
    tuple of Duplicate
        The closest first. Pairs with fewer than 10 shared edges, or none that vary, are not judged.
    """
    n, total, squares, products = _pairwise_sums(examples.fc)
    covariance = n * products - total * total.T
    variance = n * squares - total**2
    scale = np.sqrt(np.maximum(variance, 0) * np.maximum(variance.T, 0))
    judged = (n >= _FEWEST_EDGES) & (scale > 1e-9 * n**2)
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=judged)
    first, second = np.nonzero(np.triu(correlation >= least, k=1))
    found = [
        Duplicate(examples.keys[i], examples.keys[j], float(min(correlation[i, j], 1.0)))
        for i, j in zip(first, second, strict=True)
    ]
    return tuple(sorted(found, key=lambda each: -each.correlation))


def _pairwise_sums(fc: NDArray[np.float32]) -> Floats:
    """Sum over the edges that both of two people have, -> (4, person, other).

    Their number, the first person's values and their squares, and the products with the other's.
    """
    sums = np.zeros((4, len(fc), len(fc)))
    # One parcel at a time: all edges in double precision would be several times the cohort.
    for parcel in range(fc.shape[1] - 1):
        edges = fc[:, parcel, parcel + 1 :].astype(np.float64)
        there = ~np.isnan(edges)
        x, has = np.where(there, edges, 0.0), there.astype(np.float64)
        sums += [has @ has.T, x @ has.T, (x**2) @ has.T, x @ x.T]
    return sums


def leaking_covariates(names: Sequence[str], columns: Floats, y: Ints) -> tuple[Leak, ...]:
    """Find covariates that are the outcome by another name.

    Parameters
    ----------
    names : sequence of str
        (column,) as in `Examples.covariate_names`: levels of one variable share what stands before
        the ``=``.
    columns : array
        (person, column), NaN where missing.
    y : array of int
        (person,) outcomes, 0 or 1.

    Returns
    -------
    tuple of Leak
        Variables of which a column, or where it is missing, has an AUROC of 0.05 or less or 0.95 or
        more against the outcome; and those whose values determine it, where values are shared by
        two people or more on average. Values that fewer than five people of an outcome have are not
        judged.
    """
    variables: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        variables.setdefault(name.partition("=")[0], []).append(i)
    reasons = {name: _reason(columns[:, own], y) for name, own in variables.items()}
    return tuple(Leak(name, reason) for name, reason in reasons.items() if reason)


def refuse_leaks(names: Sequence[str], columns: Floats, y: Ints) -> None:
    """Refuse covariates that give the outcome away.

    Raises
    ------
    UsageError
        With every such covariate and the reason.
    """
    found = leaking_covariates(names, columns, y)
    if found:
        listed = "; ".join(f"{each.name} {each.reason}" for each in found)
        raise UsageError(
            f"--covariates: {listed}. What gives the outcome away predicts nothing; leave it out."
        )


def _reason(columns: Floats, y: Ints) -> str:
    for column in columns.T:
        known = ~np.isnan(column)
        auroc = _auroc(y[known], column[known])
        if abs(auroc - 0.5) >= _TELLING:
            return f"has an AUROC of {auroc:.2f} against the outcome"
        missing = _auroc(y, (~known).astype(float))
        if abs(missing - 0.5) >= _TELLING:
            return f"is missing according to the outcome (AUROC {missing:.2f})"
    return "determines the outcome" if _determines(columns, y) else ""


def _auroc(y: Ints, score: Floats) -> float:
    return float(roc_auc_score(y, score)) if _enough(y) else 0.5


def _enough(y: Ints) -> bool:
    return bool(np.bincount(y, minlength=2).min() >= _FEWEST_PEOPLE)


def _determines(columns: Floats, y: Ints) -> bool:
    whole = ~np.isnan(columns).any(axis=1)
    if not _enough(y[whole]):
        return False
    values, level = np.unique(columns[whole], axis=0, return_inverse=True)
    if len(values) * 2 > whole.sum():
        return False
    share = np.bincount(level.ravel(), weights=y[whole]) / np.bincount(level.ravel())
    return bool(np.isin(share, (0.0, 1.0)).all())

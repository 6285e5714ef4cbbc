"""Detect leakage: duplicate scans, and covariates that reveal the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Duplicate, Examples, Floats, Ints, Leak
from fmmtc_bidsapp.stats import fisher_z

__all__ = [
    "acquisition_leaks",
    "copies_together",
    "find_duplicates",
    "leaking_covariates",
    "refuse_leaks",
]

_SAME_SCAN = 0.999
_TELLING = 0.45 - 1e-9
"""Distance of a covariate's AUROC from 0.5 at which it is taken for the outcome itself; the rest
is rounding, 0.95 - 0.5 being less than 0.45."""
_FEWEST_EDGES = 10
_ENOUGH_EDGES = 100
"""Shared by two people from which likeness is no chance."""
_FEWEST_TO_COMPARE = 10
"""People from which a pair can stand out of a cohort."""
_LEAST_ALIKE = 0.5
"""Correlation below which no pair is taken for one person's, however far from the others."""
_FALSE_ALARMS = 0.0001
"""Pairs a cohort that would stand out by chance, were similarities normal."""
_STRONG = 0.2
"""Distance of an acquisition column's AUROC from 0.5 that is warned of, where it is no chance."""
_LEVEL = 0.01
_FEWEST_PEOPLE = 5
"""Of each outcome; fewer are ranked without a mistake by chance."""


def find_duplicates(examples: Examples) -> tuple[Duplicate, ...]:
    """Find pairs of people whose connectomes are as alike as those of one scan or one person.

    One scan under two names, in training and in test, leaks the outcome, and so does one person
    scanned twice. Scans of one person correlate at 0.6 to 0.9, as those of strangers do in some
    cohorts, so such a pair is found relative to the cohort: each is by far the other's most
    alike. Pairs with fewer than 10 shared edges
    are not judged, with fewer than 100 only as the same scan. The closest come first.
    """
    n, total, squares, products = _pairwise_sums(examples.fc)
    covariance = n * products - total * total.T
    variance = n * squares - total**2
    scale = np.sqrt(np.maximum(variance, 0) * np.maximum(variance.T, 0))
    judged = (n >= _FEWEST_EDGES) & (scale > 1e-9 * n**2)
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=judged)
    same = judged & (correlation >= _SAME_SCAN)
    first, second = np.nonzero(
        np.triu(same | _standing_out(correlation, n >= _ENOUGH_EDGES, same), k=1)
    )
    found = [
        Duplicate(
            examples.keys[i],
            examples.keys[j],
            float(min(correlation[i, j], 1.0)),
            same_scan=bool(same[i, j]),
        )
        for i, j in zip(first, second, strict=True)
    ]
    return tuple(sorted(found, key=lambda each: -each.correlation))


def _standing_out(
    correlation: Floats, judged: NDArray[np.bool_], same: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether a pair (person, other) is far more alike than all others of the cohort.

    Fisher's z without what both people have in common with everyone, compared with the spread
    of all pairs; both must be each other's most alike.
    """
    people = len(correlation)
    usable = judged & ~same & ~np.eye(people, dtype=bool)
    others = usable.sum(axis=1)
    usable &= (others >= _FEWEST_TO_COMPARE) & (others >= _FEWEST_TO_COMPARE)[:, None]
    if not (usable & (correlation >= _LEAST_ALIKE)).any():
        return np.zeros_like(judged)
    z = np.where(usable, fisher_z(correlation, _SAME_SCAN), np.nan)
    own = np.array(
        [
            np.median(row[~np.isnan(row)]) if known.any() else 0.0
            for row, known in zip(z, usable, strict=True)
        ]
    )
    beyond = z - own[:, None] - own[None, :]
    middle = np.nanmedian(beyond)
    spread = 1.4826 * np.nanmedian(np.abs(beyond - middle))
    limit = norm.isf(_FALSE_ALARMS / (people * (people - 1) / 2))
    far = np.where(usable, beyond - middle, -100.0)
    closest = far == far.max(axis=1, keepdims=True)
    # The next closest of either must not be nearly as close: some cohorts have long tails.
    runner_up = np.sort(far, axis=1)[:, -2]
    clear = far - np.maximum(runner_up[:, None], runner_up[None, :]) > far / 3
    stands_out: NDArray[np.bool_] = (
        (far > limit * spread) & (correlation >= _LEAST_ALIKE) & closest & closest.T & clear
    )
    return stands_out if spread > 0 else np.zeros_like(judged)


def copies_together(examples: Examples, duplicates: Sequence[Duplicate]) -> Examples:
    """Join the groups of people whose scans are copies, so that no split separates them."""
    if not duplicates:
        return examples
    groups = list(examples.groups or examples.keys)
    row = {key: i for i, key in enumerate(examples.keys)}
    for each in duplicates:
        kept, joined = groups[row[each.first]], groups[row[each.second]]
        if kept != joined:
            groups = [kept if group == joined else group for group in groups]
    return replace(examples, groups=tuple(groups))


def acquisition_leaks(examples: Examples) -> tuple[Leak, ...]:
    """Find acquisition columns that predict the outcome.

    Their AUROC is 0.2 or more from 0.5, with p of 0.01 or less by Mann and Whitney's test,
    times the number of columns.
    """
    if examples.acquisition is None:
        return ()
    found, y = [], examples.y
    for name, column in zip(
        examples.acquisition_names, np.asarray(examples.acquisition).T, strict=True
    ):
        known = ~np.isnan(column) & (y >= 0)
        positive, negative = column[known & (y == 1)], column[known & (y == 0)]
        if not len(positive) or not len(negative):
            continue
        auroc = float(roc_auc_score(y[known], column[known]))
        p = float(mannwhitneyu(positive, negative).pvalue) * len(examples.acquisition_names)
        if abs(auroc - 0.5) >= _STRONG and p <= _LEVEL:
            found.append(Leak(name, f"has an AUROC of {auroc:.2f} against the outcome"))
    return tuple(found)


def _pairwise_sums(fc: NDArray[np.float32]) -> Floats:
    """Sum over the edges that two people share, (4, person, other).

    Their number, the first person's values and squares, and the products with the other's.
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
    """Find covariates that reveal the outcome, in (person, column), NaN where missing.

    Names are `Examples.covariate_names`: levels of one variable share the text before ``=``. A
    column, or its missingness, has an AUROC of 0.05 or less or 0.95 or more; or the values
    determine the outcome, where two people or more share one on average. Values that fewer than
    five people of an outcome have are not judged.
    """
    variables: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        variables.setdefault(name.partition("=")[0], []).append(i)
    reasons = {name: _reason(columns[:, own], y) for name, own in variables.items()}
    return tuple(Leak(name, reason) for name, reason in reasons.items() if reason)


def refuse_leaks(names: Sequence[str], columns: Floats, y: Ints) -> None:
    """UsageError for covariates that reveal the outcome, with all of them and the reasons."""
    found = leaking_covariates(names, columns, y)
    if found:
        listed = "; ".join(f"{each.name} {each.reason}" for each in found)
        raise UsageError(
            f"--covariates: {listed}. This looks like target leakage. Remove it from --covariates."
        )


def _reason(columns: Floats, y: Ints) -> str:
    for column in columns.T:
        known = ~np.isnan(column)
        auroc = _auroc(y[known], column[known])
        if abs(auroc - 0.5) >= _TELLING:
            return f"has an AUROC of {auroc:.2f} against the outcome"
        missing = _auroc(y, (~known).astype(float))
        if abs(missing - 0.5) >= _TELLING:
            return f"is missing depending on the outcome (AUROC {missing:.2f})"
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

"""Regress covariates out of features, fitted on the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.models.declared import Declared, floats
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = [
    "ADJUSTMENT",
    "OUTDATED",
    "Adjustment",
    "check_adjustment",
    "fit_adjustment",
    "restore_adjustment",
]

OUTDATED = (
    "This model was trained with --adjust by an older version, which did not remove the covariates "
    "completely. Train it again."
)

ADJUSTMENT: Mapping[str, Declared] = {
    "mean": floats("covariate", optional=True),
    "weight": floats("covariate", optional=True),
    "slopes": floats("covariate", "feature", optional=True),
}
"""What `Adjustment.arrays` holds; all of it or nothing."""


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Effect of the covariates on each column, fitted on the training rows.

    It is subtracted last, from the columns that a weighted sum reads: a model that is not
    linear would find the covariates again in the residuals (Hamdan et al. 2023,
    doi:10.1093/gigascience/giad071).
    """

    mean: Floats
    """(covariate,) over the training rows; put where one is missing"""
    weight: Floats
    """(covariate,) one over the SD, 0 where the training rows do not vary"""
    slopes: Floats
    """(covariate, column) on standardised covariates"""

    def apply(self, columns: Floats, people: Examples) -> Floats:
        """Subtract the covariates' effect, (person, column) -> (person, column).

        InputError if the number of covariates differs from the training's.
        """
        covariates = people.covariates
        if covariates is None or covariates.shape[1] != len(self.mean):
            found = 0 if covariates is None else covariates.shape[1]
            raise InputError(
                f"--adjust was fitted on {len(self.mean)} covariate columns, these participants "
                f"have {found}. Give the same --covariates."
            )
        return columns - _standardise(covariates, self.mean, self.weight) @ self.slopes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything learnt, by name; all of it finite."""
        return {"mean": self.mean, "weight": self.weight, "slopes": self.slopes}


def restore_adjustment(arrays: Mapping[str, NDArray[Any]]) -> Adjustment:
    """Rebuild from `Adjustment.arrays`; InputError for those of a version that adjusted earlier."""
    if set(arrays) != {"mean", "weight", "slopes"}:
        raise InputError(OUTDATED)
    return Adjustment(arrays["mean"], arrays["weight"], arrays["slopes"])


def fit_adjustment(columns: Floats, examples: Examples, rows: Ints) -> Adjustment:
    """Regress each of the (training person, column) columns on the covariates of `rows`.

    Least squares with an intercept, inside the fold (Snoek et al. 2019,
    doi:10.1016/j.neuroimage.2018.09.074); a missing covariate takes the training mean. Outcomes
    are not read. InputError without covariates, or with too many.
    """
    if examples.covariates is None or not examples.covariates.shape[1]:
        raise InputError("--adjust needs --covariates: the columns to regress out.")
    check_adjustment(examples.covariates, rows)
    own = examples.covariates[rows]
    mean, weight = _moments(own)
    design = _standardise(own, mean, weight)
    centred = design - design.mean(axis=0)
    return Adjustment(mean, weight, np.linalg.pinv(centred) @ (columns - columns.mean(axis=0)))


def check_adjustment(covariates: Floats, rows: Ints) -> None:
    """InputError if (person, covariate) columns use more than half of the training `rows`."""
    own = covariates[rows]
    design = _standardise(own, *_moments(own))
    rank = int(np.linalg.matrix_rank(design - design.mean(axis=0)))
    if not _enough(len(rows), rank):
        raise InputError(
            f"--adjust has {rank} covariate columns for {len(rows)} training participants; it "
            f"needs {2 * rank + 1} or more. Use fewer --covariates, or more participants."
        )


def _moments(covariates: Floats) -> tuple[Floats, Floats]:
    """Return mean and 1/SD of the known values, (covariate,); 0 and 0 if none is known."""
    known = ~np.isnan(covariates)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, covariates, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(known, (covariates - mean) ** 2, 0.0).sum(axis=0) / count)
    return mean, np.divide(1, sd, out=np.zeros_like(sd), where=sd > 1e-9 * np.abs(mean))


def _standardise(covariates: Floats, mean: Floats, weight: Floats) -> Floats:
    known: Floats = np.where(np.isnan(covariates), mean, covariates)
    return (known - mean) * weight


def _enough(n: int, rank: int) -> bool:
    """Whether as many degrees of freedom remain as the regression uses, beside the mean."""
    return n - 1 - rank >= rank and n > 1

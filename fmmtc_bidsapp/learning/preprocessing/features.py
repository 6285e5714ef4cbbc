"""Feature vectors of participants, scaled on the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nilearn.connectome import sym_matrix_to_vec
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.learning.preprocessing.tangent import REFERENCE, fit_reference, tangent_edges
from fmmtc_bidsapp.models.declared import Declared, floats
from fmmtc_bidsapp.records import Examples, Floats, Ints
from fmmtc_bidsapp.stats import LARGEST_SINGLE, fisher_z

__all__ = [
    "FEATURES",
    "FeatureSet",
    "Scaling",
    "declared_scaling",
    "fit_scaling",
    "restore_scaling",
]

Arrays = Mapping[str, NDArray[Any]]

_PCA_COMPONENTS = 20
"""Few enough to be a choice for 40 to 100 people, and the same in every fold."""

_ROUNDING = 1e-6
"""Spread, relative to the largest value, below which a column counts as constant."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Columns to features: filled, standardised and, where asked, rotated into components."""

    fill: Floats
    """(column,) training mean, put where a value is missing"""
    mean: Floats
    """(column,)"""
    scale: Floats
    """(column,) SD times the square root of the number of columns, so that a penalty means the same
    for any number of them; infinite where the training rows do not vary, so that a value that only
    other people have counts for nothing"""
    components: Floats | None
    """(component, column) or None"""

    def apply(self, columns: Floats) -> Floats:
        """Scale (person, column) with NaN to (person, feature) without.

        ModelFileError if the number of columns differs from the training's.
        """
        if columns.shape[1] != len(self.fill):
            raise ModelFileError(
                f"The model was trained on {len(self.fill)} columns, these participants have "
                f"{columns.shape[1]}. Train it again."
            )
        filled = np.where(np.isnan(columns), self.fill, columns)
        scaled = (filled - self.mean) / self.scale
        return scaled if self.components is None else scaled @ self.components.T

    def arrays(self) -> dict[str, Floats]:
        """Return everything learnt, by name; infinite values, a sign of damage, are 0."""
        scale = np.where(np.isinf(self.scale), 0.0, self.scale)
        own = {"fill": self.fill, "mean": self.mean, "scale": scale}
        return own if self.components is None else own | {"components": self.components}


def declared_scaling(*, rotated: bool) -> dict[str, Declared]:
    """Declare the arrays of `Scaling.arrays`, rotated or not."""
    own = {name: floats("column") for name in ("fill", "mean", "scale")}
    return own | ({"components": floats("feature", "column")} if rotated else {})


def fit_scaling(columns: Floats, n_components: int | None, *, rotate: bool) -> Scaling:
    """Learn mean, scale and components from (training person, column), NaN where missing.

    `n_components` None keeps everything; `rotate` expresses all of it in its principal
    components, at most one per training person, which is exact for models of distances and
    inner products.
    """
    imputer = SimpleImputer(keep_empty_features=True)
    filled = imputer.fit_transform(columns)
    fill, mean, sd = imputer.statistics_, filled.mean(axis=0), filled.std(axis=0)
    varies = (np.ptp(filled, axis=0) > 0) & (sd > _ROUNDING * np.abs(filled).max(axis=0))
    scale = np.where(varies, sd * np.sqrt(columns.shape[1]), np.inf)
    if n_components is None and not rotate:
        return Scaling(fill, mean, scale, None)
    most = min(len(columns) - 1, columns.shape[1])
    kept = most if n_components is None else min(n_components, most)
    # Where nothing varies there is no share of variance to explain, and none is asked for.
    with np.errstate(invalid="ignore"):
        pca = PCA(kept, svd_solver="full").fit((filled - mean) / scale)
    # In the layout it is read back in: the order of additions is part of the last digit.
    return Scaling(fill, mean, scale, np.ascontiguousarray(pca.components_))


def restore_scaling(arrays: Arrays) -> Scaling:
    """Rebuild from `Scaling.arrays`."""
    scale = np.where(arrays["scale"] == 0, np.inf, arrays["scale"])
    return Scaling(arrays["fill"], arrays["mean"], scale, arrays.get("components"))


@dataclass(frozen=True)
class FeatureSet:
    """A row of the table of features."""

    title: str
    needs: str
    """What the cohort must have: ``series``, ``fc``, ``encoder``, ``covariates``, ``motion``,
    ``acquisition``."""
    read: Callable[[Examples, Arrays], Floats]
    """(people, what was learnt) -> (person, column), NaN where missing"""
    learn: Callable[[Examples, Ints], Arrays] = lambda examples, rows: {}
    """What `read` must know of the training rows, without their outcomes."""
    n_components: int | None = None
    declared: Mapping[str, Declared] = field(default_factory=dict)
    """What `learn` returns."""

    @property
    def is_of_brain(self) -> bool:
        """Whether it describes brain activity."""
        return self.needs not in ("covariates", "motion", "acquisition")


def _series(people: Examples, learnt: Arrays) -> Floats:
    series = np.asarray(people.series)
    return series.reshape(len(series), -1).astype(np.float64)


def _edges(people: Examples, learnt: Arrays) -> Floats:
    return fisher_z(sym_matrix_to_vec(people.fc, discard_diagonal=True), LARGEST_SINGLE)


def _encoded(people: Examples, learnt: Arrays) -> Floats:
    return people.cls


def _covariates(people: Examples, learnt: Arrays) -> Floats:
    return np.asarray(people.covariates, dtype=np.float64)


def _motion(people: Examples, learnt: Arrays) -> Floats:
    return np.asarray(people.mean_fd_mm, dtype=np.float64)[:, None]


def _acquisition(people: Examples, learnt: Arrays) -> Floats:
    return np.asarray(people.acquisition, dtype=np.float64)


FEATURES: Mapping[str, FeatureSet] = {
    "ts": FeatureSet("series", "series", _series),
    "fc": FeatureSet("FC", "fc", _edges),
    "pca-ts": FeatureSet("PCA(series)", "series", _series, n_components=_PCA_COMPONENTS),
    "pca-fc": FeatureSet("PCA(FC)", "fc", _edges, n_components=_PCA_COMPONENTS),
    "encoder": FeatureSet("{encoder}", "encoder", _encoded),
    "tangent": FeatureSet(
        "tangent space of FC", "fc", tangent_edges, fit_reference, declared=REFERENCE
    ),
    "covariates": FeatureSet("covariates", "covariates", _covariates),
    "motion": FeatureSet("mean FD", "motion", _motion),
    "acquisition": FeatureSet("acquisition", "acquisition", _acquisition),
}
"""What a row of numbers can be made of, by name."""

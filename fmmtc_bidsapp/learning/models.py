"""The table of models: what is fitted, by the name that flags and written tables use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.learning.columns import FEATURES
from fmmtc_bidsapp.learning.fused import FusedLearner
from fmmtc_bidsapp.learning.learner import Learner, Setup
from fmmtc_bidsapp.learning.linear import ColumnsLearner, DummyLearner
from fmmtc_bidsapp.learning.train import FmmTcLearner
from fmmtc_bidsapp.records import Examples

__all__ = [
    "BASELINES",
    "MAIN_MODEL",
    "MODELS",
    "Model",
    "baselines",
    "check_needs",
    "expand_models",
    "missing_needs",
]


@dataclass(frozen=True)
class Model:
    """A row of the table of models."""

    learner: Callable[[Setup], Learner]
    title: str
    """As a reader calls it."""
    needs: tuple[str, ...] = ()
    """What the cohort must have: ``encoder``, ``fc``, ``series``, ``covariates``, ``motion``."""
    is_network: bool = False


MAIN_MODEL = "fmmtc"
"""The model that the others stand beside."""

BASELINES = ("dummy", "covariates", "motion", "fc-logistic")
"""Fitted beside whatever is asked for, where the cohort has what they need."""

_CLASSIFIERS = {"svm": "SVM", "ridge": "Ridge", "knn": "k-NN", "xgboost": "XGBoost"}
_COLUMNS = ("ts", "fc", "pca-ts", "pca-fc", "encoder")


def _on_columns(head: str, features: str, title: str) -> Model:
    learner = partial(ColumnsLearner, head=head, features=features)
    return Model(learner, title, needs=(FEATURES[features].needs,))


def _on_fused(head: str, title: str) -> Model:
    needs = ("encoder", "fc")
    return Model(partial(FusedLearner, head=head), title, needs=needs, is_network=True)


MODELS: Mapping[str, Model] = {
    MAIN_MODEL: Model(FmmTcLearner, "FMM_TC", needs=("encoder", "fc"), is_network=True),
    "fc-logistic": _on_columns("logistic", "tangent", "FC logistic (tangent space)"),
    "fc-logistic-edges": _on_columns("logistic", "fc", "FC logistic (edges)"),
    "covariates": _on_columns("logistic", "covariates", "Covariates only"),
    "motion": _on_columns("logistic", "motion", "Motion only"),
    "dummy": Model(DummyLearner, "Dummy (prevalence)"),
    **{
        f"{head}-{features}": _on_columns(head, features, f"{name} on {FEATURES[features].title}")
        for head, name in _CLASSIFIERS.items()
        for features in _COLUMNS
    },
    **{f"{head}-fused": _on_fused(head, f"{name} on R_TC") for head, name in _CLASSIFIERS.items()},
}
"""What is fitted, by the name of its flag and of its rows in every table."""

_HAS: Mapping[str, Callable[[Examples], bool]] = {
    "encoder": lambda examples: examples.cls.shape[1] > 0,
    "fc": lambda examples: examples.fc.shape[1] > 0,
    "series": lambda examples: examples.series is not None,
    "covariates": lambda examples: examples.covariates is not None,
    "motion": lambda examples: examples.mean_fd_mm is not None,
}
_NEEDED = {
    "encoder": "encoded series",
    "fc": "connectivity matrices",
    "series": "parcel series",
    "covariates": "--covariates",
    "motion": "the mean framewise displacement of every run's sidecar",
}


def expand_models(networks: Sequence[str], features: Sequence[str]) -> tuple[str, ...]:
    """Name the rows of `MODELS` that ``--network`` and ``--features`` mean, baselines excluded.

    Parameters
    ----------
    networks : sequence of str
        Names of rows, or of a classifier, which stands for itself on each of the features.
    features : sequence of str
        Names of features.

    Returns
    -------
    tuple of str
        In the order asked for, none twice.

    Raises
    ------
    UsageError
        For a name that is in no table.
    """
    known = (*_COLUMNS, "fused")
    for name in features:
        if name not in known:
            raise UsageError(f"--features {name!r} is unknown; there are {', '.join(known)}.")
    names = []
    for network in networks:
        found = [f"{network}-{each}" for each in features] if network in _CLASSIFIERS else [network]
        names += [name for name in found if name not in names]
    for name in names:
        if name not in MODELS:
            allowed = ", ".join([*MODELS, *_CLASSIFIERS])
            raise UsageError(f"--network {name!r} is unknown; there are {allowed}.")
    return tuple(names)


def missing_needs(name: str, examples: Examples) -> tuple[str, ...]:
    """List what a model needs and a cohort has not, in words."""
    return tuple(_NEEDED[need] for need in MODELS[name].needs if not _HAS[need](examples))


def baselines(examples: Examples) -> tuple[str, ...]:
    """List the baselines that a cohort has all that is needed for."""
    return tuple(name for name in BASELINES if not missing_needs(name, examples))


def check_needs(names: Sequence[str], examples: Examples) -> None:
    """Refuse models that the cohort lacks something for.

    Raises
    ------
    InputError
        With what is missing, and the models that could be fitted.
    """
    for name in names:
        missing = missing_needs(name, examples)
        if missing:
            possible = ", ".join(each for each in MODELS if not missing_needs(each, examples))
            raise InputError(
                f"{name} needs {' and '.join(missing)}, which these people do not have. Give them, "
                f"or choose among {possible}."
            )

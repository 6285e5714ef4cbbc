"""The best possible prediction, given what was planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import zscore
from sklearn.metrics import roc_auc_score

__all__ = ["ORACLES", "Oracle", "OracleRule", "judge_oracles"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Oracle:
    """A value per person, and how well it separates responders from non-responders."""

    name: str
    definition: str
    value: Floats
    """(person,)"""
    auroc: float
    """Over the patients."""


class OracleRule(NamedTuple):
    """How an oracle is computed, and the same in words."""

    measure: Callable[[Floats, NDArray[np.str_]], float]
    """(time, parcel) series of the planted networks, (parcel,) network names -> a number."""
    definition: str


def _level(signal: Floats, networks: NDArray[np.str_]) -> float:
    return float(signal.mean())


def _autoregression(signal: Floats, networks: NDArray[np.str_]) -> float:
    centred = signal - signal.mean(axis=0)
    lagged = (centred[1:] * centred[:-1]).sum(axis=0)
    return float((lagged / (centred**2).sum(axis=0)).mean())


def _amplitude(signal: Floats, networks: NDArray[np.str_]) -> float:
    return float(np.log(signal.std(axis=0)).mean())


def _coupling(signal: Floats, networks: NDArray[np.str_]) -> float:
    means = np.stack([signal[:, networks == name].mean(axis=1) for name in np.unique(networks)])
    pairs = np.triu_indices(len(means), k=1)
    return float(np.arctanh(np.corrcoef(means)[pairs]).mean())


ORACLES: Mapping[str, OracleRule] = {
    "level": OracleRule(
        _level, "Mean over time and parcels of the planted networks, in scanner units."
    ),
    "autoregression": OracleRule(
        _autoregression, "Mean lag-1 autocorrelation over the parcels of the planted networks."
    ),
    "amplitude": OracleRule(
        _amplitude, "Mean log SD over time of the parcels of the planted networks."
    ),
    "coupling": OracleRule(
        _coupling,
        "Mean Fisher z of the correlations between the mean series of the planted networks.",
    ),
}
"""One per effect, all measured for every cohort; those of other effects are at chance."""

_COMBINED = "Sum of the oracles of all planted effects, each standardised over the people."


def judge_oracles(
    series: NDArray[np.float32],
    networks: NDArray[np.str_],
    y: NDArray[np.int64],
    effects: Sequence[str],
) -> tuple[Oracle, ...]:
    """Return every oracle and its AUROC, from the planted ``series`` (person, time, parcel).

    ``y`` (person,) is -1 without an outcome; two or more effects add ``combined``.
    """
    values = {
        name: np.array([rule.measure(person.astype(np.float64), networks) for person in series])
        for name, rule in ORACLES.items()
    }
    definitions = {name: rule.definition for name, rule in ORACLES.items()}
    if len(effects) > 1:
        values["combined"] = np.sum([zscore(values[name]) for name in effects], axis=0)
        definitions["combined"] = _COMBINED
    patient = y >= 0
    return tuple(
        Oracle(name, definitions[name], value, float(roc_auc_score(y[patient], value[patient])))
        for name, value in values.items()
    )

"""Baselines of integrated gradients: zero, the average, or noise with the same spectrum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.explanation.forward import Arrays
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.modalities.preparation import fit_edge_means
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["BASELINES", "FoldBaselines", "phase_randomise"]


@dataclass(frozen=True, eq=False)
class FoldBaselines:
    """The baselines of the people of one fold.

    A baseline has the person's missing values, and the person's diagonal of connectivity: what
    does not change between baseline and person has no part in the map.
    """

    examples: Examples
    train: Ints
    """Rows that the mean is of."""
    sources: tuple[str, ...]
    """Keys of `Examples.arrays` that are needed."""
    seed: int
    """Of the surrogates."""

    def of(self, how: str, row: int, draws: int) -> list[Arrays]:
        """Return the baselines of a person by a key of `BASELINES`: one, or `draws` surrogates.

        InputError if there is no series to make surrogates of.
        """
        person = self.person(row)
        return [_fitted(each, person) for each in BASELINES[how](self, row, draws)]

    def person(self, row: int) -> Arrays:
        """Take one person."""
        return _arrays(self.examples, row, self.sources)

    @cached_property
    def mean(self) -> Arrays:
        """Mean of the training people, each value over those who have it."""
        found: dict[str, NDArray[Any]] = {}
        if "series" in self.sources:
            found["series"] = _mean(np.asarray(self.examples.series), self.train)
        if "fc" in self.sources:
            found["fc"] = fit_edge_means(self.examples.fc, self.train)[0]
        for name in self.others:
            found[name] = _mean(self.examples.arrays[name], self.train)
        return found

    @property
    def others(self) -> list[str]:
        """Sources of other packages, whose every baseline is the training mean."""
        return [name for name in self.sources if name not in ("series", "fc")]

    def surrogate(self, row: int, draw: int) -> Arrays:
        """Phase-randomise a person."""
        if self.examples.series is None:
            raise InputError(
                "--explain-baseline surrogate needs parcel series, but there are only matrices. "
                "Provide the series, or use zero or mean."
            )
        rng = np.random.default_rng(derive_seed(self.seed, row, draw))
        series = phase_randomise(self.examples.series[row].astype(np.float64), rng)
        alone = self.examples.take(np.array([row]))
        fc = _correlations(series) if "fc" in self.sources else alone.fc[0]
        made = alone.with_arrays(
            series=series[None].astype(np.float32), fc=fc[None].astype(np.float32)
        )
        return {
            **_arrays(made, 0, self.sources),
            **{name: self.mean[name] for name in self.others},
        }


def _zero(starts: FoldBaselines, row: int, draws: int) -> list[Arrays]:
    return [
        {
            name: starts.mean[name] if name in starts.others else np.zeros_like(each)
            for name, each in starts.person(row).items()
        }
    ]


def _average(starts: FoldBaselines, row: int, draws: int) -> list[Arrays]:
    return [starts.mean]


def _surrogates(starts: FoldBaselines, row: int, draws: int) -> list[Arrays]:
    return [starts.surrogate(row, draw) for draw in range(draws)]


BASELINES: Mapping[str, Callable[[FoldBaselines, int, int], list[Arrays]]] = {
    "zero": _zero,
    "mean": _average,
    "surrogate": _surrogates,
}
"""By the name of ``--explain-baseline``."""


def phase_randomise(series: Floats, rng: np.random.Generator) -> Floats:
    """Draw the phases of every parcel anew, (parcel, time) -> (parcel, time).

    Mean and power spectrum stay; covariance and timing do not (Theiler et al. 1992,
    doi:10.1016/0167-2789(92)90102-S). Volumes beyond a short series are NaN, and so is a parcel
    without data.
    """
    filled = ~np.isnan(series).all(axis=0)
    spectrum = np.fft.rfft(series[:, filled], axis=1)
    turn = np.exp(2j * np.pi * rng.random(spectrum.shape))
    # The mean has no phase, and of an even number of volumes neither has the highest frequency.
    turn[:, 0] = 1
    if filled.sum() % 2 == 0:
        turn[:, -1] = 1
    drawn: Floats = np.full_like(series, np.nan)
    drawn[:, filled] = np.fft.irfft(spectrum * turn, n=int(filled.sum()), axis=1)
    return drawn


def _correlations(series: Floats) -> Floats:
    """(parcel, time) -> (parcel, parcel); NaN at parcels without data or variation."""
    filled = ~np.isnan(series).all(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.asarray(np.corrcoef(series[:, filled]))
    return found


def _arrays(people: Examples, row: int, sources: tuple[str, ...]) -> Arrays:
    return {name: people.arrays[name][row] for name in sources}


def _mean(values: NDArray[Any], rows: Ints) -> NDArray[np.float32]:
    """Average over the rows that have a value, one at a time; NaN where none has."""
    total, count = np.zeros(values.shape[1:]), np.zeros(values.shape[1:], dtype=np.int64)
    for row in rows:
        there = ~np.isnan(values[row])
        total += np.where(there, values[row], 0.0)
        count += there
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean.astype(np.float32)


def _fitted(baseline: Arrays, person: Arrays) -> Arrays:
    """Keep the person's value where the baseline has none, or must not change it."""
    found = {}
    for name, own in person.items():
        changes = ~np.isnan(baseline[name]) & ~np.isnan(own)
        if name == "fc":
            changes &= ~np.eye(len(own), dtype=bool)
        found[name] = np.where(changes, baseline[name], own)
    return found

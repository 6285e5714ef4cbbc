"""Columns of the tables -> columns of numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.cells import as_number, is_missing, spelled
from fmmtc_bidsapp.errors import InputError, UsageError

__all__ = ["CovariateColumns", "CovariateLevels", "covariate_columns"]

_SHOWN = 5
_MOST_LEVELS = 500


@dataclass(frozen=True)
class CovariateLevels:
    """How one covariate becomes numbers; it survives `dataclasses.asdict` and JSON."""

    name: str
    levels: tuple[str, ...] | None = None
    """Values of a column of text, sorted: one column of numbers each. None for numbers."""

    def __post_init__(self) -> None:
        # JSON knows lists alone.
        if self.levels is not None:
            object.__setattr__(self, "levels", tuple(map(spelled, self.levels)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        if self.levels is None:
            return (self.name,)
        return tuple(f"{self.name}={level}" for level in self.levels)


@dataclass(frozen=True, eq=False)
class CovariateColumns:
    """The covariates of some people as numbers."""

    values: NDArray[np.float64]
    """(person, column) NaN where missing"""
    names: tuple[str, ...]
    """(column,)"""
    levels: tuple[CovariateLevels, ...]
    """By covariate, for people to come."""
    notes: tuple[str, ...]
    """What a reader must know: columns that are empty, constant or of mixed kind."""


def covariate_columns(
    values: Sequence[Sequence[str]],
    names: Sequence[str],
    levels: Sequence[CovariateLevels] | None = None,
) -> CovariateColumns:
    """Turn covariates into numbers.

    A column in which every known value is a finite number stays one column; any other has one
    column a level, 1 for those who have it and 0 for the others.

    Parameters
    ----------
    values : sequence of sequence of str
        (person, covariate) as the table spells them.
    names : sequence of str
        (covariate,)
    levels : sequence of CovariateLevels, optional
        Those of the people that a model was trained on. Then a level they had not is missing here,
        and the notes say so.

    Returns
    -------
    CovariateColumns

    Raises
    ------
    UsageError
        When the names are not those of the levels.
    InputError
        When text stands where the training had numbers.
    """
    by_name = {name: [spelled(row[i]) for row in values] for i, name in enumerate(names)}
    if levels is None:
        levels = [_find_levels(name, own) for name, own in by_name.items()]
    elif sorted(each.name for each in levels) != sorted(names):
        raise UsageError(
            f"--covariates are {', '.join(names) or 'none'}; the model was trained with "
            f"{', '.join(each.name for each in levels) or 'none'}. Name the same."
        )
    encoded = [_encode(by_name[each.name], each) for each in levels]
    empty = np.empty((len(values), 0))
    return CovariateColumns(
        np.concatenate([empty, *encoded], axis=1),
        tuple(name for each in levels for name in each.columns),
        tuple(levels),
        tuple(note for each in levels for note in _notes(by_name[each.name], each)),
    )


def _known(values: Sequence[str]) -> list[str]:
    return [value for value in values if not is_missing(value)]


def _find_levels(name: str, values: Sequence[str]) -> CovariateLevels:
    known = _known(values)
    numeric = all(_finite(value) is not None for value in known)
    levels = sorted(set(known))
    if not numeric and len(levels) > _MOST_LEVELS:
        raise InputError(
            f"{name} holds {len(levels)} different texts ({_some(levels)}), and each would be a "
            f"column; {_MOST_LEVELS} are allowed. Leave it out of --covariates, or correct what "
            "is no number."
        )
    return CovariateLevels(name, None if numeric else tuple(levels))


def _finite(text: str) -> float | None:
    number = as_number(text)
    return number if number is not None and math.isfinite(number) else None


def _encode(values: Sequence[str], covariate: CovariateLevels) -> NDArray[np.float64]:
    """(person,) -> (person, column)."""
    if covariate.levels is None:
        return np.array([[_number(value, covariate.name)] for value in values]).reshape(-1, 1)
    levels = np.array(covariate.levels, dtype=object)
    column = np.array(values, dtype=object)[:, None]
    encoded: NDArray[np.float64] = (column == levels).astype(np.float64)
    encoded[~np.isin(values, covariate.levels)] = np.nan
    return encoded


def _number(value: str, name: str) -> float:
    number = math.nan if is_missing(value) else _finite(value)
    if number is None:
        raise InputError(
            f"{name} holds {value!r}; the model was trained with numbers there. Correct the table, "
            "n/a where it is not known."
        )
    return number


def _notes(values: Sequence[str], covariate: CovariateLevels) -> list[str]:
    known, notes = _known(values), []
    name, levels = covariate.name, covariate.levels
    if not known:
        notes.append(f"{name} is n/a for everyone")
    elif len({_finite(each) if levels is None else each for each in known}) == 1:
        notes.append(f"{name} is {known[0]} for everyone who has it")
    if levels is None:
        return notes
    new = sorted(set(known) - set(levels))
    if new:
        n = sum(value in new for value in values)
        notes.append(f"{name} is {_some(new)} for {n}, which the training had not: taken as n/a")
    text = sorted({level for level in levels if _finite(level) is None})
    if 0 < len(text) < len(levels):
        notes.append(
            f"{name} holds numbers, but also {_some(text)}: each of its {len(levels)} values is a "
            "level"
        )
    rare = [level for level, n in Counter(known).items() if n == 1]
    if len(rare) > len(known) / 2:
        notes.append(f"{name} has a level of its own for {len(rare)} of {len(known)} people")
    return notes


def _some(values: Sequence[str]) -> str:
    more = ", …" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more

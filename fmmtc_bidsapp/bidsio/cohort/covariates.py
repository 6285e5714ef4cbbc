"""Turn table columns into numeric covariates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.tables.cells import as_number, is_missing, same_value, spelled
from fmmtc_bidsapp.bidsio.tables.far_values import OUTLYING_NOTE, outlying
from fmmtc_bidsapp.bidsio.tables.value_labels import Meanings, meaning_of, same_meaning
from fmmtc_bidsapp.errors import InputError, UsageError

__all__ = ["CovariateColumns", "CovariateLevels", "covariate_columns"]

_SHOWN = 5
_MOST_LEVELS = 500


@dataclass(frozen=True)
class CovariateLevels:
    """Coding of one covariate; it survives `dataclasses.asdict` and JSON."""

    name: str
    levels: tuple[str, ...] | None = None
    """Values of a column of text, sorted: one column of numbers each. None for numbers."""
    range: tuple[float, float] | None = None
    """Least and most of a column of numbers, without values far off; None of text, or unknown."""
    codes: tuple[float, ...] | None = None
    """Values of a column of numbers that has only two, such as a sex of 1 and 2; else None."""
    meanings: tuple[tuple[str, str], ...] = ()
    """Values with their ``Levels`` in the JSON beside the table, where it describes them."""

    def __post_init__(self) -> None:
        # JSON knows lists alone.
        for name in ("levels", "range", "codes"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.levels is not None:
            object.__setattr__(self, "levels", tuple(map(spelled, self.levels)))
        pairs = tuple((str(value), str(words)) for value, words in self.meanings)
        object.__setattr__(self, "meanings", pairs)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        if self.levels is None:
            return (self.name,)
        return tuple(f"{self.name}={level}" for level in self.levels)

    def outside(self, value: str) -> str | None:
        """Describe how a new value differs from the training's; None if it does not."""
        if is_missing(value):
            return None
        if self.levels is not None:
            known = any(same_value(value, each) for each in self.levels)
            return None if known else f"{self.name} {value}, not in the training"
        number = _finite(value)
        if self.range is None or number is None or self.range[0] <= number <= self.range[1]:
            return None
        return f"{self.name} {number:g}, trained on {self.range[0]:g} to {self.range[1]:g}"


@dataclass(frozen=True, eq=False)
class CovariateColumns:
    """The covariates of participants as numbers."""

    values: NDArray[np.float64]
    """(person, column) NaN where missing"""
    names: tuple[str, ...]
    """(column,)"""
    levels: tuple[CovariateLevels, ...]
    """By covariate, for people to come."""
    notes: tuple[str, ...]
    """What a reader must know: columns that are empty, constant or of mixed kind, values far off
    or outside the training's."""


def covariate_columns(
    values: Sequence[Sequence[str]],
    names: Sequence[str],
    levels: Sequence[CovariateLevels] | None = None,
    meanings: Mapping[str, Meanings] | None = None,
) -> CovariateColumns:
    """Turn (participant, covariate) texts into numbers.

    Numbers stay one column; other covariates have a column of 1 and 0 per level. With ``levels`` of
    a training, new levels are missing, with a note. UsageError for other names than those of the
    levels, InputError for another coding than in the training.
    """
    by_name = {name: [spelled(row[i]) for row in values] for i, name in enumerate(names)}
    described = meanings or {}
    if levels is None:
        levels = [_find_levels(name, own, described.get(name, {})) for name, own in by_name.items()]
        remarks = [note for each in levels for note in _far_notes(by_name[each.name], each.name)]
    elif sorted(each.name for each in levels) != sorted(names):
        raise UsageError(
            f"--covariates are {', '.join(names) or 'none'}; the model was trained with "
            f"{', '.join(each.name for each in levels) or 'none'}. Name the same."
        )
    else:
        for each in levels:
            _refuse_other_coding(by_name[each.name], each, described.get(each.name, {}))
        remarks = [note for each in levels for note in _new_notes(by_name[each.name], each)]
    encoded = [_encode(by_name[each.name], each) for each in levels]
    empty = np.empty((len(values), 0))
    return CovariateColumns(
        np.concatenate([empty, *encoded], axis=1),
        tuple(name for each in levels for name in each.columns),
        tuple(levels),
        (*(note for each in levels for note in _notes(by_name[each.name], each)), *remarks),
    )


def _known(values: Sequence[str]) -> list[str]:
    return [value for value in values if not is_missing(value)]


def _find_levels(name: str, values: Sequence[str], meanings: Meanings) -> CovariateLevels:
    known = _known(values)
    numbers = [number for value in known if (number := _finite(value)) is not None]
    if len(numbers) < len(known):
        levels = tuple(sorted(set(known)))
        if len(levels) > _MOST_LEVELS:
            raise InputError(
                f"{name} has {len(levels)} different texts ({_some(levels)}), each of which would "
                f"be a column; {_MOST_LEVELS} are allowed. Remove it from --covariates, or correct "
                "the values that are not numbers."
            )
        return CovariateLevels(name, levels, meanings=_described(levels, meanings))
    codes = sorted(set(numbers) - outlying(numbers))
    return CovariateLevels(
        name,
        range=(codes[0], codes[-1]) if codes else None,
        codes=(codes[0], codes[1]) if len(codes) == 2 else None,
        meanings=_described([f"{each:g}" for each in codes], meanings),
    )


def _described(values: Iterable[str], meanings: Meanings) -> tuple[tuple[str, str], ...]:
    """Return the values that have a meaning."""
    if not meanings:
        return ()
    found = ((value, meaning_of(value, meanings)) for value in values)
    return tuple((value, words) for value, words in found if words is not None)


def _finite(text: str) -> float | None:
    number = as_number(text)
    return number if number is not None and math.isfinite(number) else None


def _refuse_other_coding(
    values: Sequence[str], covariate: CovariateLevels, meanings: Meanings
) -> None:
    """Raise InputError if values may have another meaning than in the training."""
    known, name = sorted(set(_known(values))), covariate.name
    for value, there in covariate.meanings:
        here = meaning_of(value, meanings)
        if here is not None and not same_meaning(here, there):
            raise InputError(
                f"{name} = {value} means {here!r} in the JSON beside the table, but {there!r} in "
                "the training. Code the column as in the training, or correct its Levels."
            )
    codes = covariate.codes
    strange = [value for value in known if codes and _finite(value) not in (None, *codes)]
    if codes and strange:
        raise InputError(
            f"{name} has {_some(known)}; the training had only {codes[0]:g} and {codes[1]:g}, so "
            f"the meaning of {_some(strange)} and of the other values is unknown. Code the column "
            "as in the training, n/a if unknown."
        )


def _encode(values: Sequence[str], covariate: CovariateLevels) -> NDArray[np.float64]:
    """Return (participant, column) numbers of (participant,) texts."""
    if covariate.levels is None:
        return np.array([[_number(value, covariate.name)] for value in values]).reshape(-1, 1)
    place = {level: i for i, level in enumerate(covariate.levels)}
    encoded = np.full((len(values), len(place)), np.nan)
    for row, value in enumerate(values):
        column = None if is_missing(value) else place.get(value)
        if column is not None:
            encoded[row] = 0.0
            encoded[row, column] = 1.0
    return encoded


def _number(value: str, name: str) -> float:
    number = math.nan if is_missing(value) else _finite(value)
    if number is None:
        raise InputError(
            f"{name} has {value!r}; the model was trained with numbers. Correct the table, n/a if "
            "unknown."
        )
    return number


def _notes(values: Sequence[str], covariate: CovariateLevels) -> list[str]:
    known, notes = _known(values), []
    name, levels = covariate.name, covariate.levels
    counts = Counter(known)
    if not known:
        notes.append(f"{name} is n/a for all participants")
    elif len(counts) == 1:
        notes.append(f"{name} is {known[0]} for all participants with a value")
    if levels is None:
        return notes
    text = sorted({level for level in levels if _finite(level) is None})
    if 0 < len(text) < len(levels):
        notes.append(
            f"{name} has numbers, but also {_some(text)}: its {len(levels)} values are levels"
        )
    rare = [level for level, n in counts.items() if n == 1]
    if len(rare) > len(known) / 2:
        notes.append(f"{name} has a unique level for {len(rare)} of {len(known)} participants")
    return notes


def _far_notes(values: Sequence[str], name: str) -> list[str]:
    """Describe the outliers of a column, such as codes for missing values."""
    numbers = [number for value in _known(values) if (number := _finite(value)) is not None]
    far = outlying(numbers)
    if not far:
        return []
    n = sum(number in far for number in numbers)
    listed = _some([f"{each:g}" for each in sorted(far)])
    return [f"{name} is {listed} for {n} of {len(numbers)} participants, {OUTLYING_NOTE}"]


def _new_notes(values: Sequence[str], covariate: CovariateLevels) -> list[str]:
    """Describe how many new participants have a value that the training had not."""
    outside = [value for value in values if covariate.outside(value)]
    if not outside:
        return []
    listed, n, name = _some(sorted(set(outside))), len(outside), covariate.name
    if covariate.levels is not None:
        return [f"{name}: {listed} (n = {n}) was not in the training: read as n/a"]
    low, high = covariate.range or (math.nan, math.nan)
    return [
        f"{name} is {listed} for {n} of {len(_known(values))} participants, outside the {low:g} to "
        f"{high:g} of the training; their predictions are marked. If a value is a code for a "
        "missing one, replace it by n/a"
    ]


def _some(values: Sequence[str]) -> str:
    more = ", …" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more

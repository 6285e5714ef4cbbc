"""Scan properties of each participant, as columns of the reference model "acquisition"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fmmtc_bidsapp.learning.evaluation.reference_models import with_unknown
from fmmtc_bidsapp.records import Floats, Person, SeriesFile

__all__ = ["acquisition_columns"]

_SITE_SIZE = 4
"""Mean people of a group from which ``--group-by`` is taken for sites, not families."""
_FEWEST = 2
"""Fewest people of a level: a level of one person says nothing of another's outcome."""


def acquisition_columns(
    people: Sequence[Person], about: Sequence[Mapping[str, Any]] | None = None
) -> tuple[Floats | None, tuple[str, ...]]:
    """Return (person, column) of scan properties that differ between people, and their names.

    Numbers have NaN where unknown; texts have a column of 0 and 1 for each level, and unknown
    values a column too. `about` has the properties known after reading, None before. None if
    nothing differs.
    """
    numbers = {name: [read(each) for each in people] for name, read in _NUMBERS.items()}
    if about is not None:
        numbers["retained volumes"] = [_n_read(each) for each in about]
        numbers["parcels left out"] = [float(each["n_parcels_left_out"]) for each in about]
    columns: list[tuple[str, Floats]] = []
    for name, values in numbers.items():
        column = np.array([np.nan if each is None else each for each in values], dtype=np.float64)
        columns += [(name, column), *with_unknown(column, name)[1:]]
    words = {name: [read(each) for each in people] for name, read in _WORDS.items()}
    for name, texts in (words | {"site": _sites(people)}).items():
        columns += _levels(name, ["unknown" if each is None else each for each in texts])
    varying = [(name, column) for name, column in columns if _varies(column)]
    if not varying:
        return None, ()
    return np.stack([column for _, column in varying], axis=1), tuple(name for name, _ in varying)


def _levels(name: str, texts: Sequence[str]) -> list[tuple[str, Floats]]:
    """Return (person,) 0 or 1 for each frequent level; one column for two levels."""
    frequent = sorted(level for level, n in Counter(texts).items() if n >= _FEWEST)
    kept = frequent[:1] if len(frequent) == 2 and len(set(texts)) == 2 else frequent
    return [
        (f"{name}={level}", np.array([each == level for each in texts], dtype=np.float64))
        for level in kept
    ]


def _n_read(about: Mapping[str, Any]) -> float | None:
    volumes = list(about["n_volumes"].values())
    return None if None in volumes else float(sum(volumes))


def _varies(column: Floats) -> bool:
    known = column[~np.isnan(column)]
    return bool(len(known)) and bool(np.ptp(known) > 0)


def _sum(read: Callable[[SeriesFile], int | None]) -> Callable[[Person], float | None]:
    def over_runs(person: Person) -> float | None:
        values = [value for run in person.runs if (value := read(run)) is not None]
        return float(sum(values)) if len(values) == len(person.runs) else None

    return over_runs


def _mean_tr_s(person: Person) -> float | None:
    values = [run.tr_s for run in person.runs if run.tr_s is not None]
    return float(np.mean(values)) if len(values) == len(person.runs) else None


_NUMBERS: Mapping[str, Callable[[Person], float | None]] = {
    "volumes": _sum(lambda run: run.n_volumes),
    "retained volumes": _sum(lambda run: run.n_volumes_retained),
    "repetition time": _mean_tr_s,
    "runs": lambda person: float(len(person.runs)),
}
"""By name, over all runs of a person; None if unknown of a run."""


def _entity(name: str) -> Callable[[Person], str | None]:
    def of_runs(person: Person) -> str | None:
        values = {run.entities[name] for run in person.runs if name in run.entities}
        return "+".join(sorted(values)) or None

    return of_runs


def _cleanings(person: Person) -> str | None:
    values = {run.cleaning for run in person.runs if run.cleaning is not None}
    return " / ".join(sorted(values)) or None


def _programs(person: Person) -> str | None:
    values = {
        " + ".join(run.origin.made_by)
        for run in person.runs
        if run.origin is not None and run.origin.made_by
    }
    return " / ".join(sorted(values)) or None


_WORDS: Mapping[str, Callable[[Person], str | None]] = {
    "acq": _entity("acq"),
    "task": _entity("task"),
    "dir": _entity("dir"),
    "cleaning": _cleanings,
    "made by": _programs,
}


def _sites(people: Sequence[Person]) -> list[Any]:
    """Return the groups if they are few, as sites; families say nothing of a scanner."""
    groups = [each.group for each in people]
    return groups if len(set(groups)) * _SITE_SIZE <= len(people) else [None] * len(people)

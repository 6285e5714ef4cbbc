"""The participants of a cohort, and what the models read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import require
from fmmtc_bidsapp.records.arrays import Floats, Ints
from fmmtc_bidsapp.records.runs import SeriesFile

__all__ = ["Examples", "ModalityValues", "Person"]


@dataclass(frozen=True)
class Person:
    """One example: a participant in one session, with the runs that are merged into it."""

    participant_id: str
    session_id: str | None
    y: int | None
    """1 responder, 0 not, None where the outcome is unknown (``apply``)."""
    runs: tuple[SeriesFile, ...]
    strata: tuple[str, ...] = ()
    """Values of the ``--stratify-by`` columns."""
    group: str | None = None
    """Value of the ``--group-by`` column; None where none was asked for."""
    arm: str | None = None
    """Value of the ``--subset-by`` column; None where none was asked for."""
    covariates: tuple[str, ...] = ()
    """Values of the ``--covariates`` columns as the table spells them."""

    @property
    def key(self) -> str:
        """``sub-01`` or ``sub-01_ses-1``: unique in a cohort."""
        return "_".join(filter(None, (self.participant_id, self.session_id)))


@dataclass(frozen=True, eq=False)
class ModalityValues:
    """What a reader found of a modality of another package."""

    arrays: Mapping[str, NDArray[Any]]
    """By `Person.key`, one shape; NaN where a value is missing. Who is not here lacks it."""
    names: tuple[str, ...]
    """Of the places along the first axis, for maps."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What the models see of a cohort: one row per person."""

    keys: tuple[str, ...]
    arrays: Mapping[str, Any]
    """By source, (person, ...) with NaN where a value is missing; None and arrays of no columns are
    dropped. ``cls``, ``fc``, ``series`` and ``cls_random`` are this program's, see the properties
    of these names; others are modalities of other packages, by their names."""
    y: Ints
    """(person,) 0 or 1; -1 where the outcome is unknown."""
    strata: tuple[str, ...]
    """(person,) label that folds are balanced on (the outcome and ``--stratify-by``)."""
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By source, (person,) False for people who lack it, whose row is NaN; a source that everyone
    has is left out."""
    covariates: Floats | None = None
    """(person, column) numbers, and categories as one column a level; NaN where missing."""
    covariate_names: tuple[str, ...] = ()
    """(column,) ``age``, or ``drug=placebo`` for a level."""
    mean_fd_mm: Floats | None = None
    """(person,) mean framewise displacement over runs; NaN where unknown."""
    acquisition: Floats | None = None
    """(person, column) what the scans were like, where it differs between people: volumes,
    repetition time, runs, parcels left out, categories as one column a level; NaN where unknown."""
    acquisition_names: tuple[str, ...] = ()
    """(column,)"""
    groups: tuple[str, ...] | None = None
    """(person,) site or family that no split may cut (``--group-by``)."""
    arms: tuple[str, ...] | None = None
    """(person,) arm or drug (``--subset-by``)."""
    coordinates_mm: Floats | None = None
    """(parcel, 3) of all people; what the encoder is told of where the parcels are."""

    def __post_init__(self) -> None:
        n = len(self.keys)
        require(len(set(self.keys)) == n, "A person appears twice in the cohort.")
        there = {name: each for name, each in self.arrays.items() if _has_columns(each)}
        object.__setattr__(self, "arrays", there)
        for name, values in there.items():
            require(len(values) == n, f"{name} has {len(values)} rows for {n} people.")
        lacking = {name: each for name, each in self.present.items() if not each.all()}
        object.__setattr__(self, "present", lacking)
        for name, there_of_person in lacking.items():
            require(
                name in there and len(there_of_person) == n,
                f"Who has {name} is said of {len(there_of_person)} of {n} people.",
            )
            require(
                bool(np.isnan(there[name][~there_of_person]).all()),
                f"{name} holds values of people who lack it.",
            )
        for name in _PER_PERSON:
            value = getattr(self, name)
            found = n if value is None else len(value)
            require(found == n, f"{name} has {found} rows for {n} people.")
        columns = 0 if self.covariates is None else self.covariates.shape[1]
        require(
            columns == len(self.covariate_names),
            f"{columns} covariate columns have {len(self.covariate_names)} names.",
        )
        columns = 0 if self.acquisition is None else self.acquisition.shape[1]
        require(
            columns == len(self.acquisition_names),
            f"{columns} acquisition columns have {len(self.acquisition_names)} names.",
        )

    @property
    def cls(self) -> Floats:
        """(person, hidden) encoder output, mean over runs, windows and token orders.

        Hidden is 0 where nothing was encoded.
        """
        found: Floats = self.arrays.get("cls", np.empty((len(self.keys), 0)))
        return found

    @property
    def fc(self) -> NDArray[np.float32]:
        """(person, parcel, parcel) correlation, NaN at edges of missing parcels.

        No parcel where there are no matrices.
        """
        nothing = np.empty((len(self.keys), 0, 0), dtype=np.float32)
        found: NDArray[np.float32] = self.arrays.get("fc", nothing)
        return found

    @property
    def series(self) -> NDArray[np.float32] | None:
        """(person, parcel, window) first fixed window, normalised; NaN where a parcel is missing.

        None where there are no series.
        """
        return self.arrays.get("series")

    @property
    def cls_random(self) -> Floats | None:
        """(person, hidden) as `cls`, of the encoder without pre-training.

        None where `cls` is of that encoder, or nothing was encoded.
        """
        return self.arrays.get("cls_random")

    def has(self, source: str) -> NDArray[np.bool_]:
        """(person,) who has a source; nobody has one that the cohort lacks."""
        if source not in self.arrays:
            return np.zeros(len(self.keys), dtype=bool)
        return self.present.get(source, np.ones(len(self.keys), dtype=bool))

    def with_arrays(self, **arrays: NDArray[Any] | None) -> Examples:
        """Return the same people with other arrays by source; None takes a source away."""
        kept = {name: each for name, each in self.present.items() if name not in arrays}
        return replace(self, arrays={**self.arrays, **arrays}, present=kept)

    def take(self, rows: Ints) -> Examples:
        """Return the people of some rows, in that order."""
        taken = {name: _take(getattr(self, name), rows) for name in _PER_PERSON}
        return replace(
            self,
            keys=_take(self.keys, rows),
            arrays={name: each[rows] for name, each in self.arrays.items()},
            present={name: each[rows] for name, each in self.present.items()},
            **taken,
        )


def _has_columns(values: NDArray[Any] | None) -> bool:
    return values is not None and 0 not in values.shape[1:]


_PER_PERSON = (
    "y",
    "strata",
    "covariates",
    "mean_fd_mm",
    "acquisition",
    "groups",
    "arms",
)
"""Fields of `Examples` with one row a person, besides the keys and the arrays."""


def _take(values: Any, rows: Ints) -> Any:
    if values is None:
        return None
    return tuple(values[row] for row in rows) if isinstance(values, tuple) else values[rows]

"""The participants table -> who is eligible, and what is to be predicted of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import Exclusion

__all__ = ["LabelRow", "read_labels"]

_MISSING = frozenset({"", "n/a", "N/A", "NA", "nan", "NaN"})

Row = Mapping[str, str]


@dataclass(frozen=True)
class LabelRow:
    """A participant that the table admits."""

    participant_id: str
    y: int | None
    """1 or 0; None when nothing is to be predicted (``apply``)."""
    strata: tuple[str, ...]
    """Values of the ``--stratify-by`` columns."""


def read_labels(
    participants_tsv: Path,
    options: CohortOptions,
    *,
    participants: Sequence[str] = (),
) -> tuple[list[LabelRow], list[Exclusion], list[tuple[str, int]]]:
    """Read who is eligible by the table.

    Parameters
    ----------
    participants_tsv
        BIDS participants table.
    options
        The target, its positive value, the filters and the strata.
    participants
        Labels to keep, all when empty; the others are neither eligible nor excluded.

    Returns
    -------
    list of LabelRow
        In the order of the table.
    list of Exclusion
        Participants that a filter or a missing outcome left out.
    list of (str, int)
        How many people each step left.

    Raises
    ------
    UsageError
        If a column is absent, a filter is no ``COLUMN=VALUE``, or the target's values do not say
        which is positive.
    InputError
        If a participant has two rows, nobody is left, or all have the same outcome.
    """
    conditions = [_condition(text) for text in options.where]
    needed = [*(column for column, _ in conditions), *options.stratify_by]
    rows = _read(participants_tsv, [*needed, *([options.target] if options.target else [])])
    if participants:
        asked = {_participant_id(each) for each in participants}
        rows = [row for row in rows if row["participant_id"] in asked]
    steps = [(f"in {participants_tsv.name}", len(rows))]
    exclusions: list[Exclusion] = []
    for column, value in conditions:
        rows = _filter(rows, column, value, exclusions)
        steps.append((f"{column} = {value}", len(rows)))
    if options.target is not None:
        rows = _with_outcome(rows, options.target, exclusions)
        steps.append((f"{options.target} known", len(rows)))
    if not rows:
        raise InputError(f"Nobody in {participants_tsv} is left: {_listed_steps(steps)}.")
    outcomes = _outcomes(rows, options)
    labels = [
        LabelRow(row["participant_id"], y, tuple(row[column] for column in options.stratify_by))
        for row, y in zip(rows, outcomes, strict=True)
    ]
    return labels, exclusions, steps


def _read(path: Path, needed: Iterable[str]) -> list[Row]:
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Participants table {problem}")
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:
        raise InputError(f"{path} is not a table ({error}). Repair it.") from error
    absent = [column for column in ("participant_id", *needed) if column not in table]
    if absent:
        raise UsageError(
            f"{path} has no column {', '.join(absent)}; it has {', '.join(table.columns)}."
        )
    rows: list[Row] = []
    seen: set[str] = set()
    for record in table.to_dict("records"):
        row = {str(column): str(value).strip() for column, value in record.items()}
        participant_id = _participant_id(row["participant_id"])
        if participant_id in seen:
            raise InputError(f"{path} has two rows for {participant_id}. Keep one.")
        seen.add(participant_id)
        rows.append(row | {"participant_id": participant_id})
    return rows


def _participant_id(label: str) -> str:
    return f"sub-{label.removeprefix('sub-')}"


def _condition(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not (equals and column.strip() and value.strip()):
        raise UsageError(f"--where {text!r} must be COLUMN=VALUE, for example type=patient.")
    return column.strip(), value.strip()


def _filter(rows: Sequence[Row], column: str, value: str, exclusions: list[Exclusion]) -> list[Row]:
    kept = []
    for row in rows:
        if _same(row[column], value):
            kept.append(row)
        else:
            reason = f"{column} is {row[column] or 'n/a'}, not {value}"
            exclusions.append(Exclusion(row["participant_id"], None, "table", reason))
    if rows and not kept:
        there = ", ".join(sorted({row[column] or "n/a" for row in rows}))
        raise InputError(f"--where {column}={value} selects nobody; {column} holds {there}.")
    return kept


def _with_outcome(rows: Sequence[Row], target: str, exclusions: list[Exclusion]) -> list[Row]:
    missing = [row for row in rows if row[target] in _MISSING]
    exclusions += [
        Exclusion(row["participant_id"], None, "table", f"{target} is n/a") for row in missing
    ]
    return [row for row in rows if row[target] not in _MISSING]


def _outcomes(rows: Sequence[Row], options: CohortOptions) -> list[int] | list[None]:
    if options.target is None:
        return [None for _ in rows]
    values = [row[options.target] for row in rows]
    positive = _positive_value(options.target, values, options.positive_value)
    return [int(_same(value, positive)) for value in values]


def _positive_value(target: str, values: Sequence[str], asked: str | None) -> str:
    """Find the value that counts as 1 among exactly two, and refuse to guess."""
    distinct: list[str] = []
    for value in sorted(values):
        if not any(_same(value, each) for each in distinct):
            distinct.append(value)
    counts = ", ".join(
        f"{each}: {sum(_same(each, value) for value in values)}" for each in distinct
    )
    if len(distinct) == 1:
        raise InputError(f"Everyone has the same {target} ({counts}); two values are needed.")
    if len(distinct) > 2:
        raise UsageError(f"{target} must have two values, it has {len(distinct)} ({counts}).")
    if asked is None:
        if {_number(value) for value in distinct} == {0.0, 1.0}:
            return "1"
        raise UsageError(f"{target} holds {counts}; say with --positive-value which counts as 1.")
    if not any(_same(asked, each) for each in distinct):
        raise UsageError(f"--positive-value {asked} is not a value of {target} ({counts}).")
    return asked


def _same(one: str, other: str) -> bool:
    """Compare as text, or as numbers where both are: 1 equals 1.0."""
    return one == other or (_number(one) is not None and _number(one) == _number(other))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _listed_steps(steps: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in steps)

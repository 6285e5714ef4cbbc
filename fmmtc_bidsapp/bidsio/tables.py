"""The participants table and the phenotype tables -> one row of text a participant."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.errors import InputError, UsageError

__all__ = [
    "NOT_AVAILABLE",
    "Row",
    "as_number",
    "is_missing",
    "participant_id",
    "read_rows",
    "same_value",
]

NOT_AVAILABLE = "n/a"

_MISSING = frozenset({"", NOT_AVAILABLE, "N/A", "NA", "nan", "NaN"})

_ID = "participant_id"

Row = Mapping[str, str]
"""Values of one participant by column, as the table spells them; ``participant_id`` with its
prefix."""


def read_rows(
    participants_tsv: Path,
    phenotype: Sequence[Path] = (),
    needed: Iterable[str] = (),
    optional: Iterable[str] = (),
) -> list[Row]:
    """Read the participants table, joined with the phenotype tables by participant.

    Parameters
    ----------
    participants_tsv
        BIDS participants table: its people, in its order.
    phenotype
        Tables with a column ``participant_id``, one row a participant.
    needed
        Columns that one of the tables must have.
    optional
        Columns that are used where there are.

    Returns
    -------
    list of Row
        Whom a phenotype table lacks has ``n/a`` in its columns; whom only a phenotype table has is
        left out.

    Raises
    ------
    UsageError
        If a needed column is in no table, one that is used is in two of them, a table has no
        ``participant_id``, or a phenotype table is not there.
    InputError
        If a table cannot be read, has two rows for someone or one for nobody, or a line with more
        cells than columns.
    """
    for path in phenotype:
        if not (path.is_file() or path.is_symlink()):
            raise UsageError(f"--phenotype {path}: there is no such file.")
    tables = {path: _read(path) for path in (participants_tsv, *phenotype)}
    used = list(dict.fromkeys(needed))
    _require_columns(tables, used)
    _refuse_twins(tables, [*used, *optional])
    first, *others = tables.values()
    rows: list[Row] = []
    for own_id, row in first.rows.items():
        joined: dict[str, str] = {}
        # The participants table wins where a column that is not used is in both.
        for each in (*(table.row(own_id) for table in others), row, {_ID: own_id}):
            joined |= each
        rows.append(joined)
    return rows


@dataclass(frozen=True)
class _Table:
    """A table by participant."""

    columns: Sequence[str]
    rows: Mapping[str, Row]

    def row(self, own_id: str) -> Row:
        return self.rows.get(own_id) or dict.fromkeys(self.columns, NOT_AVAILABLE)


def _read(path: Path) -> _Table:
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Table of participants {problem}")
    (_, columns), *lines = _lines(path)
    if _ID not in columns:
        raise UsageError(f"{path} has no column {_ID}; it has {', '.join(columns)}.")
    if len(set(columns)) < len(columns):
        raise InputError(f"{path} names a column twice. Give every column its own name.")
    rows: dict[str, Row] = {}
    for number, cells in lines:
        if len(cells) > len(columns):
            raise InputError(
                f"{path} has {len(cells)} cells in line {number} but {len(columns)} columns, so "
                "which value is of which column is not known. Repair it."
            )
        row = dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
        if is_missing(row[_ID]):
            raise InputError(f"{path} has no {_ID} in line {number}. Give one, or delete the line.")
        own_id = participant_id(row[_ID])
        if own_id in rows:
            raise InputError(f"{path} has two rows for {own_id}. Keep one.")
        rows[own_id] = row
    return _Table(columns, rows)


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Split a table into the cells of each line, empty ones at its end left out.

    Spreadsheets end lines, and tables, with tabs: a line of them holds nobody.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t", strict=True)
            lines = [(reader.line_num, _without_empty_end(cells)) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a table ({error}). Repair it.") from error
    filled = [(number, cells) for number, cells in lines if cells]
    if not filled:
        raise InputError(f"{path} is not a table (it is empty). Repair it.")
    return filled


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    stripped = [cell.strip() for cell in cells]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped


def _require_columns(tables: Mapping[Path, _Table], needed: Sequence[str]) -> None:
    there = {column for table in tables.values() for column in table.columns}
    absent = [column for column in needed if column not in there]
    if absent:
        listed = "; ".join(f"{path} has {', '.join(t.columns)}" for path, t in tables.items())
        raise UsageError(f"There is no column {', '.join(absent)}: {listed}.")


def _refuse_twins(tables: Mapping[Path, _Table], used: Iterable[str]) -> None:
    """Refuse a column that is used and stands in two tables: nobody knows which is meant."""
    for column in used:
        holders = [str(path) for path, table in tables.items() if column in table.columns]
        if column != _ID and len(holders) > 1:
            raise UsageError(
                f"The column {column} is in {' and in '.join(holders)}. Rename it in one, or leave "
                "one of the tables out."
            )


def participant_id(label: str) -> str:
    """Give a participant's label its prefix, ``sub-01``."""
    return f"sub-{label.removeprefix('sub-')}"


def is_missing(value: str) -> bool:
    """Say whether a cell holds nothing."""
    return value in _MISSING


def as_number(text: str) -> float | None:
    """Read a cell as a number; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def same_value(one: str, other: str) -> bool:
    """Compare as text, or as numbers where both are: 1 equals 1.0."""
    return one == other or (as_number(one) is not None and as_number(one) == as_number(other))

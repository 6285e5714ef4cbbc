"""Join the participants table and phenotype tables, one row per participant."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.tables.cells import NOT_AVAILABLE, is_missing
from fmmtc_bidsapp.bidsio.tables.person_ids import first_ids, likely_cause
from fmmtc_bidsapp.errors import InputError, UsageError

__all__ = [
    "Row",
    "participant_id",
    "read_rows",
]

_ID = "participant_id"
_SESSION = "session_id"

Row = Mapping[str, str]
"""Values of one participant by column, as the table spells them; ``participant_id`` with its
prefix."""


def read_rows(
    participants_tsv: Path,
    phenotype: Sequence[Path] = (),
    needed: Iterable[str] = (),
    optional: Iterable[str] = (),
    sessions: Sequence[str] = (),
    warn: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Read the participants table, joined with the phenotype tables by participant.

    ``needed`` columns must exist, ``optional`` ones are used if they do; ``sessions`` choose the
    rows of tables with one row per session. Participants absent from a phenotype table are ``n/a``
    there; rows of others are ignored with a warning. UsageError for absent or ambiguous columns,
    InputError for damaged tables and duplicate rows.
    """
    for path in phenotype:
        if not (path.is_file() or path.is_symlink()):
            raise UsageError(f"--phenotype {path}: file not found.")
    tables = {path: _read(path, sessions) for path in (participants_tsv, *phenotype)}
    used = list(dict.fromkeys(needed))
    _require_columns(tables, used)
    _refuse_twins(tables, [*used, *optional])
    first, *others = tables.values()
    for path in phenotype:
        _print_match(participants_tsv, first, path, tables[path], used, warn)
    for path, table in tables.items():
        _print_other_sessions(path, table, sessions, warn)
    rows: list[Row] = []
    for own_id, row in first.rows.items():
        joined: dict[str, str] = {}
        # The participants table wins where a column that is not used is in both.
        for each in (*(table.row(own_id) for table in others), row, {_ID: own_id}):
            joined |= each
        rows.append(joined)
    return rows


def _print_match(
    participants_tsv: Path,
    first: _Table,
    path: Path,
    table: _Table,
    used: Sequence[str],
    warn: Callable[[str], None],
) -> None:
    """Warn of participants in one of two tables only; refuse a needed table that matches none."""
    absent = [each for each in first.rows if each not in table.rows]
    strangers = [each for each in table.rows if each not in first.rows]
    if not (absent or strangers):
        return
    parts = [
        f"{path.name} has {len(table.rows) - len(strangers)} of the {len(first.rows)} participants "
        f"of {participants_tsv.name}"
    ]
    if absent:
        parts.append(f"its columns are n/a for {len(absent)} ({first_ids(absent)})")
    if strangers:
        parts.append(f"{len(strangers)} of its rows match no participant ({first_ids(strangers)})")
    sentence = " ".join(filter(None, ["; ".join(parts) + ".", likely_cause(strangers, absent)]))
    if len(strangers) == len(table.rows) and set(used) & set(table.columns) - {_ID}:
        raise InputError(
            f"{sentence} Its columns are needed, but no row matches. Correct its {_ID}."
        )
    warn(sentence)


def _print_other_sessions(
    path: Path, table: _Table, sessions: Sequence[str], warn: Callable[[str], None]
) -> None:
    """Warn if a table with one row per participant has other sessions than requested."""
    if _SESSION not in table.columns or not sessions:
        return
    asked = {_session({_SESSION: each}) for each in sessions}
    others = Counter(
        session for row in table.rows.values() if (session := _session(row)) not in asked
    )
    if others:
        listed = ", ".join(f"{session}: {n}" for session, n in sorted(others.items()))
        warn(
            f"{path.name} has one row per participant, of another session than requested "
            f"({listed}); its values are used."
        )


@dataclass(frozen=True)
class _Table:
    """A table by participant."""

    columns: Sequence[str]
    rows: Mapping[str, Row]

    def row(self, own_id: str) -> Row:
        return self.rows.get(own_id) or dict.fromkeys(self.columns, NOT_AVAILABLE)


def _read(path: Path, sessions: Sequence[str]) -> _Table:
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Table of participants {problem}")
    (_, columns), *lines = _lines(path)
    if _ID not in columns:
        raise UsageError(f"{path} has no column {_ID}; it has {', '.join(columns)}.")
    if len(set(columns)) < len(columns):
        raise InputError(f"{path} has two columns of one name. Make the names unique.")
    rows: dict[str, list[Row]] = {}
    for number, cells in lines:
        if len(cells) > len(columns):
            raise InputError(
                f"{path} has {len(cells)} cells in line {number} but {len(columns)} columns. "
                "Correct the line."
            )
        row = dict(zip_longest(columns, cells, fillvalue=""))
        if is_missing(row[_ID]):
            raise InputError(f"{path} has no {_ID} in line {number}. Add it, or delete the line.")
        rows.setdefault(participant_id(row[_ID]), []).append(row)
    if _SESSION in columns and any(len(own) > 1 for own in rows.values()):
        rows = _of_session(path, rows, sessions)
    for own_id, own in rows.items():
        if len(own) > 1:
            times = "two" if len(own) == 2 else str(len(own))
            raise InputError(f"{path} has {times} rows for {own_id}. Keep only one.")
    return _Table(columns, {own_id: own[0] for own_id, own in rows.items()})


def _of_session(
    path: Path, rows: Mapping[str, list[Row]], sessions: Sequence[str]
) -> dict[str, list[Row]]:
    """Return the rows of the requested session, of a table with one row per session."""
    counts = Counter(_session(row) for own in rows.values() for row in own)
    listed = ", ".join(f"{session}: {n}" for session, n in sorted(counts.items()))
    if len(sessions) != 1:
        raise UsageError(
            f"{path} has one row per session ({listed}). Choose one session with --session-id."
        )
    asked = _session({_SESSION: sessions[0]})
    if asked not in counts:
        raise UsageError(
            f"{path} has no row of {asked}; it has {listed}. Choose one with --session-id."
        )
    kept = {own_id: [row for row in own if _session(row) == asked] for own_id, own in rows.items()}
    return {own_id: own for own_id, own in kept.items() if own}


def _session(row: Row) -> str:
    label = row[_SESSION]
    return NOT_AVAILABLE if is_missing(label) else f"ses-{label.removeprefix('ses-')}"


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return line numbers and cells of a table, without empty cells and lines at the end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t", strict=True)
            lines = [(reader.line_num, _without_empty_end(cells)) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a table ({error}). Correct it.") from error
    filled = [(number, cells) for number, cells in lines if cells]
    if not filled:
        raise InputError(f"{path} is not a table (it is empty). Correct it.")
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
    """Raise UsageError if a used column is in two tables."""
    for column in used:
        holders = [str(path) for path, table in tables.items() if column in table.columns]
        if column != _ID and len(holders) > 1:
            raise UsageError(
                f"The column {column} is in {' and in '.join(holders)}. Rename it in one of them, "
                "or leave one of the tables out."
            )


def participant_id(label: str) -> str:
    """Return a participant's label with prefix, ``sub-01``."""
    return f"sub-{label.removeprefix('sub-')}"

"""Read and write TSV tables: one row of names, ``n/a`` for missing values."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.atomic import write_bytes, write_json
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.visible import visible

__all__ = [
    "MISSING",
    "MISSING_CELLS",
    "Column",
    "describe",
    "read_cells",
    "read_table",
    "tsv_bytes",
    "with_columns",
    "write_table",
    "write_tsv",
]

MISSING = "n/a"
MISSING_CELLS = frozenset({MISSING, "", "NaN", "nan", "NA"})
"""Cells without a value, of any program."""

_SEPARATORS = {".csv": ","}


@dataclass(frozen=True)
class Column:
    """The declaration of a column: what the sidecar says, and how it is read again."""

    description: str
    unit: str = ""
    kind: type = float
    """Of the values, for `with_columns`."""


def describe(columns: Mapping[str, Column]) -> dict[str, dict[str, str]]:
    """Return the sidecar keys of columns by name."""
    return {
        name: {"Description": each.description} | ({"Units": each.unit} if each.unit else {})
        for name, each in columns.items()
    }


def with_columns(table: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Return these columns of a table; one that an older version lacks is NaN, or False."""
    return pd.DataFrame(
        {
            name: table[name].astype(each.kind)
            if name in table
            else (False if each.kind is bool else np.nan)
            for name, each in columns.items()
        },
        index=table.index,
    )


def read_table(path: Path, *, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a TSV (or ``.csv``) table; the columns ``text`` are text whatever they hold.

    InputError if the file has no content or is not a table.
    """
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Table {problem}")
    try:
        return pd.read_csv(
            path,
            sep=_SEPARATORS.get(path.suffix, "\t"),
            na_values=list(MISSING_CELLS),
            keep_default_na=False,
            dtype=dict.fromkeys(text, str),
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a table ({error}). Replace it, or run the program that "
            "wrote it again."
        ) from error


def read_cells(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Read a table as its header, and its rows as lines with one cell per column.

    InputError if the file has no content, no row, a duplicate column or an incomplete row.
    """
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Table {problem}")
    try:
        first, *rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is not a text table ({error}). Write it again.") from error
    header = tuple(first.split("\t"))
    if len(set(header)) != len(header):
        raise InputError(f"{path} has two columns of one name. Make the names unique.")
    if not rows:
        raise InputError(f"{path} has a header but no rows. Write it again.")
    for number, row in enumerate(rows, start=2):
        width = row.count("\t") + 1
        if width != len(header):
            raise InputError(
                f"{path} has {width} cells in line {number} but {len(header)} columns; it is "
                "truncated or damaged. Write it again."
            )
    return header, rows


def write_tsv(path: Path, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """Write columns of equal length as a BIDS table.

    Floats read back as the same numbers; NaN, None and empty text become ``n/a``; booleans become
    ``true`` and ``false``.
    """
    write_bytes(path, tsv_bytes(columns))


def write_table(
    path: Path, table: pd.DataFrame, columns: Mapping[str, Column], about: Mapping[str, Any]
) -> None:
    """Write a table, and a sidecar of `about` and its columns, each of which must be declared."""
    own = {name: columns[name] for name in map(str, table)}
    write_tsv(path, {str(name): values.tolist() for name, values in table.items()})
    write_json(path.with_suffix(".json"), {**about, **describe(own)})


def tsv_bytes(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> bytes:
    """Return the bytes that `write_tsv` writes."""
    cells = [_cells(values) for values in columns.values()]
    lines = [
        "\t".join(map(visible, columns)),
        *("\t".join(row) for row in zip(*cells, strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _cells(values: Sequence[Any] | NDArray[Any]) -> Iterable[str]:
    if isinstance(values, np.ndarray) and values.dtype == np.float64:
        # A whole series at once: the general path is several times slower.
        return [MISSING if value != value else repr(value) for value in values.tolist()]
    return [_cell(value) for value in values]


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating):
        return MISSING if math.isnan(value) else str(value)
    return visible(" ".join(str(value).split())) or MISSING

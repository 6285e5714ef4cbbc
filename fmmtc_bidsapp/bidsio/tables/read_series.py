"""Read parcel series, matrices and confounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.names import STATISTICS, parse_name
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.bidsio.files.tsv import MISSING_CELLS, read_cells
from fmmtc_bidsapp.bidsio.tables.parcel_columns import check_names, counter, refuse_counters
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Connectome, ParcelSeries

__all__ = [
    "check_series",
    "matrix_measure",
    "read_component_masks",
    "read_confounds",
    "read_matrix_names",
    "read_parcel_names",
    "read_relmat",
    "read_run_confounds",
    "read_series",
]

Floats = NDArray[np.float64]

# No measurement is larger, and the square of a larger number would overflow.
_LARGEST = 1e100
_MEASURES = {
    **{statistic: measure for measure, statistic in STATISTICS.items()},
    "PearsonCorrelation": "correlation",
}


def read_confounds(path: Path, n_volumes: int) -> dict[str, Floats]:
    """Read a confounds table of ``n_volumes`` rows: (time,) columns by name.

    NaN for ``n/a``; infinite for text and impossible numbers, which only users of the column need
    to refuse. InputError for another number of rows.
    """
    header, rows = read_cells(path)
    if len(rows) != n_volumes:
        raise InputError(
            f"{path} has {len(rows)} rows but its image has {n_volumes} volumes. Use the image and "
            "the confounds of the same fMRIPrep run."
        )
    cells = [_measured(cell) for row in rows for cell in row.split("\t")]
    values = np.array(cells, dtype=np.float64).reshape(len(rows), -1)
    return {name: values[:, column] for column, name in enumerate(header)}


def _plain_float(cell: str) -> float:
    """Return a number; Python's float would also accept ``1_5`` for 15."""
    if "_" in cell or not cell.isascii():
        raise ValueError(f"could not convert string to float: {cell!r}")
    return float(cell)


def _measured(cell: str) -> float:
    """Return a cell's number: NaN for ``n/a``, infinite if it is no possible measurement."""
    if cell in MISSING_CELLS:
        return math.nan
    try:
        value = _plain_float(cell)
    except ValueError:
        return math.inf
    return value if abs(value) <= _LARGEST or math.isnan(value) else math.inf


def read_run_confounds(tables: Sequence[Path], n_volumes: int) -> dict[str, Floats] | None:
    """Read fMRIPrep's confounds of a run and then fMRIPost-AROMA's: (time,) columns by name.

    Components of AROMA are those of the last table. None without a table.
    """
    if not tables:
        return None
    *before, last = (read_confounds(path, n_volumes) for path in tables)
    kept = {
        name: values
        for table in before
        for name, values in table.items()
        if not name.casefold().startswith("aroma")
    }
    return kept | last


def read_component_masks(path: Path) -> dict[str, str]:
    """Read the tissue (``CSF``, ``WM``, ``combined``) of CompCor columns from the sidecar.

    Empty without sidecar (fMRIPrep before 1.4).
    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_symlink() and not sidecar.exists():
        return {}
    about = read_json(sidecar)
    masks = {name: each.get("Mask") for name, each in about.items() if isinstance(each, dict)}
    return {name: mask for name, mask in masks.items() if isinstance(mask, str)}


def read_series(path: Path, *, tr_s: float | None = None) -> ParcelSeries:
    """Read (time, parcel) series written by us, XCP-D or giga_connectome.

    A column of ``n/a`` is a missing parcel. InputError without header, for unnamed or counting
    columns, text in cells and rows of unequal length.
    """
    header, rows = read_cells(path)
    check_names(path, header)
    values = _numbers(path, rows, header)
    refuse_counters(path, header, values)
    try:
        return ParcelSeries(values, header, tr_s)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


_HEAD_ROWS = 32


def check_series(path: Path) -> None:
    """Check header and first rows of a series as `read_series` does."""
    header, *rows = _first_lines(path, 1 + _HEAD_ROWS)
    names = tuple(header.split("\t"))
    check_names(path, names)
    if any(row.count("\t") + 1 != len(names) for row in rows):
        # Reading the whole table reports the line.
        read_cells(path)
    values = _numbers(path, rows, names)
    if counter(values) is not None:
        # A smooth signal can rise for some volumes, so the whole table decides.
        read_series(path)


def _first_lines(path: Path, n: int) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = [line.rstrip("\r\n") for line in islice(stream, n)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a text table ({error}). Write it again.") from error
    if len(lines) < 2:
        raise InputError(f"{path} has a header but no rows. Write it again.")
    return lines


def read_parcel_names(path: Path) -> tuple[str, ...]:
    """Read the parcel names of a series from its header."""
    header, _ = _first_lines(path, 2)
    names = tuple(header.split("\t"))
    check_names(path, names)
    return names


def read_matrix_names(path: Path) -> tuple[str, ...]:
    """Read the parcel names of a matrix in the order of its columns."""
    header, rows = read_cells(path)
    names, has_nodes = _matrix_names(path, header, [row.partition("\t")[0] for row in rows])
    # Only the values tell whether columns may name the rows.
    return names if has_nodes else read_relmat(path).parcels


def read_relmat(path: Path) -> Connectome:
    """Read a (parcel, parcel) matrix, its rows ordered by the names of its columns.

    The first column holds the names of the rows; without it (giga_connectome) the matrix must be
    symmetric. Coefficients unless the sidecar says Fisher's z.
    """
    header, rows = read_cells(path)
    nodes = [row.partition("\t")[0] for row in rows]
    names, has_nodes = _matrix_names(path, header, nodes)
    if has_nodes:
        row_of = {name: position for position, name in enumerate(nodes)}
        bodies = [row.partition("\t")[2] for row in rows]
        matrix = _numbers(path, bodies, names)[[row_of[name] for name in names]]
    else:
        matrix = _numbers(path, rows, names)
        if not np.allclose(matrix, matrix.T, atol=_ROUNDING, equal_nan=True):
            raise InputError(
                f"{path} has no column Node and is not symmetric, so the names of its rows are "
                "unknown. Add a first column Node with them."
            )
    sidecar = path.with_suffix(".json")
    about = read_json(sidecar) if sidecar.is_file() else {}
    return Connectome(
        matrix,
        names,
        matrix_measure(path),
        fisher_z=about.get("FisherZ") is True,
    )


_ROUNDING = 1e-6
"""Largest difference of a written matrix from its transpose."""


def _matrix_names(
    path: Path, header: tuple[str, ...], nodes: Sequence[str]
) -> tuple[tuple[str, ...], bool]:
    """Return the names of a matrix's columns, and whether its first column names the rows."""
    columns = header[1:]
    if not columns:
        raise InputError(
            f"{path} has one column; a matrix needs a column with the names of its rows, and a "
            "column for each parcel. Write it again."
        )
    has_nodes = sorted(nodes) == sorted(columns)
    if not has_nodes and (len(nodes) != len(header) or header[0] == "Node"):
        raise InputError(
            f"{path}: rows and columns have different parcels: the first column, {header[0]!r}, "
            f"has {nodes[0]!r}, …, and the other columns are {columns[0]!r}, …. The first column "
            "must be Node, with the names of the other columns."
        )
    names = columns if has_nodes else header
    check_names(path, names)
    return names, has_nodes


def matrix_measure(path: Path) -> str:
    """Return the measure of a matrix by its name: ours, another program's word, or ``unknown``."""
    entities = parse_name(path).entities
    statistic = entities.get("stat", entities.get("meas", "unknown"))
    return _MEASURES.get(statistic, statistic)


def _numbers(path: Path, rows: Sequence[str], names: Sequence[str]) -> Floats:
    """Parse rows of equal width: (row, column), NaN for ``n/a`` and empty cells."""
    cells = (cell for row in rows for cell in row.split("\t"))
    try:
        flat = [math.nan if cell in MISSING_CELLS else _plain_float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(
            f"{path} has text instead of a number ({error}, in column "
            f"{_column_of_text(rows, names)!r}). Only numbers, with a decimal point, and n/a are "
            "allowed."
        ) from error
    values = np.array(flat, dtype=np.float64).reshape(len(rows), -1)
    if (np.abs(values) > _LARGEST).any():
        raise InputError(
            f"{path} has infinite values, or values beyond {_LARGEST:g}. Only finite numbers and "
            "n/a are allowed."
        )
    return values


def _column_of_text(rows: Sequence[str], names: Sequence[str]) -> str:
    """Return the first column that holds something else than numbers."""
    for row in rows:
        for name, cell in zip(names, row.split("\t"), strict=True):
            try:
                _ = cell in MISSING_CELLS or _plain_float(cell)
            except ValueError:
                return name
    return ""

"""Read parcel series, matrices and tables of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.names import STATISTICS, parse_name
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
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

# Nothing that is measured; and squares of larger numbers could not be held.
_LARGEST = 1e100
_MISSING = frozenset({"n/a", "", "NaN", "nan", "NA"})
_MEASURES = {
    **{statistic: measure for measure, statistic in STATISTICS.items()},
    "PearsonCorrelation": "correlation",
}


def read_confounds(path: Path, n_volumes: int) -> dict[str, Floats]:
    """Read a confounds table.

    Parameters
    ----------
    path
        fMRIPrep's ``_desc-confounds_timeseries.tsv``.
    n_volumes
        Volumes of the image it belongs to.

    Returns
    -------
    dict of str to (time,) array
        Columns by name, NaN where the table says ``n/a``, infinite where a cell holds text or a
        number that nobody can measure: only who uses the column needs to refuse it.

    Raises
    ------
    InputError
        If it cannot be read, or has another number of rows than the image has volumes.
    """
    header, rows = _split(path)
    if len(rows) != n_volumes:
        raise InputError(
            f"{path} has {len(rows)} rows but its image has {n_volumes} volumes; they do not "
            "belong together. Take both from the same fMRIPrep run."
        )
    cells = [_measured(cell) for row in rows for cell in row.split("\t")]
    values = np.array(cells, dtype=np.float64).reshape(len(rows), -1)
    return {name: values[:, column] for column, name in enumerate(header)}


def _plain_float(cell: str) -> float:
    """Parse a number as any program writes it: Python's own reading takes ``1_5`` for 15."""
    if "_" in cell or not cell.isascii():
        raise ValueError(f"could not convert string to float: {cell!r}")
    return float(cell)


def _measured(cell: str) -> float:
    """Parse a cell: NaN for ``n/a``, infinite for what is no number that can be measured."""
    if cell in _MISSING:
        return math.nan
    try:
        value = _plain_float(cell)
    except ValueError:
        return math.inf
    return value if abs(value) <= _LARGEST or math.isnan(value) else math.inf


def read_run_confounds(tables: Sequence[Path], n_volumes: int) -> dict[str, Floats] | None:
    """Read all confounds of a run: fMRIPrep's table, and fMRIPost-AROMA's where there is one.

    Parameters
    ----------
    tables
        fMRIPrep's table first; none of a run that has none.
    n_volumes
        Volumes of the image they belong to.

    Returns
    -------
    dict of str to (time,) array, or None
        Columns by name; AROMA's components are those of the last table, as two decompositions of
        one run do not belong in one design. None without a table.

    Raises
    ------
    InputError
        If a table cannot be read, or has another number of rows than the image has volumes.
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
    """Read which tissue each CompCor component comes from.

    Parameters
    ----------
    path
        A confounds table; its sidecar has the same name ending in ``.json``.

    Returns
    -------
    dict of str to str
        ``CSF``, ``WM`` or ``combined`` by the name of the column; empty where no sidecar says so
        (fMRIPrep before 1.4).

    Raises
    ------
    InputError
        If there is a sidecar that cannot be read.
    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_symlink() and not sidecar.exists():
        return {}
    about = read_json(sidecar)
    masks = {name: each.get("Mask") for name, each in about.items() if isinstance(each, dict)}
    return {name: mask for name, mask in masks.items() if isinstance(mask, str)}


def read_series(path: Path, *, tr_s: float | None = None) -> ParcelSeries:
    """Read parcel series written by us, XCP-D or giga_connectome.

    Parameters
    ----------
    path
        A table with a header of parcel names (or numbers) and one row per volume.
    tr_s
        Repetition time in seconds, from the sidecar.

    Returns
    -------
    ParcelSeries
        (time, parcel); a column of ``n/a`` is a missing parcel.

    Raises
    ------
    InputError
        If the table has no header, a column without a name or one that counts the volumes, text in
        its cells, or rows of unequal length.
    """
    header, rows = _split(path)
    check_names(path, header)
    values = _numbers(path, rows, header)
    refuse_counters(path, header, values)
    try:
        return ParcelSeries(values, header, tr_s)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


_HEAD_ROWS = 32


def check_series(path: Path) -> None:
    """Refuse a series that `read_series` would refuse for its columns, by its first rows.

    Parameters
    ----------
    path
        A table as for `read_series`.

    Raises
    ------
    InputError
        As `read_series`, for its header and its first rows.
    """
    header, *rows = _first_lines(path, 1 + _HEAD_ROWS)
    names = tuple(header.split("\t"))
    check_names(path, names)
    if any(row.count("\t") + 1 != len(names) for row in rows):
        # Which line it is, the whole table tells.
        _split(path)
    values = _numbers(path, rows, names)
    if counter(values) is not None:
        # A smooth signal can rise for some volumes, so the whole table decides.
        read_series(path)


def _first_lines(path: Path, n: int) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = [line.rstrip("\r\n") for line in islice(stream, n)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no table of text ({error}). Write it anew.") from error
    if len(lines) < 2:
        raise InputError(f"{path} has a header but no rows. Write it anew.")
    return lines


def read_parcel_names(path: Path) -> tuple[str, ...]:
    """Read only the header of a series: the names of its parcels, in order.

    Raises
    ------
    InputError
        If it is no text, cannot be read, or does not name every column once.
    """
    header, _ = _first_lines(path, 2)
    names = tuple(header.split("\t"))
    check_names(path, names)
    return names


def read_matrix_names(path: Path) -> tuple[str, ...]:
    """Read only the names of a matrix's parcels, in the order of its columns.

    Raises
    ------
    InputError
        As `read_relmat`, for the names.
    """
    header, rows = _split(path)
    names, has_nodes = _matrix_names(path, header, [row.partition("\t")[0] for row in rows])
    # Only the values tell whether columns may name the rows.
    return names if has_nodes else read_relmat(path).parcels


def read_relmat(path: Path) -> Connectome:
    """Read a connectivity matrix, its rows matched to its columns by name.

    Parameters
    ----------
    path
        A table whose first column holds the names of the rows; or a square one without that column
        (giga_connectome), whose rows are in the order of its columns.

    Returns
    -------
    Connectome
        (parcel, parcel) in the order of the columns; coefficients unless its sidecar says that
        they are Fisher's z.

    Raises
    ------
    InputError
        If a row has no column of its name, a cell holds text, or a table without names of rows is
        not symmetric.
    """
    header, rows = _split(path)
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
                f"{path} has no column Node, and is not symmetric, so its columns do not name its "
                "rows. Add a first column Node with the names of the rows."
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
"""By which a written matrix may differ from its mirror image."""


def _matrix_names(
    path: Path, header: tuple[str, ...], nodes: Sequence[str]
) -> tuple[tuple[str, ...], bool]:
    """Tell the names of a matrix's columns, and whether its first column names the rows."""
    columns = header[1:]
    if not columns:
        raise InputError(
            f"{path} has one column; a matrix has the names of its rows in the first, and a column "
            "for each of them. Write it anew."
        )
    has_nodes = sorted(nodes) == sorted(columns)
    if not has_nodes and (len(nodes) != len(header) or header[0] == "Node"):
        raise InputError(
            f"{path}: the rows name other parcels than the columns: the first column, "
            f"{header[0]!r}, holds {nodes[0]!r}, …, and the columns are {columns[0]!r}, …. The "
            "first column must be Node, with the names of the header."
        )
    names = columns if has_nodes else header
    check_names(path, names)
    return names, has_nodes


def matrix_measure(path: Path) -> str:
    """Name what a matrix holds, by the statistic or measure in its name.

    Returns
    -------
    str
        ``correlation`` and the like; the name's own word where it is another's, ``unknown`` where
        there is none.
    """
    entities = parse_name(path).entities
    statistic = entities.get("stat", entities.get("meas", "unknown"))
    return _MEASURES.get(statistic, statistic)


def _split(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Read a table as its header and its rows, all of the same width."""
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Table {problem}")
    try:
        first, *rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is no table of text ({error}). Write it anew.") from error
    header = tuple(first.split("\t"))
    if len(set(header)) != len(header):
        raise InputError(f"{path} names a column twice. Give every column its own name.")
    if not rows:
        raise InputError(f"{path} has a header but no rows. Write it anew.")
    for number, row in enumerate(rows, start=2):
        width = row.count("\t") + 1
        if width != len(header):
            raise InputError(
                f"{path} has {width} cells in line {number} but {len(header)} columns; it is cut "
                "or damaged. Write it anew."
            )
    return header, rows


def _numbers(path: Path, rows: Sequence[str], names: Sequence[str]) -> Floats:
    """Parse rows of equal width: (row, column), NaN where a cell is ``n/a`` or empty."""
    cells = (cell for row in rows for cell in row.split("\t"))
    try:
        flat = [math.nan if cell in _MISSING else _plain_float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(
            f"{path} holds text where a number is due ({error}, in column "
            f"{_column_of_text(rows, names)!r}). Numbers and n/a are allowed, with a point before "
            "decimals."
        ) from error
    values = np.array(flat, dtype=np.float64).reshape(len(rows), -1)
    if (np.abs(values) > _LARGEST).any():
        raise InputError(
            f"{path} holds values that are infinite, or beyond {_LARGEST:g}. Numbers and n/a are "
            "allowed."
        )
    return values


def _column_of_text(rows: Sequence[str], names: Sequence[str]) -> str:
    """Name the first column that holds something else than numbers."""
    for row in rows:
        for name, cell in zip(names, row.split("\t"), strict=True):
            try:
                _ = cell in _MISSING or _plain_float(cell)
            except ValueError:
                return name
    return ""

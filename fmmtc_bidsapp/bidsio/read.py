"""Tables of numbers written by us or by others -> arrays and records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.names import STATISTICS, parse_name
from fmmtc_bidsapp.bidsio.sidecar import read_json
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Connectome, ParcelSeries

__all__ = [
    "matrix_measure",
    "read_component_masks",
    "read_confounds",
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
        Columns by name, NaN where the table says ``n/a``.

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
    values = _numbers(path, rows)
    return {name: values[:, column] for column, name in enumerate(header)}


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
        If the table has no header, text in its cells, or rows of unequal length.
    """
    header, rows = _split(path)
    if any(_is_fraction(name) for name in header):
        raise InputError(f"{path} has no header: its first row is numbers. Add the parcel names.")
    try:
        return ParcelSeries(_numbers(path, rows), header, tr_s)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_parcel_names(path: Path) -> tuple[str, ...]:
    """Read only the header of a series: the names of its parcels, in order.

    Raises
    ------
    InputError
        If it is no text, or cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return tuple(stream.readline().rstrip("\r\n").split("\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no table of text ({error}). Write it anew.") from error


def read_relmat(path: Path) -> Connectome:
    """Read a connectivity matrix, its rows matched to its columns by name.

    Parameters
    ----------
    path
        A table whose first column holds the names of the rows.

    Returns
    -------
    Connectome
        (parcel, parcel) in the order of the columns; coefficients unless its sidecar says that
        they are Fisher's z.

    Raises
    ------
    InputError
        If a row has no column of its name, or a cell holds text.
    """
    (_, *columns), rows = _split(path)
    if not columns:
        raise InputError(
            f"{path} has one column; a matrix has the names of its rows in the first, and a column "
            "for each of them. Write it anew."
        )
    nodes, bodies = zip(*(row.split("\t", 1) for row in rows), strict=True)
    if sorted(nodes) != sorted(columns):
        raise InputError(
            f"{path}: the rows name other parcels than the columns. The first column must be "
            "Node, with the names of the header."
        )
    row_of = {name: position for position, name in enumerate(nodes)}
    matrix = _numbers(path, list(bodies))[[row_of[name] for name in columns]]
    sidecar = path.with_suffix(".json")
    about = read_json(sidecar) if sidecar.is_file() else {}
    return Connectome(
        matrix,
        tuple(columns),
        matrix_measure(path),
        fisher_z=about.get("FisherZ") is True,
    )


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


def _numbers(path: Path, rows: list[str]) -> Floats:
    """Parse rows of equal width: (row, column), NaN where a cell is ``n/a`` or empty."""
    cells = (cell for row in rows for cell in row.split("\t"))
    try:
        flat = [math.nan if cell in _MISSING else float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(
            f"{path} holds text where a number is due ({error}). Numbers and n/a are allowed."
        ) from error
    values = np.array(flat, dtype=np.float64).reshape(len(rows), -1)
    if (np.abs(values) > _LARGEST).any():
        raise InputError(
            f"{path} holds values that are infinite, or beyond {_LARGEST:g}. Numbers and n/a are "
            "allowed."
        )
    return values


def _is_fraction(name: str) -> bool:
    try:
        return not float(name).is_integer()
    except ValueError:
        return False

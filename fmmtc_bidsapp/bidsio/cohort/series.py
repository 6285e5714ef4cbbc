"""Find parcel series written by this program, XCP-D or giga_connectome."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.cohort.derivative_files import (
    Candidate,
    asked_for,
    choose,
    describe,
    describe_all,
    find_candidates,
    is_of_parcels,
    meant_desc,
    of_one_atlas_and_space,
    runs_of_their_own,
    stray_candidates,
)
from fmmtc_bidsapp.bidsio.files.names import (
    SERIES_PATTERNS,
    UNCLEANED,
    ParsedName,
    parcel_table_patterns,
)
from fmmtc_bidsapp.bidsio.files.sidecar import Listing
from fmmtc_bidsapp.bidsio.layout.query import Query, absent_participants, identity
from fmmtc_bidsapp.bidsio.tables.read_series import check_series
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Exclusion, SeriesFile

__all__ = [
    "ParcelTable",
    "find_series",
    "holds_series",
    "read_atlas_table",
    "read_parcel_table",
]


@dataclass(frozen=True, eq=False)
class ParcelTable:
    """What a dseg table says of an atlas, in its own order."""

    names: tuple[str, ...]
    networks: tuple[str, ...] | None
    coordinates_mm: NDArray[np.float64] | None
    """(parcel, 3)"""
    index: NDArray[np.int64] | None = None
    """(parcel,) values of the label image"""
    subnetworks: tuple[str, ...] | None = None
    hemispheres: tuple[str, ...] | None = None
    """(parcel,) as the table spells them"""
    path: Path | None = None
    """Of the table itself"""


def find_series(
    folder: Path,
    query: Query,
    *,
    desc: str | None,
    atlas: str | None = None,
    space: str = "auto",
) -> tuple[list[SeriesFile], list[Exclusion]]:
    """Return the parcel series of a derivative dataset sorted by path, and exclusions.

    Without ``desc`` those without ``desc-``, else the only cleaning, the uncleaned companions not
    counted. Without ``atlas``, and with space ``auto``, the only one. UsageError if the choice is
    ambiguous or absent, or a scan exists in several versions; InputError if nothing is selected.
    """
    candidates = find_candidates(folder, SERIES_PATTERNS, _is_parcel_series)
    selected, passed_over = asked_for(candidates, query)
    strays = stray_candidates(folder, SERIES_PATTERNS, query)
    if not selected:
        instead = query.instead(passed_over)
        raise InputError(
            f"{folder} holds no parcel series (asked for: {query}{instead}). Check the labels, run "
            "the participant level, or name another program's folder (--derivatives parcels=DIR)."
            + "".join(f"\n{each.reason}." for each in strays)
        )
    chosen = of_one_atlas_and_space(selected, atlas, space)
    desc = meant_desc(chosen, desc)
    cleaned, companions = _apart(chosen) if desc is None else (chosen, _apart(chosen)[1])
    chosen = choose(cleaned, "desc", desc, lambda each: each.desc)
    chosen, merged = runs_of_their_own(chosen, query.tasks)
    there = {each.run for each in chosen}
    lone = [each for each in companions if each.run not in there]
    exclusions = [
        *absent_participants(
            folder, query, (each.name.entities for each in (*chosen, *lone)), passed_over
        ),
        *(_unfinished(each, chosen[0].desc) for each in lone),
        *merged,
    ]
    series, unreadable = describe_all(chosen, folder, _describe_series)
    return series, [*exclusions, *unreadable, *strays]


def holds_series(folder: Path) -> bool:
    """Return whether a dataset has parcel series."""
    return bool(find_candidates(folder, SERIES_PATTERNS, _is_parcel_series))


def _is_parcel_series(name: ParsedName) -> bool:
    entities = name.entities
    return (
        is_of_parcels(name)
        and entities.get("stat", "mean") == "mean"
        and entities.get("desc") != "confounds"
    )


def _apart(found: list[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Separate the uncleaned companions of cleaned series."""
    if {each.desc for each in found} <= {UNCLEANED}:
        return found, []
    alone = [each.desc == UNCLEANED and not each.quality.is_file() for each in found]
    kept = [each for each, is_companion in zip(found, alone, strict=True) if not is_companion]
    return kept, [each for each, is_companion in zip(found, alone, strict=True) if is_companion]


def _unfinished(uncleaned: Candidate, desc: str) -> Exclusion:
    reason = (
        f"{uncleaned.path.name} is there, but no series with desc {desc}: the run failed or was "
        "killed. Run the participant level again"
    )
    return Exclusion(*identity(uncleaned.name.entities), "series", reason)


def _describe_series(candidate: Candidate, root: Path, listed: Listing) -> SeriesFile:
    series, has_quality, sidecar = describe(candidate, root, check_series, listed)
    if not has_quality and "AtlasDigest" in sidecar:
        raise InputError(
            f"{candidate.path.name} has no quality table, which is written last: the run failed or "
            "was killed, or this is the uncleaned series beside a cleaned one. Run the participant "
            "level again, for uncleaned series with --denoise-strategy none"
        )
    return series


_NAME_COLUMNS = ("name", "label")
_NETWORK_COLUMNS = ("network", "network_label", "network_id")
_HEMISPHERE_COLUMNS = ("hemisphere", "hemi")


def read_parcel_table(folder: Path, series: SeriesFile) -> ParcelTable | None:
    """Read the table of the atlas that a series was made with, where the folder has one.

    Parameters
    ----------
    folder
        Root of the derivative dataset that holds the series.
    series
        One of its series.

    Returns
    -------
    ParcelTable or None
        Names, and networks, coordinates, labels, subnetworks and hemispheres where the table has
        them.

    Raises
    ------
    InputError
        If the table is there but is damaged or names no parcels.
    """
    return None if series.atlas_label is None else read_atlas_table(folder, series.atlas_label)


def read_atlas_table(folder: Path, label: str) -> ParcelTable | None:
    """Read the table of an atlas by its label, as `read_parcel_table` does."""
    path = next(
        (path for glob in parcel_table_patterns(label) for path in sorted(folder.glob(glob))), None
    )
    if path is None:
        return None
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table ({error}). Repair it.") from error
    name = _first(_NAME_COLUMNS, table)
    if name is None:
        raise InputError(f"{path} has no column name. Add one with the names of the parcels.")
    xyz_mm = _coordinates_mm(table, path)
    return ParcelTable(
        names=_texts(table[name]),
        networks=_column(_NETWORK_COLUMNS, table),
        coordinates_mm=None if xyz_mm is None or np.isnan(xyz_mm).any() else xyz_mm,
        index=_index(table),
        subnetworks=_column(("subnetwork",), table),
        hemispheres=_column(_HEMISPHERE_COLUMNS, table),
        path=path,
    )


def _index(table: pd.DataFrame) -> NDArray[np.int64] | None:
    """Read the values of the label image; only drawing needs them, so damaged ones are none."""
    values = pd.to_numeric(table.get("index", pd.Series(dtype=float)), errors="coerce")
    sound = len(values) == len(table) and bool((values % 1 == 0).all() and values.is_unique)
    return values.to_numpy(np.int64) if sound else None


def _column(names: Iterable[str], table: pd.DataFrame) -> tuple[str, ...] | None:
    name = _first(names, table)
    return None if name is None else _texts(table[name])


def _coordinates_mm(table: pd.DataFrame, path: Path) -> NDArray[np.float64] | None:
    if not {"x", "y", "z"} <= set(table):
        return None
    try:
        return table[["x", "y", "z"]].to_numpy(float)
    except ValueError as error:
        raise InputError(
            f"{path} holds coordinates that are no numbers ({error}). Columns x, y and z hold mm, "
            "or n/a where they are unknown."
        ) from error


def _first(names: Iterable[str], table: pd.DataFrame) -> str | None:
    return next((name for name in names if name in table), None)


def _texts(column: Any) -> tuple[str, ...]:
    return tuple("n/a" if pd.isna(value) else str(value) for value in column)

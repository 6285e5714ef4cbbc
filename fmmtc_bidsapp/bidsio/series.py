"""Which parcel series a derivative folder holds: ours, XCP-D's or giga_connectome's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.names import (
    SERIES_PATTERNS,
    ParsedName,
    build_name,
    parcel_table_patterns,
    parse_name,
)
from fmmtc_bidsapp.bidsio.query import Query, absent_participants, identity
from fmmtc_bidsapp.bidsio.sidecar import read_sidecar, repetition_time_s
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.records import Exclusion, SeriesFile

__all__ = ["ParcelTable", "find_series", "read_parcel_table"]

NO_DESC = NO_SPACE = "(none)"


@dataclass(frozen=True, eq=False)
class ParcelTable:
    """What a dseg table says of an atlas, in its own order."""

    names: tuple[str, ...]
    networks: tuple[str, ...] | None
    coordinates_mm: NDArray[np.float64] | None
    """(parcel, 3)"""


@dataclass(frozen=True)
class _Candidate:
    path: Path
    name: ParsedName

    @property
    def atlas(self) -> str:
        # giga_connectome names the atlas in seg-.
        return self.name.entities.get("atlas") or self.name.entities["seg"]

    @property
    def space(self) -> str:
        return self.name.entities.get("space", NO_SPACE)

    @property
    def desc(self) -> str:
        return self.name.entities.get("desc", NO_DESC)


def find_series(
    folder: Path,
    *,
    participants: Sequence[str],
    sessions: Sequence[str],
    tasks: Sequence[str],
    desc: str | None,
    runs: Sequence[str] = (),
    atlas: str | None = None,
    space: str = "auto",
) -> tuple[list[SeriesFile], list[Exclusion]]:
    """List the parcel series of a derivative dataset.

    Parameters
    ----------
    folder
        Root of the derivative dataset.
    participants, sessions, tasks, runs
        Labels to keep, all when empty.
    desc
        Which cleaning's files. Without it: those without a ``desc-``, or the only one there is.
    atlas
        Which atlas's files. Without it: the only one there is.
    space
        Which space's files; ``auto`` for the only one there is.

    Returns
    -------
    list of SeriesFile
        Sorted by path.
    list of Exclusion
        Files that cannot be read, and participants asked for that have none.

    Raises
    ------
    UsageError
        If several cleanings or atlases are there, or none is the one asked for.
    InputError
        If nothing is selected.
    """
    query = Query(participants, sessions, tasks, runs)
    selected = [each for each in _candidates(folder) if query.admits(each.name.entities)]
    if not selected:
        raise InputError(f"{folder} holds no parcel series (asked for: {query}). Check the labels.")
    chosen = _choose(selected, "atlas", atlas, lambda each: each.atlas)
    wanted_space = None if space == "auto" else space
    chosen = _choose(chosen, "space", wanted_space, lambda each: each.space)
    if desc is None and any(each.desc == NO_DESC for each in chosen):
        desc = NO_DESC
    chosen = _choose(chosen, "desc", desc, lambda each: each.desc)
    _refuse_doubles(chosen)
    series, exclusions = (
        [],
        absent_participants(folder, query, (each.name.entities for each in chosen)),
    )
    for each in chosen:
        try:
            series.append(_describe(each, folder))
        except InputError as error:
            exclusions.append(Exclusion(*identity(each.name.entities), "series", str(error)))
    return series, exclusions


def _candidates(folder: Path) -> list[_Candidate]:
    paths = [path for pattern in SERIES_PATTERNS for path in folder.glob(pattern)]
    named = (_Candidate(path, parse_name(path)) for path in sorted(paths))
    return [each for each in named if _is_parcel_series(each.name)]


def _is_parcel_series(name: ParsedName) -> bool:
    entities = name.entities
    return (
        ("atlas" in entities or "seg" in entities)
        and entities.get("stat", "mean") == "mean"
        and entities.get("desc") != "confounds"
    )


def _choose(
    found: list[_Candidate], entity: str, wanted: str | None, value: Callable[[_Candidate], str]
) -> list[_Candidate]:
    values = sorted({value(each) for each in found})
    if wanted is None and len(values) > 1:
        raise UsageError(f"There are series with {entity} {', '.join(values)}: choose --{entity}.")
    if wanted is not None and wanted not in values:
        raise UsageError(f"No series has {entity} {wanted}; there is {', '.join(values)}.")
    return [each for each in found if wanted in (None, value(each))]


def _refuse_doubles(found: Iterable[_Candidate]) -> None:
    """Refuse a run in two resolutions: it would count twice."""
    grid = {"space", "res", "den", "cohort"}
    keys = Counter(
        frozenset(item for item in each.name.entities.items() if item[0] not in grid)
        for each in found
    )
    key, count = keys.most_common(1)[0]
    if count > 1:
        run = build_name(dict(key), "timeseries", ".tsv")
        raise UsageError(f"{run} is there in {count} resolutions; keep one of them in the folder.")


def _describe(candidate: _Candidate, root: Path) -> SeriesFile:
    path, entities = candidate.path, candidate.name.entities
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"series {problem}")
    sidecar = read_sidecar(path, root)
    quality = _read_quality(path, entities)
    if not quality and "AtlasDigest" in sidecar:
        raise InputError(
            f"{path.name} has no quality table, which is written last: the run failed or was "
            "killed. Run the participant level again"
        )
    return SeriesFile(
        path=path,
        entities=entities,
        tr_s=repetition_time_s(sidecar, path),
        atlas_label=candidate.atlas,
        atlas_digest=sidecar.get("AtlasDigest"),
        desc=entities.get("desc"),
        usable=bool(quality.get("usable", True)),
        reasons=str(quality.get("reasons", "n/a")),
        mean_fd_mm=_number(quality.get("mean_fd_mm", sidecar.get("MeanFramewiseDisplacement"))),
        n_volumes_retained=_whole(sidecar.get("NumberOfVolumesRetained")),
    )


def _read_quality(path: Path, entities: Any) -> dict[str, Any]:
    """Read the one row of the quality table beside a series of ours; empty without one."""
    kept = {key: value for key, value in entities.items() if key not in ("stat", "res")}
    table = path.with_name(build_name(kept, "qc", ".tsv"))
    if not table.is_file():
        return {}
    # n/a stays text here: a reason may be n/a.
    rows = pd.read_csv(table, sep="\t", keep_default_na=False).to_dict("records")
    if len(rows) != 1:
        raise InputError(f"{table} has {len(rows)} rows where 1 is due. Write it anew.")
    return {str(key): value for key, value in rows[0].items()}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


_NAME_COLUMNS = ("name", "label")
_NETWORK_COLUMNS = ("network", "network_label", "network_id")


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
        Names, and networks and coordinates where the table has them.

    Raises
    ------
    InputError
        If the table is there but names no parcels.
    """
    patterns = [] if series.atlas_label is None else parcel_table_patterns(series.atlas_label)
    path = next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)
    if path is None:
        return None
    table = pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False)
    name = _first(_NAME_COLUMNS, table)
    if name is None:
        raise InputError(f"{path} has no column name. Add one with the names of the parcels.")
    network = _first(_NETWORK_COLUMNS, table)
    xyz_mm = table[["x", "y", "z"]].to_numpy(float) if {"x", "y", "z"} <= set(table) else None
    return ParcelTable(
        names=_texts(table[name]),
        networks=None if network is None else _texts(table[network]),
        coordinates_mm=None if xyz_mm is None or np.isnan(xyz_mm).any() else xyz_mm,
    )


def _first(names: Iterable[str], table: pd.DataFrame) -> str | None:
    return next((name for name in names if name in table), None)


def _texts(column: Any) -> tuple[str, ...]:
    return tuple("n/a" if pd.isna(value) else str(value) for value in column)

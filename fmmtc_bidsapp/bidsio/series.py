"""Which parcel series a derivative folder holds: ours, XCP-D's or giga_connectome's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.names import (
    SERIES_PATTERNS,
    UNCLEANED,
    ParsedName,
    build_name,
    parcel_table_patterns,
    parse_name,
)
from fmmtc_bidsapp.bidsio.quality import read_quality
from fmmtc_bidsapp.bidsio.query import Query, absent_participants, identity
from fmmtc_bidsapp.bidsio.sidecar import read_sidecar, repetition_time_s
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.records import Exclusion, RunQuality, SeriesFile

__all__ = ["ParcelTable", "find_series", "read_atlas_table", "read_parcel_table"]

NO_DESC = NO_SPACE = "(none)"
_NOT_OF_QUALITY = frozenset({"stat", "res", "den"})


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

    @property
    def run(self) -> frozenset[tuple[str, str]]:
        """What the series of a run share under all cleanings."""
        return frozenset(item for item in self.name.entities.items() if item[0] != "desc")

    @property
    def quality(self) -> Path:
        """Where our quality table of the series is, whose name has no statistic and no grid."""
        entities = self.name.entities
        kept = {key: value for key, value in entities.items() if key not in _NOT_OF_QUALITY}
        return self.path.with_name(build_name(kept, "qc", ".tsv"))


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
        Which cleaning's files. Without it: those without a ``desc-``, or the only one there is,
        the uncleaned series beside another cleaning's not counted.
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
    cleaned, companions = _apart(chosen) if desc is None else (chosen, _apart(chosen)[1])
    chosen = _choose(cleaned, "desc", desc, lambda each: each.desc)
    _refuse_doubles(chosen)
    series = []
    there = {each.run for each in chosen}
    lone = [each for each in companions if each.run not in there]
    exclusions = [
        *absent_participants(folder, query, (each.name.entities for each in (*chosen, *lone))),
        *(_unfinished(each, chosen[0].desc) for each in lone),
    ]
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


def _apart(found: list[_Candidate]) -> tuple[list[_Candidate], list[_Candidate]]:
    """Set apart the uncleaned series that only stand beside cleaned ones."""
    if {each.desc for each in found} <= {UNCLEANED}:
        return found, []
    alone = [each.desc == UNCLEANED and not each.quality.is_file() for each in found]
    kept = [each for each, is_companion in zip(found, alone, strict=True) if not is_companion]
    return kept, [each for each, is_companion in zip(found, alone, strict=True) if is_companion]


def _unfinished(uncleaned: _Candidate, desc: str) -> Exclusion:
    reason = (
        f"{uncleaned.path.name} is there, but no series with desc {desc}: the run failed or was "
        "killed. Run the participant level again"
    )
    return Exclusion(*identity(uncleaned.name.entities), "series", reason)


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
    quality = read_quality(candidate.quality) if candidate.quality.is_file() else None
    if quality is None and "AtlasDigest" in sidecar:
        raise InputError(
            f"{path.name} has no quality table, which is written last: the run failed or was "
            "killed, or this is the uncleaned series beside a cleaned one. Run the participant "
            "level again, for uncleaned series with --denoise-strategy none"
        )
    return SeriesFile(
        path=path,
        entities=entities,
        tr_s=repetition_time_s(sidecar, path),
        atlas_label=candidate.atlas,
        atlas_digest=sidecar.get("AtlasDigest"),
        desc=entities.get("desc"),
        usable=quality is None or quality.usable,
        reasons="n/a" if quality is None else quality.reasons,
        mean_fd_mm=_mean_fd_mm(quality, sidecar),
        n_volumes_retained=_whole(sidecar.get("NumberOfVolumesRetained")),
    )


def _mean_fd_mm(quality: RunQuality | None, sidecar: Mapping[str, Any]) -> float | None:
    if quality is not None:
        return quality.mean_fd
    # giga_connectome tells it here.
    return _number(sidecar.get("MeanFramewiseDisplacement"))


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
    return None if series.atlas_label is None else read_atlas_table(folder, series.atlas_label)


def read_atlas_table(folder: Path, label: str) -> ParcelTable | None:
    """Read the table of an atlas by its label, as `read_parcel_table` does."""
    path = next(
        (path for glob in parcel_table_patterns(label) for path in sorted(folder.glob(glob))), None
    )
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

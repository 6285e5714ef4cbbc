"""Find parcel series written by this program, XCP-D or giga_connectome."""

from __future__ import annotations

from pathlib import Path

from fmmtc_bidsapp.bidsio.cohort.derivative_files import (
    Candidate,
    choose,
    default_desc,
    describe,
    describe_all,
    find_candidates,
    is_of_parcels,
    of_one_atlas_and_space,
    select_files,
    separate_runs,
    stray_candidates,
)
from fmmtc_bidsapp.bidsio.files.names import (
    SERIES_PATTERNS,
    UNCLEANED,
    ParsedName,
)
from fmmtc_bidsapp.bidsio.files.sidecar import Listing
from fmmtc_bidsapp.bidsio.layout.query import Query, absent_participants, identity
from fmmtc_bidsapp.bidsio.tables.read_series import check_series
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Exclusion, SeriesFile

__all__ = ["find_series", "holds_series"]


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
    selected, passed_over = select_files(candidates, query)
    strays = stray_candidates(folder, SERIES_PATTERNS, query)
    if not selected:
        instead = query.instead(passed_over)
        raise InputError(
            f"{folder} has no parcel series (selected: {query}{instead}). Check the labels, run "
            "the participant level, or give another program's folder (--derivatives parcels=DIR)."
            + "".join(f"\n{each.reason}." for each in strays)
        )
    chosen = of_one_atlas_and_space(selected, atlas, space)
    desc = default_desc(chosen, desc)
    cleaned, companions = _apart(chosen) if desc is None else (chosen, _apart(chosen)[1])
    chosen = choose(cleaned, "desc", desc, lambda each: each.desc)
    chosen, merged = separate_runs(chosen, query.tasks)
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
        f"{uncleaned.path.name} exists, but no series with desc {desc}: the run failed or was "
        "killed. Run the participant level again"
    )
    return Exclusion(*identity(uncleaned.name.entities), "series", reason)


def _describe_series(candidate: Candidate, root: Path, listed: Listing) -> SeriesFile:
    series, has_quality, sidecar = describe(candidate, root, check_series, listed)
    if not has_quality and "AtlasDigest" in sidecar:
        raise InputError(
            f"{candidate.path.name} has no quality table, which is written last: the run failed or "
            "was killed, or this is the uncleaned series of a cleaned run. Run the participant "
            "level again, for uncleaned series with --denoise-strategy none"
        )
    return series

"""Find parcel files in a derivative dataset by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fmmtc_bidsapp.bidsio.cohort.distinct_runs import (
    merged_runs,
    refuse_duplicate_scans,
    refuse_mixed_tasks,
)
from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.names import ParsedName, build_name, space_of
from fmmtc_bidsapp.bidsio.files.origin import origin_of
from fmmtc_bidsapp.bidsio.files.sidecar import Listing, json_names, read_sidecar, repetition_time_s
from fmmtc_bidsapp.bidsio.files.strays import excluded_strays, split_by_name
from fmmtc_bidsapp.bidsio.layout.query import Query, identity
from fmmtc_bidsapp.bidsio.tables.quality import read_quality
from fmmtc_bidsapp.bidsio.tables.xcpd_quality import XcpdQuality, read_xcpd_quality
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.records import Exclusion, RunQuality, SeriesFile

__all__ = [
    "Candidate",
    "choose",
    "default_desc",
    "describe",
    "describe_all",
    "find_candidates",
    "is_of_parcels",
    "of_one_atlas_and_space",
    "select_files",
    "separate_runs",
    "stray_candidates",
]

_STAGE = "series"
NO_DESC = NO_SPACE = "(none)"
_NOT_OF_QUALITY = frozenset({"stat", "meas", "res", "den"})


@dataclass(frozen=True)
class Candidate:
    """A file of parcel series or of connectivity."""

    path: Path
    name: ParsedName

    @property
    def atlas(self) -> str:
        """Label of the atlas."""
        # giga_connectome names the atlas in seg-.
        return self.name.entities.get("atlas") or self.name.entities["seg"]

    @property
    def space(self) -> str:
        """Space of the image, ``(none)`` if not in the name."""
        return space_of(self.name.entities) or NO_SPACE

    @property
    def desc(self) -> str:
        """Cleaning, ``(none)`` if not in the name."""
        return self.name.entities.get("desc", NO_DESC)

    @property
    def run(self) -> frozenset[tuple[str, str]]:
        """Entities that are equal for a run under all cleanings."""
        return frozenset(item for item in self.name.entities.items() if item[0] != "desc")

    @property
    def quality(self) -> Path:
        """Path of our quality table of the run, its name without statistic and grid."""
        entities = self.name.entities
        kept = {key: value for key, value in entities.items() if key not in _NOT_OF_QUALITY}
        return self.path.with_name(build_name(kept, "qc", ".tsv"))


def find_candidates(
    folder: Path, patterns: Iterable[str], wanted: Callable[[ParsedName], bool]
) -> list[Candidate]:
    """Return files by glob and parsed name, sorted by path."""
    named, _ = split_by_name(_paths(folder, patterns))
    found = (Candidate(path, name) for path, name in named.items())
    return [each for each in found if wanted(each.name)]


def stray_candidates(folder: Path, patterns: Iterable[str], query: Query) -> list[Exclusion]:
    """Return exclusions of files by glob without a valid name that may be selected."""
    _, strays = split_by_name(_paths(folder, patterns))
    return excluded_strays((each for each in strays if not query.rules_out(each.entities)), _STAGE)


def _paths(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def select_files(
    found: Iterable[Candidate], query: Query
) -> tuple[list[Candidate], list[Mapping[str, str]]]:
    """Return the selected files, and the entities of the others."""
    kept: list[Candidate] = []
    passed_over: list[Mapping[str, str]] = []
    for each in found:
        if query.admits(each.name.entities):
            kept.append(each)
        else:
            passed_over.append(each.name.entities)
    return kept, passed_over


def of_one_atlas_and_space(
    found: list[Candidate], atlas: str | None, space: str
) -> list[Candidate]:
    """Return the files of an atlas and space, or of the only ones (``auto``: any space)."""
    chosen = choose(found, "atlas", atlas, lambda each: each.atlas)
    wanted_space = None if space == "auto" else space
    return choose(chosen, "space", wanted_space, lambda each: each.space)


def default_desc(found: Iterable[Candidate], asked: str | None) -> str | None:
    """Return ``(none)`` if such files exist and no ``desc-`` was chosen; else the choice."""
    return NO_DESC if asked is None and any(each.desc == NO_DESC for each in found) else asked


def is_of_parcels(name: ParsedName) -> bool:
    """Return whether a name has an atlas."""
    return "atlas" in name.entities or "seg" in name.entities


def choose(
    found: list[Candidate], entity: str, wanted: str | None, value: Callable[[Candidate], str]
) -> list[Candidate]:
    """Return the files with one value of an entity; UsageError if it is absent or ambiguous."""
    values = sorted({value(each) for each in found})
    if wanted is None and len(values) > 1:
        raise UsageError(
            f"There are files with {entity} {', '.join(values)}. Choose one with --{entity}."
        )
    if wanted is not None and wanted not in values:
        raise UsageError(f"No file has {entity} {wanted}; existing: {', '.join(values)}.")
    return [each for each in found if wanted in (None, value(each))]


def separate_runs(
    found: Sequence[Candidate], tasks: Sequence[str]
) -> tuple[list[Candidate], list[Exclusion]]:
    """Return files that are runs, and exclusions of files over several runs.

    UsageError for several tasks without a choice, and for one scan in several versions.
    """
    entities = [each.name.entities for each in found]
    refuse_mixed_tasks(entities, tasks)
    is_merged = merged_runs(entities)
    runs = [each for each, merged in zip(found, is_merged, strict=True) if not merged]
    refuse_duplicate_scans([each.name.entities for each in runs])
    exclusions = [
        Exclusion(
            *identity(each.name.entities),
            "series",
            f"{each.path.name} combines several runs that exist too",
        )
        for each, merged in zip(found, is_merged, strict=True)
        if merged
    ]
    return runs, exclusions


def describe_all(
    found: Iterable[Candidate],
    folder: Path,
    read: Callable[[Candidate, Path, Listing], SeriesFile],
) -> tuple[list[SeriesFile], list[Exclusion]]:
    """Read the facts of each file; an unreadable file is an exclusion."""
    described, exclusions = [], []
    listed = cache(json_names)
    for each in found:
        try:
            described.append(read(each, folder, listed))
        except InputError as error:
            exclusions.append(Exclusion(*identity(each.name.entities), _STAGE, str(error)))
    return described, exclusions


def describe(
    candidate: Candidate, root: Path, check: Callable[[Path], object], listed: Listing
) -> tuple[SeriesFile, bool, Mapping[str, Any]]:
    """Return the facts of a file, whether it has a quality table, and its sidecar."""
    path, entities = candidate.path, candidate.name.entities
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"table {problem}")
    # A damaged header excludes this file, not the cohort.
    check(path)
    sidecar = read_sidecar(path, root, listed)
    quality = read_quality(candidate.quality) if candidate.quality.is_file() else None
    other = XcpdQuality() if quality is not None else read_xcpd_quality(path, entities)
    file = SeriesFile(
        path=path,
        entities=entities,
        tr_s=repetition_time_s(sidecar, path),
        atlas_label=candidate.atlas,
        atlas_digest=sidecar.get("AtlasDigest"),
        desc=entities.get("desc"),
        usable=quality is None or quality.usable,
        reasons="n/a" if quality is None else quality.reasons,
        mean_fd_mm=_first(_mean_fd_mm(quality, sidecar), other.mean_fd_mm),
        n_volumes_retained=_first(_n_retained(quality, sidecar), other.n_volumes_retained),
        origin=origin_of(sidecar),
        n_volumes=_n_scanned(quality, sidecar),
        cleaning=_cleaning(sidecar),
    )
    return file, quality is not None, sidecar


_Value = TypeVar("_Value", int, float)


def _first(one: _Value | None, other: _Value | None) -> _Value | None:
    return other if one is None else one


def _n_retained(quality: RunQuality | None, sidecar: Mapping[str, Any]) -> int | None:
    n_stated = _whole(sidecar.get("NumberOfVolumesRetained"))
    return quality.num_retained_volumes if n_stated is None and quality is not None else n_stated


def _n_scanned(quality: RunQuality | None, sidecar: Mapping[str, Any]) -> int | None:
    return _whole(sidecar.get("NumberOfVolumes")) if quality is None else quality.n_volumes


def _cleaning(sidecar: Mapping[str, Any]) -> str | None:
    """Return the cleaning of a series with its notes."""
    name, notes = sidecar.get("CleaningStrategy"), sidecar.get("CleaningNotes")
    if not isinstance(name, str):
        return None
    listed = notes if isinstance(notes, list) else []
    return "; ".join([name, *(note for note in listed if isinstance(note, str))])


def _mean_fd_mm(quality: RunQuality | None, sidecar: Mapping[str, Any]) -> float | None:
    if quality is not None:
        return quality.mean_fd
    # giga_connectome writes it here.
    return _number(sidecar.get("MeanFramewiseDisplacement"))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None

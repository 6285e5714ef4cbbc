"""Written series and the participants table -> the people of an analysis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.query import identity
from fmmtc_bidsapp.bidsio.read import read_parcel_names
from fmmtc_bidsapp.bidsio.series import find_series, read_parcel_table
from fmmtc_bidsapp.bidsio.tables import LabelRow, read_labels
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import Exclusion, Person, SeriesFile

__all__ = ["Cohort", "read_cohort"]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Who is analysed, who is not and why, and the atlas they share."""

    people: tuple[Person, ...]
    exclusions: tuple[Exclusion, ...]
    eligibility: tuple[tuple[str, int], ...]
    """How many people each step left: first by the table, then with data."""
    parcels: tuple[str, ...]
    atlas_label: str | None
    atlas_digest: str | None
    coordinates_mm: NDArray[np.float64] | None
    """(parcel, 3), None where the atlas's table is absent or gives none."""
    networks: tuple[str, ...] | None
    """(parcel,) None where the atlas's table is absent or gives none."""
    tr_s: tuple[float, ...]
    """Distinct repetition times, rising."""


def read_cohort(
    series_folder: Path,
    participants_tsv: Path | None,
    options: CohortOptions,
    *,
    participants: Sequence[str],
    sessions: Sequence[str],
    tasks: Sequence[str],
    smallest_class: int,
    runs: Sequence[str] = (),
    atlas: str | None = None,
    space: str = "auto",
) -> Cohort:
    """Join the series of a derivative dataset with the participants table.

    Parameters
    ----------
    series_folder
        Root of the dataset with the parcel series.
    participants_tsv
        The table with the outcome; None when nothing of it is needed (``apply``).
    options
        Target, filters, cleaning. Without a target every ``y`` is None.
    participants, sessions, tasks, runs
        Labels to keep, all when empty.
    atlas, space
        Of the series to read, where there are several.
    smallest_class
        Fewest people each outcome must have; not looked at without a target.

    Returns
    -------
    Cohort
        People in the order of their key; the runs of a person in a session are together.

    Raises
    ------
    UsageError
        If someone has two sessions, or the table or series need a choice.
    InputError
        If nobody is left, a class is too small, or atlases are mixed.
    """
    found, lost = find_series(
        series_folder,
        participants=participants,
        sessions=sessions,
        tasks=tasks,
        runs=runs,
        desc=options.desc,
    )
    labels, by_table, table_steps = _labels(participants_tsv, options, participants, found)
    runs_of, unmatched = _match(found, labels)
    _refuse_two_sessions(runs_of)
    kept, unusable = _usable(runs_of, keep_all=options.keep_unusable)
    people = _people(kept, labels)
    with_series = len({participant_id for participant_id, _ in runs_of})
    steps = [*table_steps, ("with series", with_series), ("with usable series", len(people))]
    _require_people(people, steps, options.target, smallest_class)
    scans = [scan for person in people for scan in person.runs]
    parcels = _shared_parcels(scans)
    networks, coordinates_mm = _parcel_facts(series_folder, scans[0], parcels)
    return Cohort(
        people=tuple(people),
        exclusions=(*_first_reasons(by_table, lost, unmatched), *unusable),
        eligibility=tuple(steps),
        parcels=parcels,
        atlas_label=scans[0].atlas_label,
        atlas_digest=scans[0].atlas_digest,
        coordinates_mm=coordinates_mm,
        networks=networks,
        tr_s=tuple(sorted({scan.tr_s for scan in scans if scan.tr_s is not None})),
    )


_Key = tuple[str, str | None]
"""Participant and session."""


def _labels(
    participants_tsv: Path | None,
    options: CohortOptions,
    participants: Sequence[str],
    found: Iterable[SeriesFile],
) -> tuple[list[LabelRow], list[Exclusion], list[tuple[str, int]]]:
    """Take the table's people or, without a table, everyone who has a series."""
    if participants_tsv is not None:
        return read_labels(participants_tsv, options, participants=participants)
    ids = sorted({identity(series.entities)[0] for series in found})
    return [LabelRow(each, None, ()) for each in ids], [], []


def _match(
    found: Iterable[SeriesFile], labels: Iterable[LabelRow]
) -> tuple[dict[_Key, list[SeriesFile]], list[Exclusion]]:
    """Gather the series of eligible people, and note who has only one of the two."""
    eligible = {label.participant_id for label in labels}
    runs_of: defaultdict[_Key, list[SeriesFile]] = defaultdict(list)
    unmatched: dict[str, Exclusion] = {}
    for series in found:
        participant_id, session_id = identity(series.entities)
        if participant_id in eligible:
            runs_of[participant_id, session_id].append(series)
        else:
            unmatched[participant_id] = Exclusion(
                participant_id, None, "table", "not in the participants table"
            )
    with_series = {participant_id for participant_id, _ in runs_of}
    for participant_id in sorted(eligible - with_series):
        unmatched[participant_id] = Exclusion(participant_id, None, "series", "no series")
    return dict(runs_of), list(unmatched.values())


def _first_reasons(*stages: Sequence[Exclusion]) -> list[Exclusion]:
    """Keep of each participant what the earliest stage says."""
    told: set[str] = set()
    kept: list[Exclusion] = []
    for stage in stages:
        new = [each for each in stage if each.participant_id not in told]
        kept += new
        told |= {each.participant_id for each in new}
    return kept


def _refuse_two_sessions(runs_of: Iterable[_Key]) -> None:
    sessions: defaultdict[str, list[str]] = defaultdict(list)
    for participant_id, session_id in runs_of:
        sessions[participant_id].append(session_id or "none")
    for participant_id, there in sessions.items():
        if len(there) > 1:
            raise UsageError(
                f"{participant_id} has sessions {', '.join(sorted(there))}; a person enters once. "
                "Choose one with --session-id."
            )


def _usable(
    runs_of: Mapping[_Key, list[SeriesFile]], *, keep_all: bool
) -> tuple[dict[_Key, list[SeriesFile]], list[Exclusion]]:
    kept, exclusions = {}, []
    for key, scans in runs_of.items():
        usable = [scan for scan in scans if scan.usable or keep_all]
        exclusions += [
            Exclusion(*key, "quality", f"{scan.path.name}: {scan.reasons}")
            for scan in scans
            if scan not in usable
        ]
        if usable:
            kept[key] = usable
    return kept, exclusions


def _people(runs_of: Mapping[_Key, list[SeriesFile]], labels: Iterable[LabelRow]) -> list[Person]:
    label_of = {label.participant_id: label for label in labels}
    people = [
        Person(
            participant_id,
            session_id,
            label_of[participant_id].y,
            tuple(scans),
            label_of[participant_id].strata,
        )
        for (participant_id, session_id), scans in runs_of.items()
    ]
    return sorted(people, key=lambda person: person.key)


def _require_people(
    people: Sequence[Person],
    steps: Iterable[tuple[str, int]],
    target: str | None,
    smallest_class: int,
) -> None:
    counts = Counter(person.y for person in people)
    trail = ", ".join(f"{name}: {count}" for name, count in steps)
    if not people:
        raise InputError(f"Nobody is left ({trail}).")
    if target is not None and min(counts[0], counts[1]) < smallest_class:
        raise InputError(
            f"{target} leaves {counts[1]} positive and {counts[0]} negative people ({trail}); "
            f"each needs {smallest_class} or more. Use fewer folds or more people."
        )


def _shared_parcels(scans: Sequence[SeriesFile]) -> tuple[str, ...]:
    first = scans[0]
    parcels = read_parcel_names(first.path)
    for scan in scans[1:]:
        if scan.atlas_digest != first.atlas_digest or read_parcel_names(scan.path) != parcels:
            raise InputError(
                f"{first.path} and {scan.path} were made with different atlases or parcel lists. "
                "Make all series of a cohort with one atlas."
            )
    return parcels


def _parcel_facts(
    folder: Path, series: SeriesFile, parcels: Sequence[str]
) -> tuple[tuple[str, ...] | None, NDArray[np.float64] | None]:
    """Take networks and coordinates from the atlas's table, matched by parcel name."""
    table = read_parcel_table(folder, series)
    if table is None or not set(parcels) <= set(table.names):
        return None, None
    order = [table.names.index(name) for name in parcels]
    networks = None if table.networks is None else tuple(table.networks[row] for row in order)
    xyz_mm = None if table.coordinates_mm is None else table.coordinates_mm[order]
    return networks, xyz_mm

"""Join parcel series and the participants table to the cohort of an analysis."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.atlases.parcel_table import read_atlas_table
from fmmtc_bidsapp.bidsio.cohort.eligibility import (
    Divisions,
    Eligible,
    LabelRow,
    Tell,
    Warn,
    listed_steps,
)
from fmmtc_bidsapp.bidsio.cohort.matrices import find_matrices, holds_matrices
from fmmtc_bidsapp.bidsio.cohort.series import find_series, holds_series
from fmmtc_bidsapp.bidsio.files.origin import join_origins, read_origin
from fmmtc_bidsapp.bidsio.layout.query import Query, identity
from fmmtc_bidsapp.bidsio.tables.person_ids import unmatched
from fmmtc_bidsapp.bidsio.tables.read_series import read_matrix_names, read_parcel_names
from fmmtc_bidsapp.bidsio.tables.value_labels import Meanings
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import (
    MOST_PARCELS,
    EligibilityStep,
    Exclusion,
    ModalityValues,
    Origin,
    Person,
    SeriesFile,
)

__all__ = ["Cohort", "counted_reasons", "read_cohort"]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Participants, exclusions with reasons, and the atlas of the files."""

    people: tuple[Person, ...]
    exclusions: tuple[Exclusion, ...]
    eligibility: tuple[EligibilityStep, ...]
    """How many people each step left: first by the tables, then with data."""
    parcels: tuple[str, ...]
    atlas_label: str | None
    atlas_digest: str | None
    coordinates_mm: NDArray[np.float64] | None
    """(parcel, 3), None unless the atlas's table has those of all parcels."""
    tr_s: tuple[float, ...]
    """Distinct repetition times, rising."""
    divisions: Divisions = field(default_factory=Divisions)
    covariate_names: tuple[str, ...] = ()
    """Of the covariates of its people."""
    origin: Origin = field(default_factory=Origin)
    """Of the images behind its scans."""
    meanings: Mapping[str, Meanings] = field(default_factory=dict)
    """Of the covariates' values, where the JSON beside a table describes them."""
    modalities: Mapping[str, ModalityValues] = field(default_factory=dict)
    """By name, those of other packages that models need."""
    packages: tuple[str, ...] = ()
    """Other packages that models need, as pip spells them: ``lab-fmri==1.2``."""

    @property
    def has_series(self) -> bool:
        """Whether its runs are series; else they are matrices."""
        return not any(run.is_matrix for person in self.people for run in person.runs)

    def count(self, step: str, people: Iterable[Person]) -> EligibilityStep:
        """Count the participants after a further step."""
        return self.divisions.count(step, [person.participant_id for person in people])


def read_cohort(
    folder: Path,
    eligible: Eligible,
    options: CohortOptions,
    query: Query,
    *,
    smallest_class: int,
    atlas: str | None = None,
    space: str = "auto",
    bids_dir: Path | None = None,
    tell: Tell = lambda steps: None,
    warn: Warn = lambda line: None,
) -> Cohort:
    """Join the series (or else matrices) of a dataset with the eligible participants.

    ``smallest_class`` is the fewest participants of each outcome, 0 for any. ``tell`` gets the
    steps, also before an error; ``warn`` gets differences between table and files. UsageError for
    two sessions of a participant or an ambiguous choice of files; InputError if nobody is left, a
    class is too small, or atlases differ.
    """
    found = _find(folder, query, desc=options.desc, atlas=atlas, space=space)
    labels = _labels(eligible, found.files)
    runs_of, only_one = _match(found.files, labels)
    kept, unusable = _usable(runs_of, keep_all=options.keep_unusable)
    people = _people(kept, labels)
    steps = [
        eligible.divisions.count(f"{usable} {found.kind}", {who for who, _ in keys})
        for usable, keys in (("with", runs_of), ("with usable", kept))
    ]
    tell(steps)
    warning = _unmatched_ids(eligible, found.files)
    if warning and kept:
        warn(warning)
    _refuse_two_sessions(runs_of)
    steps = [*eligible.steps, *steps]
    exclusions = (*_first_reasons(eligible.exclusions, found.lost, only_one), *unusable)
    why = " ".join(filter(None, [found.problem, warning, counted_reasons(exclusions)]))
    _require_people(people, steps, options.target, smallest_class, why)
    scans = [scan for person in people for scan in person.runs]
    parcels = _shared_parcels(scans)
    table = read_atlas_table(folder, scans[0].atlas_label)
    return Cohort(
        people=tuple(people),
        exclusions=exclusions,
        eligibility=tuple(steps),
        parcels=parcels,
        atlas_label=scans[0].atlas_label,
        atlas_digest=scans[0].atlas_digest,
        coordinates_mm=None if table is None else table.of(parcels).complete_coordinates_mm,
        tr_s=tuple(sorted({scan.tr_s for scan in scans if scan.tr_s is not None})),
        divisions=eligible.divisions,
        covariate_names=options.covariates,
        origin=_origin(folder, bids_dir, scans),
        meanings=eligible.meanings,
    )


@dataclass(frozen=True)
class _Found:
    """The files of a dataset."""

    kind: str
    """``series`` or ``matrices``."""
    files: Sequence[SeriesFile]
    lost: Sequence[Exclusion]
    problem: str = ""
    """Why there is none."""


def _find(folder: Path, query: Query, *, desc: str | None, atlas: str | None, space: str) -> _Found:
    """Find the series of a dataset or, if it has none, its matrices."""
    if not holds_series(folder) and holds_matrices(folder):
        kind, find = "matrices", find_matrices
    else:
        kind, find = "series", find_series
    try:
        return _Found(kind, *find(folder, query, desc=desc, atlas=atlas, space=space))
    except InputError as error:
        return _Found(kind, [], [], str(error))


_Key = tuple[str, str | None]
"""Participant and session."""


def _labels(eligible: Eligible, found: Iterable[SeriesFile]) -> dict[str, LabelRow]:
    """Return the tables' row by participant, also of participants that they need not name."""
    labels = {row.participant_id: row for row in eligible.rows}
    if eligible.others is None:
        return labels
    ids = sorted({identity(each.entities)[0] for each in found})
    return {each: labels.get(each, replace(eligible.others, participant_id=each)) for each in ids}


def _match(
    found: Iterable[SeriesFile], eligible: Collection[str]
) -> tuple[dict[_Key, list[SeriesFile]], list[Exclusion]]:
    """Group the series of eligible participants; exclude those with series or row only."""
    runs_of: defaultdict[_Key, list[SeriesFile]] = defaultdict(list)
    only_one: dict[str, Exclusion] = {}
    for series in found:
        participant_id, session_id = identity(series.entities)
        if participant_id in eligible:
            runs_of[participant_id, session_id].append(series)
        else:
            only_one[participant_id] = Exclusion(
                participant_id, None, "table", "not in the participants table"
            )
    with_series = {participant_id for participant_id, _ in runs_of}
    for participant_id in sorted(set(eligible) - with_series):
        only_one[participant_id] = Exclusion(participant_id, None, "series", "no series")
    return dict(runs_of), list(only_one.values())


def _unmatched_ids(eligible: Eligible, found: Sequence[SeriesFile]) -> str:
    """Describe ids of table and files that do not match."""
    if eligible.others is not None:
        return ""
    in_table = {each.participant_id for each in eligible.rows}
    in_table |= {each.participant_id for each in eligible.exclusions}
    return unmatched(in_table, {identity(each.entities)[0] for each in found})


def counted_reasons(exclusions: Sequence[Exclusion]) -> str:
    """Describe exclusions by reason with the first participant of each; empty without any."""
    counts = Counter(map(_kind, exclusions))
    first = {_kind(each): each for each in reversed(exclusions)}
    listed = "; ".join(
        f"{n} ({first[kind].participant_id}{', …' if n > 1 else ''}): {first[kind].reason}"
        for kind, n in counts.most_common(_SHOWN)
    )
    more = f"; and {len(counts) - _SHOWN} other reasons" if len(counts) > _SHOWN else ""
    return f"Left out: {listed}{more}." if listed else ""


_SHOWN = 6
_OF_ONE_FILE = re.compile(r"\S*sub-\S+|\d+(\.\d+)?")


def _kind(exclusion: Exclusion) -> tuple[str, str]:
    """Return stage and reason of an exclusion without file names and numbers."""
    return exclusion.stage, _OF_ONE_FILE.sub("", exclusion.reason)


def _first_reasons(*stages: Sequence[Exclusion]) -> list[Exclusion]:
    """Return the exclusions of each participant by the earliest stage."""
    warning: set[str] = set()
    kept: list[Exclusion] = []
    for stage in stages:
        new = [each for each in stage if each.participant_id not in warning]
        kept += new
        warning |= {each.participant_id for each in new}
    return kept


def _refuse_two_sessions(runs_of: Iterable[_Key]) -> None:
    sessions: defaultdict[str, list[str]] = defaultdict(list)
    for participant_id, session_id in runs_of:
        sessions[participant_id].append(session_id or "none")
    for participant_id, there in sessions.items():
        if len(there) > 1:
            raise UsageError(
                f"{participant_id} has sessions {', '.join(sorted(there))}; one session per "
                "participant is analysed. Choose one with --session-id."
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
            if not (scan.usable or keep_all)
        ]
        if usable:
            kept[key] = usable
    return kept, exclusions


def _people(
    runs_of: Mapping[_Key, list[SeriesFile]], labels: Mapping[str, LabelRow]
) -> list[Person]:
    people = []
    for (participant_id, session_id), scans in runs_of.items():
        label = labels[participant_id]
        person = Person(
            participant_id,
            session_id,
            label.y,
            tuple(scans),
            label.strata,
            label.group,
            label.arm,
            label.covariates,
        )
        people.append(person)
    return sorted(people, key=lambda person: person.key)


def _require_people(
    people: Sequence[Person],
    steps: Sequence[EligibilityStep],
    target: str | None,
    smallest_class: int,
    why: str,
) -> None:
    counts = Counter(person.y for person in people)
    trail = listed_steps(steps)
    if not people:
        raise InputError(f"No participant is left ({trail}). {why}".rstrip())
    if target is not None and min(counts[0], counts[1]) < smallest_class:
        raise InputError(
            f"{target}: {counts[1]} positive and {counts[0]} negative participants are left "
            f"({trail}); each outcome needs {smallest_class} or more. Use fewer folds or more "
            f"participants. {why}".rstrip()
        )


def _origin(folder: Path, bids_dir: Path | None, scans: Sequence[SeriesFile]) -> Origin:
    """Combine the provenance of sidecars; files without it have that of their dataset."""
    of_dataset = read_origin(folder, bids_dir)
    return join_origins(scan.origin or of_dataset for scan in scans)


def _parcels_of(scan: SeriesFile) -> tuple[str, ...]:
    return (read_matrix_names if scan.is_matrix else read_parcel_names)(scan.path)


def _shared_parcels(scans: Sequence[SeriesFile]) -> tuple[str, ...]:
    """Return the first file's parcels; InputError if another differs (matrices: by name)."""
    first = scans[0]
    parcels = _parcels_of(first)
    if len(parcels) > MOST_PARCELS:
        raise InputError(
            f"{first.path} has {len(parcels)} columns; at most {MOST_PARCELS} parcels are "
            "possible, as every pair is correlated. Use an atlas of fewer parcels."
        )
    in_order = sorted if first.is_matrix else tuple
    for scan in scans[1:]:
        same = in_order(_parcels_of(scan)) == in_order(parcels)
        if scan.atlas_digest != first.atlas_digest or not same:
            raise InputError(
                f"{first.path} and {scan.path} have different atlases or parcels. Use one atlas "
                "for all files of a cohort."
            )
    return parcels

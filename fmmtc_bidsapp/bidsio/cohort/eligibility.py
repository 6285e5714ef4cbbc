"""Apply the eligibility criteria of a study, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fmmtc_bidsapp.bidsio.cohort.outcome import (
    OutcomeCoding,
    outcome_coding,
    outcome_coding_of_training,
)
from fmmtc_bidsapp.bidsio.tables.cells import NOT_AVAILABLE, is_missing, lookalikes, spelled
from fmmtc_bidsapp.bidsio.tables.person_ids import first_ids, likely_cause
from fmmtc_bidsapp.bidsio.tables.tables import Row, participant_id, read_rows
from fmmtc_bidsapp.bidsio.tables.value_labels import Meanings, read_meanings
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import ArmCount, EligibilityStep, Exclusion

__all__ = [
    "Divisions",
    "Eligible",
    "LabelRow",
    "eligibility_columns",
    "listed_steps",
    "read_eligible",
]

Tell = Callable[[Sequence[EligibilityStep]], None]
"""What is done with the steps once they are known, also when an error follows."""

Warn = Callable[[str], None]
"""What is done with a line that a reader must know, also when an error follows."""


@dataclass(frozen=True)
class LabelRow:
    """A participant that the tables admit."""

    participant_id: str
    y: int | None = None
    """1 or 0; None where the outcome is unknown, or none was asked for (``apply``)."""
    strata: tuple[str, ...] = ()
    """Values of the ``--stratify-by`` columns."""
    group: str | None = None
    """Value of the ``--group-by`` column; None where none was asked for."""
    arm: str | None = None
    """Value of the ``--subset-by`` column; None where none was asked for."""
    covariates: tuple[str, ...] = ()
    """Values of the ``--covariates`` columns."""


@dataclass(frozen=True, eq=False)
class Divisions:
    """Outcome and arm of all participants of the tables."""

    y: Mapping[str, int | None] | None = None
    """None where no outcome was asked for."""
    arm: Mapping[str, str] | None = None
    """None where no arms were asked for."""
    coding: OutcomeCoding | None = None
    """Which value of the target is which outcome; None where no outcome was asked for."""

    def count(self, step: str, people: Collection[str]) -> EligibilityStep:
        """Count participants by outcome and arm."""
        arms = self.arm or {}
        members: defaultdict[str, list[str]] = defaultdict(list)
        for each in people:
            members[arms.get(each, NOT_AVAILABLE)].append(each)
        in_arms = tuple(
            ArmCount(arm, len(members[arm]), *self._outcomes(members[arm])) for arm in self._arms
        )
        return EligibilityStep(step, len(people), *self._outcomes(people), in_arms)

    @cached_property
    def _arms(self) -> list[str]:
        return sorted(set((self.arm or {}).values()), key=_known_first)

    def _outcomes(self, people: Collection[str]) -> tuple[int | None, int | None]:
        if self.y is None:
            return None, None
        outcomes = [self.y.get(each) for each in people]
        return outcomes.count(1), outcomes.count(0)


def _known_first(arm: str) -> tuple[bool, str]:
    return arm == NOT_AVAILABLE, arm


@dataclass(frozen=True, eq=False)
class Eligible:
    """Participants that the tables admit."""

    rows: tuple[LabelRow, ...] = ()
    """In the order of the participants table."""
    exclusions: tuple[Exclusion, ...] = ()
    """Whom a filter or a missing value left out."""
    steps: tuple[EligibilityStep, ...] = ()
    divisions: Divisions = field(default_factory=Divisions)
    others: LabelRow | None = None
    """What is known of people that no table names; None where they are not admitted."""
    meanings: Mapping[str, Meanings] = field(default_factory=dict)
    """Of the covariates' values, where the JSON beside a table describes them."""


def read_eligible(
    participants_tsv: Path,
    options: CohortOptions,
    *,
    phenotype: Sequence[Path] = (),
    subset_by: str | None = None,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    trained: OutcomeCoding | None = None,
    tell: Tell = lambda steps: None,
    warn: Warn = lambda line: None,
) -> Eligible:
    """Read the eligible participants from the tables.

    Not selected ``participants`` are neither eligible nor excluded. ``sessions`` choose rows of
    tables with one row per session. With ``trained`` (``apply``) participants without outcome are
    kept, one class is enough, and without filter those absent from the table are admitted, so that
    there are no steps. ``tell`` gets the steps, also before an error; ``warn`` gets notes on
    values. UsageError for absent or ambiguous columns, filters and outcomes; InputError for
    duplicate rows, or if nobody or one outcome is left.
    """
    outcome_optional = trained is not None
    conditions = [_condition(text) for text in options.where]
    target, group_by = options.target, options.group_by
    named = [condition.column for condition in conditions]
    named += [*options.stratify_by, *options.covariates, *filter(None, (group_by, subset_by))]
    outcome = [target] if target else []
    everyone = read_rows(
        participants_tsv,
        phenotype,
        named if outcome_optional else [*named, *outcome],
        outcome if outcome_optional else [],
        sessions,
        warn,
    )
    used = list(dict.fromkeys([*named, *outcome]))
    everyone = _in_one_spelling(everyone, used, warn)
    rows, strangers = _asked_for(everyone, participants, participants_tsv.name)
    if strangers and not rows and not outcome_optional:
        asked = [each.participant_id for each in strangers]
        sentence = f"--participant-label: {participants_tsv} has no row for {first_ids(asked)}."
        cause = likely_cause(asked, [_id(row) for row in everyone])
        raise InputError(" ".join(filter(None, [sentence, cause])))
    known = [each for each in (None if outcome_optional else target, group_by) if each]
    requirements = [*conditions, *(_Requirement(column) for column in known)]
    kept, exclusions, trail = _narrow(rows, requirements, participants_tsv.name)
    for column in dict.fromkeys([*options.covariates, *options.stratify_by]):
        unknown_n = sum(is_missing(row[column]) for row in kept)
        if unknown_n:
            warn(f"{column} is n/a for {unknown_n} of {len(kept)} participants.")
    divisions = Divisions(arm=_arms(rows, subset_by))
    meanings = read_meanings((participants_tsv, *phenotype), [*outcome, *options.covariates])
    try:
        if not outcome_optional:
            _require_somebody(rows, requirements, trail, participants_tsv)
        coding = _coding(kept, everyone, options, trained, meanings.pop(target or "", {}))
        y = None if coding is None else {_id(row): coding.of(row) for row in rows}
        divisions = Divisions(y, divisions.arm, coding)
    finally:
        steps = tuple(divisions.count(*step) for step in trail)
        tell(steps)
    takes_others = outcome_optional and not options.where
    unknown = dict.fromkeys(named, NOT_AVAILABLE)
    return Eligible(
        tuple(_label(row, row["participant_id"], options, subset_by, divisions) for row in kept),
        (*(() if takes_others else strangers), *exclusions),
        () if takes_others else steps,
        divisions,
        _label(unknown, "", options, subset_by, Divisions()) if takes_others else None,
        meanings,
    )


def _in_one_spelling(rows: Sequence[Row], columns: Sequence[str], warn: Warn) -> list[Row]:
    """Return rows with one spelling per value, and warn of similar values."""
    there = [column for column in columns if rows and column in rows[0]]
    for column in there:
        for line in lookalikes(column, (row[column] for row in rows)):
            warn(line)
    return [{**row, **{column: spelled(row[column]) for column in there}} for row in rows]


def _coding(
    kept: Sequence[Row],
    everyone: Sequence[Row],
    options: CohortOptions,
    trained: OutcomeCoding | None,
    meanings: Meanings,
) -> OutcomeCoding | None:
    """Return the outcome's two values, of this table or of the training."""
    if trained is None:
        return outcome_coding(kept, options, meanings)
    ids = {_id(row) for row in kept}
    elsewhere = [row for row in everyone if _id(row) not in ids]
    return outcome_coding_of_training(kept, elsewhere, options, trained, meanings)


def _asked_for(
    rows: Sequence[Row], participants: Sequence[str], table: str
) -> tuple[Sequence[Row], list[Exclusion]]:
    """Return the rows of the selected participants, and exclusions of those without row."""
    if not participants:
        return rows, []
    asked = dict.fromkeys(participant_id(each) for each in participants)
    there = set(map(_id, rows))
    strangers = [each for each in asked if each not in there]
    return (
        [row for row in rows if _id(row) in asked],
        [Exclusion(each, None, "table", f"not in {table}") for each in strangers],
    )


def _id(row: Row) -> str:
    return row["participant_id"]


def _arms(rows: Sequence[Row], column: str | None) -> dict[str, str] | None:
    return None if column is None else {_id(row): row[column] for row in rows}


def _label(
    row: Row, own_id: str, options: CohortOptions, subset_by: str | None, divisions: Divisions
) -> LabelRow:
    return LabelRow(
        own_id,
        None if divisions.y is None else divisions.y[own_id],
        tuple(row[column] for column in options.stratify_by),
        None if options.group_by is None else row[options.group_by],
        None if subset_by is None else row[subset_by],
        tuple(row[column] for column in options.covariates),
    )


@dataclass(frozen=True)
class _Requirement:
    """A condition on one column."""

    column: str
    value: str | None = None
    """None for anything but ``n/a``."""

    @property
    def title(self) -> str:
        return f"{self.column} known" if self.value is None else f"{self.column} = {self.value}"

    def met(self, row: Row) -> bool:
        found = row[self.column]
        return not is_missing(found) if self.value is None else found == self.value

    def reason(self, row: Row) -> str:
        found = f"{self.column} is {row[self.column]}"
        return found if self.value is None else f"{found}, not {self.value}"


def _condition(text: str) -> _Requirement:
    column, equals, value = text.partition("=")
    if not (equals and column.strip() and value.strip()):
        raise UsageError(f"--where {text!r} must be COLUMN=VALUE, for example type=patient.")
    return _Requirement(column.strip(), spelled(value))


_SHOWN = 20

_Trail = list[tuple[str, list[str]]]
"""Name of a step, and the participants it left."""


def _narrow(
    rows: Sequence[Row], requirements: Sequence[_Requirement], table: str
) -> tuple[Sequence[Row], list[Exclusion], _Trail]:
    """Apply the requirements one after the other."""
    exclusions: list[Exclusion] = []
    trail = [(f"in {table}", [_id(row) for row in rows])]
    for each in requirements:
        lost = [row for row in rows if not each.met(row)]
        exclusions += [Exclusion(_id(row), None, "table", each.reason(row)) for row in lost]
        rows = [row for row in rows if each.met(row)]
        trail.append((each.title, [_id(row) for row in rows]))
    return rows, exclusions, trail


def _require_somebody(
    rows: Sequence[Row], requirements: Sequence[_Requirement], trail: _Trail, table: Path
) -> None:
    """Raise InputError if nobody is left, with the values of a filter that matches nobody."""
    for each, (_, before) in zip(requirements, trail, strict=False):
        left = set(before)
        own = [row for row in rows if _id(row) in left]
        if each.value is not None and own and not any(each.met(row) for row in own):
            held = sorted({row[each.column] for row in own})
            there = ", ".join(held[:_SHOWN]) + (", …" if len(held) > _SHOWN else "")
            raise InputError(
                f"--where {each.column}={each.value} matches no participant; {each.column} has "
                f"{there}."
            )
    if not trail[-1][1]:
        counts = ", ".join(f"{name}: {len(people)}" for name, people in trail)
        raise InputError(f"No participant of {table} is left: {counts}.")


def listed_steps(steps: Sequence[EligibilityStep]) -> str:
    """Return the steps in one line, for a message."""
    return ", ".join(f"{each.step}: {each.n}" for each in steps)


def eligibility_columns(steps: Sequence[EligibilityStep]) -> dict[str, list[object]]:
    """Return the columns of a table of steps, with three columns per arm.

    ``step``, ``n``, ``n_positive``, ``n_negative``; then ``n_arm-<arm>``, ``n_positive_arm-<arm>``
    and ``n_negative_arm-<arm>``.
    """
    columns: dict[str, list[object]] = {
        "step": [each.step for each in steps],
        "n": [each.n for each in steps],
        "n_positive": [each.n_positive for each in steps],
        "n_negative": [each.n_negative for each in steps],
    }
    arms = dict.fromkeys(own.arm for each in steps for own in each.arms)
    of_step = [{own.arm: own for own in each.arms} for each in steps]
    for arm in arms:
        found = [own.get(arm) for own in of_step]
        columns[f"n_arm-{arm}"] = [own and own.n for own in found]
        columns[f"n_positive_arm-{arm}"] = [own and own.n_positive for own in found]
        columns[f"n_negative_arm-{arm}"] = [own and own.n_negative for own in found]
    return columns

"""The two values of the outcome column, and their meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fmmtc_bidsapp.bidsio.tables.cells import as_number, is_missing, same_value, spelled
from fmmtc_bidsapp.bidsio.tables.tables import Row
from fmmtc_bidsapp.bidsio.tables.value_labels import Meanings, meaning_of, same_meaning
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions

__all__ = ["OutcomeCoding", "outcome_coding", "outcome_coding_of_training"]

_BARE_POSITIVE = "1"
_SHOWN = 10


@dataclass(frozen=True)
class OutcomeCoding:
    """The target's value for 1, and its value for 0."""

    column: str
    positive: str
    negative: str | None
    """None without another value, or in a bundle of an older format."""
    positive_meaning: str | None = None
    negative_meaning: str | None = None
    """``Levels`` of the JSON beside the table; None where it does not describe the value."""

    def of(self, row: Row) -> int | None:
        """Return the outcome of a row: 1, 0, or None if unknown."""
        found = row.get(self.column, "")
        if is_missing(found):
            return None
        if same_value(found, self.positive):
            return 1
        return 0 if self.negative is not None and same_value(found, self.negative) else None

    def same_values(self, other: OutcomeCoding) -> bool:
        """Return whether another coding has the same two values."""
        pairs = ((self.positive, other.positive), (self.negative, other.negative))
        return all(
            one == two if one is None or two is None else same_value(one, two) for one, two in pairs
        )

    def __str__(self) -> str:
        """Describe which value is positive and which negative."""
        positive = _with_meaning(self.positive, self.positive_meaning)
        if self.negative is None:
            return f"{self.column}: {positive} is positive; there is no other value"
        negative = _with_meaning(self.negative, self.negative_meaning)
        return f"{self.column}: {positive} is positive, {negative} is negative"

    def sidecar_keys(self) -> dict[str, str | None]:
        """Return the keys of a sidecar."""
        return {
            "Target": self.column,
            "PositiveValue": self.positive,
            "NegativeValue": self.negative,
            "PositiveMeaning": self.positive_meaning,
            "NegativeMeaning": self.negative_meaning,
        }

    def described(self, meanings: Meanings) -> OutcomeCoding:
        """Return the coding with the meanings of its values."""
        return replace(
            self,
            positive_meaning=meaning_of(self.positive, meanings),
            negative_meaning=meaning_of(self.negative, meanings),
        )


def _with_meaning(value: str, meaning: str | None) -> str:
    return value if meaning is None else f"{value} ({meaning})"


def outcome_coding(
    rows: Sequence[Row], options: CohortOptions, meanings: Meanings
) -> OutcomeCoding | None:
    """Return the target's two values in a training table; None without target.

    UsageError if there are more than two or the positive one is not known, InputError for one
    value.
    """
    if options.target is None:
        return None
    values = _known(rows, options.target)
    positive = _positive_value(options.target, values, options.positive_value)
    others = [value for value in _distinct(values) if not same_value(value, positive)]
    return OutcomeCoding(options.target, positive, others[0]).described(meanings)


def outcome_coding_of_training(
    rows: Sequence[Row],
    elsewhere: Sequence[Row],
    options: CohortOptions,
    trained: OutcomeCoding,
    meanings: Meanings,
) -> OutcomeCoding | None:
    """Return the coding of new participants' target by the training's; None without target.

    A value that the training had not suggests another coding, so that only ``--positive-value``
    helps. ``elsewhere`` has rows that are not selected, which show the coding too. UsageError for
    other values or meanings than in the training.
    """
    column, stated = options.target, options.positive_value
    if column is None:
        return None
    own, others = _known(rows, column), _known(elsewhere, column)
    if stated is None:
        coding = _as_trained(column, own, others, trained)
    else:
        coding = _as_stated(column, [*own, *others], stated, trained)
    coding = coding.described(meanings)
    _refuse_other_meaning(coding, trained, stated=stated is not None)
    return coding


def _as_trained(
    column: str, own: Sequence[str], others: Sequence[str], trained: OutcomeCoding
) -> OutcomeCoding:
    """Return the training's values; UsageError if the table has any other."""
    known = [value for value in (trained.positive, trained.negative) if value is not None]
    values = [*own, *others]
    strange = [each for each in _distinct(own) if not _among(each, known)]
    # Rows that are not asked for may hold anything, where the table holds both known values.
    if not strange and not all(_among(each, values) for each in known):
        strange = [each for each in _distinct(others) if not _among(each, known)]
    if strange:
        raise UsageError(
            f"{column} has {_counted(values, _distinct(values))}, but the model was trained with "
            f"{trained}. The meaning of {', '.join(strange)} is unknown, and so is that of the "
            "other value. Give the positive value of this table with --positive-value, or correct "
            "the table."
        )
    return OutcomeCoding(column, trained.positive, trained.negative)


def _as_stated(
    column: str, values: Sequence[str], stated: str, trained: OutcomeCoding
) -> OutcomeCoding:
    """Return the coding with the user's positive value and the other value of the table."""
    distinct = _distinct(values)
    others = [each for each in distinct if not same_value(each, stated)]
    counts = _counted(values, distinct)
    if len(others) > 1:
        raise UsageError(
            f"{column} has {counts}; besides the --positive-value {stated} one other value is "
            "allowed. Correct the table."
        )
    same = same_value(stated, trained.positive)
    negative = trained.negative if same else None
    if others and len(distinct) == 1 and not (negative and same_value(others[0], negative)):
        raise UsageError(
            f"--positive-value {stated} is not a value of {column} ({counts}), and the meaning of "
            "its value is unknown. Correct the table, or give a value that it has."
        )
    return OutcomeCoding(column, stated, others[0] if others else negative)


def _refuse_other_meaning(coding: OutcomeCoding, trained: OutcomeCoding, *, stated: bool) -> None:
    """Raise UsageError if ``Levels`` contradict the training's meanings."""
    pairs = (
        (coding.positive, coding.positive_meaning, trained.positive_meaning, "positive"),
        (coding.negative, coding.negative_meaning, trained.negative_meaning, "negative"),
    )
    swapped = {"positive": trained.negative_meaning, "negative": trained.positive_meaning}
    for value, here, there, kind in pairs:
        if here is None:
            continue
        opposite = swapped[kind]
        is_opposite = opposite is not None and same_meaning(here, opposite)
        if is_opposite and not (there is not None and same_meaning(here, there)):
            raise UsageError(
                f"{coding.column} = {value} would be {kind}, but in the JSON beside the table it "
                f"means {here!r}, the other outcome of the training ({trained}). Give the positive "
                "value with --positive-value, or correct the table or its Levels."
            )
        if there is not None and not same_meaning(here, there) and not stated:
            raise UsageError(
                f"{coding.column} = {value} means {here!r} in the JSON beside the table, but "
                f"{there!r} in the training ({trained}). If both are the same outcome, use "
                f"--positive-value {coding.positive}; else the model cannot be evaluated."
            )


def _known(rows: Sequence[Row], column: str) -> list[str]:
    found = [row.get(column, "") for row in rows]
    return [value for value in found if not is_missing(value)]


def _among(value: str, values: Iterable[str]) -> bool:
    return any(same_value(value, each) for each in values)


def _distinct(values: Iterable[str]) -> list[str]:
    return sorted({spelled(value) for value in values})


def _counted(values: Sequence[str], distinct: Sequence[str]) -> str:
    counts = Counter(map(spelled, values))
    shown = ", ".join(f"{each}: {counts[each]}" for each in distinct[:_SHOWN])
    return f"{shown}, …" if len(distinct) > _SHOWN else shown


def _positive_value(target: str, values: Sequence[str], asked: str | None) -> str:
    """Return the positive one of exactly two values, without guessing."""
    distinct = _distinct(values)
    counts = _counted(values, distinct)
    if len(distinct) == 1:
        raise InputError(
            f"All participants have the same {target} ({counts}); two values are needed."
        )
    if len(distinct) > 2:
        raise UsageError(f"{target} must have two values, it has {len(distinct)} ({counts}).")
    if asked is None:
        if {as_number(value) for value in distinct} == {0.0, 1.0}:
            return _BARE_POSITIVE
        raise UsageError(
            f"{target} has {counts}. Give the value that counts as 1 with --positive-value."
        )
    if not any(same_value(asked, each) for each in distinct):
        raise UsageError(f"--positive-value {asked} is not a value of {target} ({counts}).")
    return asked

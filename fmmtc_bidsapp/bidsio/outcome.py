"""The two values of the column that is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fmmtc_bidsapp.bidsio.cells import as_number, is_missing, same_value, spelled
from fmmtc_bidsapp.bidsio.tables import Row
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions

__all__ = ["OutcomeCoding", "outcome_coding"]

_BARE_POSITIVE = "1"
_SHOWN = 10


@dataclass(frozen=True)
class OutcomeCoding:
    """Which value of the target is 1, and which 0."""

    column: str
    positive: str
    negative: str | None
    """None where nobody has another value."""

    def of(self, row: Row) -> int | None:
        """Give the outcome of a row: 1, 0, or None where it is not known."""
        found = row.get(self.column, "")
        if is_missing(found):
            return None
        if same_value(found, self.positive):
            return 1
        return 0 if self.negative is not None and same_value(found, self.negative) else None


def outcome_coding(
    rows: Sequence[Row], options: CohortOptions, *, optional: bool
) -> OutcomeCoding | None:
    """Find the two values of the target.

    Parameters
    ----------
    rows
        People who are left.
    options
        The target, and its positive value.
    optional
        Whether one value, or none, is enough; 1 is then positive where nothing else is said.

    Returns
    -------
    OutcomeCoding or None
        None without a target.

    Raises
    ------
    UsageError
        If there are more than two values, or they do not say which is positive.
    InputError
        If there is one value alone.
    """
    if options.target is None:
        return None
    found = [row.get(options.target, "") for row in rows]
    values = [value for value in found if not is_missing(value)]
    if optional:
        positive = options.positive_value or _BARE_POSITIVE
        others = _distinct(value for value in values if not same_value(value, positive))
        if len(others) > 1:
            counts = _counted(values, _distinct(values))
            raise UsageError(
                f"{options.target} holds {counts}; besides {positive}, which counts as 1, one "
                "other value is allowed. Correct the table."
            )
    else:
        positive = _positive_value(options.target, values, options.positive_value)
        others = _distinct(value for value in values if not same_value(value, positive))
    return OutcomeCoding(options.target, positive, next(iter(others), None))


def _distinct(values: Iterable[str]) -> list[str]:
    return sorted({spelled(value) for value in values})


def _counted(values: Sequence[str], distinct: Sequence[str]) -> str:
    counts = Counter(map(spelled, values))
    shown = ", ".join(f"{each}: {counts[each]}" for each in distinct[:_SHOWN])
    return f"{shown}, …" if len(distinct) > _SHOWN else shown


def _positive_value(target: str, values: Sequence[str], asked: str | None) -> str:
    """Find the value that counts as 1 among exactly two, and refuse to guess."""
    distinct = _distinct(values)
    counts = _counted(values, distinct)
    if len(distinct) == 1:
        raise InputError(f"Everyone has the same {target} ({counts}); two values are needed.")
    if len(distinct) > 2:
        raise UsageError(f"{target} must have two values, it has {len(distinct)} ({counts}).")
    if asked is None:
        if {as_number(value) for value in distinct} == {0.0, 1.0}:
            return _BARE_POSITIVE
        raise UsageError(f"{target} holds {counts}; say with --positive-value which counts as 1.")
    if not any(same_value(asked, each) for each in distinct):
        raise UsageError(f"--positive-value {asked} is not a value of {target} ({counts}).")
    return asked

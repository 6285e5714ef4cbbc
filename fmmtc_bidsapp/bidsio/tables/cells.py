"""Cells of participant tables: one spelling per value, and similar values."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

__all__ = [
    "NOT_AVAILABLE",
    "as_number",
    "is_missing",
    "lookalike",
    "lookalikes",
    "same_value",
    "sizes",
    "spelled",
]

NOT_AVAILABLE = "n/a"

_MISSING = frozenset({"", "n/a", "na", "nan", "#n/a"})
"""Whatever their case."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.IGNORECASE | re.ASCII)
"""Python's float also accepts 1_0 and digits of any script."""
_ZEROS_IN_FRONT = re.compile(r"(?<!\d)0+(?=\d)")
_SHOWN = 10


@lru_cache(maxsize=1 << 16)
def spelled(cell: str) -> str:
    """Return the one spelling of a cell's value.

    ``n/a`` if empty; a number as a plain decimal (``1`` for ``1.0``, ``01`` and ``1e0``); other
    text trimmed and in Unicode's NFC.
    """
    text = unicodedata.normalize("NFC", cell).strip()
    if is_missing(text):
        return NOT_AVAILABLE
    if not _NUMBER.fullmatch(text):
        return text
    plain = format(Decimal(text), "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain


@lru_cache(maxsize=1 << 16)
def is_missing(value: str) -> bool:
    """Return whether a cell is empty or n/a."""
    return value.strip().casefold() in _MISSING


@lru_cache(maxsize=1 << 16)
def as_number(text: str) -> float | None:
    """Return a cell as a number; None if it is none."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def same_value(one: str, other: str) -> bool:
    """Return whether two cells are equal: numbers by value, text trimmed."""
    return spelled(one) == spelled(other)


def lookalike(text: str) -> str:
    """Return a text without case, spaces and leading zeros."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    letters = (each for each in plain if not each.isspace() and unicodedata.category(each) != "Cf")
    return _ZEROS_IN_FRONT.sub("", "".join(letters))


def lookalikes(column: str, cells: Iterable[str]) -> list[str]:
    """Return a warning for each set of values that differ in case, spaces or leading zeros only."""
    counts: Counter[str] = Counter()
    for cell, n in Counter(cells).items():
        counts[cell.strip()] += n
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for value in counts:
        number = as_number(value)
        # 1.05 and 1.5 are not similar; 1.50 and 1.5 are one value, which needs no warning.
        if number is None or (number.is_integer() and "." not in value):
            alike[lookalike(value)].append(value)
    lines = []
    for values in alike.values():
        if len(values) > 1 and not is_missing(values[0]):
            listed = ", ".join(f"{value!r} ({counts[value]})" for value in sorted(values))
            n = len({spelled(value) for value in values})
            taken = "one value" if n == 1 else f"{n} different values"
            lines.append(
                f"{column} has {listed}, which differ only in case, spaces or zeros; they are read "
                f"as {taken}. Correct the table if that is wrong."
            )
    return lines


def sizes(values: Iterable[str]) -> str:
    """Return the number of participants per value, the most frequent first: ``a: 12, b: 3``."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{value}: {n}" for value, n in counts[:_SHOWN])
    rest = [n for _, n in counts[_SHOWN:]]
    if not rest:
        return shown
    return f"{shown}, and {len(rest)} other values with {min(rest)} to {max(rest)}"

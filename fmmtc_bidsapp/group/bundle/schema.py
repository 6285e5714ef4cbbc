"""Kinds of JSON values, to check a file of others before anything is read from it.

Each kind yields ``(field, problem)`` for what is wrong: ``("parcels[3]", "is 7, not a text")``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import Any, Protocol, get_args, get_type_hints

__all__ = [
    "Choice",
    "Flag",
    "Items",
    "Kind",
    "Maybe",
    "Number",
    "Plain",
    "Problems",
    "Record",
    "Table",
    "Text",
    "Whole",
    "record_of",
]

_SHOWN = 60
_LONGEST = 10_000
"""Characters of a text."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters that no file can hold."""

Problems = Iterator[tuple[str, str]]


class Kind(Protocol):
    """A kind of value."""

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@dataclass(frozen=True)
class Text:
    """A text without control characters, of a pattern."""

    pattern: str = r"(?s).*"

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not isinstance(value, str):
            yield field, f"is {_shown(value)}, not a text"
        elif len(value) > _LONGEST:
            yield field, f"has {len(value)} characters"
        elif _CONTROL.search(value) or not re.fullmatch(self.pattern, value):
            yield field, f"is {_shown(value)}, which is not allowed"


@dataclass(frozen=True)
class Choice:
    """One of some texts."""

    allowed: tuple[str, ...]

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not (isinstance(value, str) and value in self.allowed):
            yield field, f"is {_shown(value)}, not one of {', '.join(self.allowed)}"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not isinstance(value, bool):
            yield field, f"is {_shown(value)}, neither true nor false"


@dataclass(frozen=True)
class Number:
    """A finite number within limits."""

    low: float = -1e30
    high: float = 1e30

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield field, f"is {_shown(value)}, not a number"
        elif not self.low <= value <= self.high or not math.isfinite(value):
            yield field, f"is {_shown(value)}, not within {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Whole:
    """A whole number within limits."""

    low: int = 0
    high: int = 2**31

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if isinstance(value, bool) or not isinstance(value, int):
            yield field, f"is {_shown(value)}, not a whole number"
        elif not self.low <= value <= self.high:
            yield field, f"is {_shown(value)}, not within {self.low} and {self.high}"


@dataclass(frozen=True)
class Maybe:
    """A value of a kind, or null."""

    kind: Kind

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if value is not None:
            yield from self.kind.problems(field, value)


@dataclass(frozen=True)
class Items:
    """A list of values of one kind."""

    kind: Kind
    least: int = 0
    most: int = 10_000_000
    rising: bool = False
    """Whether values never fall."""
    unique: bool = False

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not isinstance(value, list):
            yield field, f"is {_shown(value)}, not a list"
            return
        if not self.least <= len(value) <= self.most:
            yield field, f"has {len(value)} entries, not {self.least} to {self.most}"
            return
        found = False
        for i, each in enumerate(value):
            for problem in self.kind.problems(f"{field}[{i}]", each):
                found = True
                yield problem
        if self.unique and not found and len(set(value)) < len(value):
            yield field, "names something twice"
        if self.rising and not found and value != sorted(value):
            yield field, f"is {_shown(value)}, which does not rise"


@dataclass(frozen=True)
class Record:
    """An object with these fields and no other."""

    fields: Mapping[str, Kind]
    optional: frozenset[str] = frozenset()

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not isinstance(value, dict):
            yield field, f"is {_shown(value)}, not an object"
            return
        for name in value:
            if name not in self.fields:
                yield _below(field, name), "is an unknown field"
        for name, kind in self.fields.items():
            if name in value:
                yield from kind.problems(_below(field, name), value[name])
            elif name not in self.optional:
                yield _below(field, name), "is missing"


@dataclass(frozen=True)
class Table:
    """An object of any names, all of whose values are of one kind."""

    kind: Kind

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not isinstance(value, dict):
            yield field, f"is {_shown(value)}, not an object"
            return
        for name, each in value.items():
            yield from self.kind.problems(_below(field, name), each)


_DEEPEST = 5


@dataclass(frozen=True)
class Plain:
    """Numbers, texts, true, false and null, and lists and objects of them."""

    most: int = 1000
    """Entries of a list or object."""

    def problems(self, field: str, value: Any, depth: int = 0) -> Problems:
        """Yield what is wrong with a value."""
        if depth > _DEEPEST:
            yield field, f"is more than {_DEEPEST} levels deep"
        elif isinstance(value, dict | list) and len(value) > self.most:
            yield field, f"has {len(value)} entries, not up to {self.most}"
        elif isinstance(value, dict):
            for name, each in value.items():
                yield from Text().problems(f"the name of {_below(field, name)}", name)
                yield from self.problems(_below(field, name), each, depth + 1)
        elif isinstance(value, list):
            for i, each in enumerate(value):
                yield from self.problems(f"{field}[{i}]", each, depth + 1)
        elif isinstance(value, str):
            yield from Text().problems(field, value)
        elif not (value is None or isinstance(value, bool)):
            yield from Number().problems(field, value)


_OF_TYPE: Mapping[Any, Kind] = {
    str: Text(),
    bool: Flag(),
    int: Whole(),
    float: Number(),
    tuple[int, ...]: Items(Whole()),
    tuple[str, ...]: Items(Text()),
    tuple[float, ...]: Items(Number()),
}


def record_of(kind: type, narrower: Mapping[str, Kind] | None = None) -> Record:
    """Return the record of a dataclass by its types; a field with a default may be missing.

    `narrower` are kinds of fields whose type does not say everything.
    """
    hints, own = get_type_hints(kind), dict(narrower or {})
    kinds = {
        each.name: own[each.name] if each.name in own else _of_hint(hints[each.name], each.metadata)
        for each in fields(kind)
    }
    given = (each for each in fields(kind) if each.default is not MISSING)
    return Record(kinds, frozenset(each.name for each in given))


def _of_hint(hint: Any, metadata: Mapping[str, Any]) -> Kind:
    # Other packages may add choices, which the options check.
    if "choices" in metadata and not metadata.get("group"):
        return Choice(metadata["choices"])
    if isinstance(hint, UnionType):
        (inner,) = (each for each in get_args(hint) if each is not NoneType)
        return Maybe(_OF_TYPE[inner])
    return _OF_TYPE[hint]


def _below(field: str, name: str) -> str:
    shown = name if name.isprintable() else ascii(name)
    return f"{field}.{shown}" if field else shown

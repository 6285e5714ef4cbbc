"""Meanings of a column's values, from the JSON beside the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.bidsio.tables.cells import same_value

__all__ = ["Meanings", "meaning_of", "read_meanings", "same_meaning"]

Meanings = Mapping[str, str]
"""By value of a column, what it means in words."""


def read_meanings(tables: Iterable[Path], columns: Iterable[str]) -> dict[str, Meanings]:
    """Read ``Levels`` of columns from the JSON files beside their tables; the first one counts."""
    files = [path.with_suffix(".json") for path in tables]
    described = [read_json(path) for path in files if path.exists()]
    found: dict[str, Meanings] = {}
    for column in dict.fromkeys(columns):
        levels = next(filter(None, (_levels(each.get(column)) for each in described)), None)
        if levels:
            found[column] = levels
    return found


def _levels(about: object) -> Meanings:
    levels = about.get("Levels") if isinstance(about, Mapping) else None
    if not isinstance(levels, Mapping):
        return {}
    words = {str(value): _words(each) for value, each in levels.items()}
    return {value: each for value, each in words.items() if each}


def _words(level: object) -> str:
    """Return a level's text: BIDS has text, or an object with a description."""
    text = level.get("Description") if isinstance(level, Mapping) else level
    return " ".join(text.split()) if isinstance(text, str) else ""


def meaning_of(value: str | None, meanings: Meanings) -> str | None:
    """Return a value's meaning; None if not described."""
    if value is None:
        return None
    return next((words for each, words in meanings.items() if same_value(each, value)), None)


def same_meaning(one: str, other: str) -> bool:
    """Return whether two meanings are equal but for case, spaces and punctuation."""
    return _bare(one) == _bare(other)


def _bare(words: str) -> str:
    return "".join(each for each in words.casefold() if each.isalnum())

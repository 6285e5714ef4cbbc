"""Names of the two outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["outcome_words"]

_ANSWERS = frozenset({"yes", "no", "true", "false", "positive", "negative"})
"""Words that say nothing without the name of their column."""


def outcome_words(about: Mapping[str, Any]) -> dict[str, str]:
    """Name the outcomes ``1`` and ``0``.

    By the ``Levels`` of the table's JSON (``responder``), else by column and value (``Response =
    1``).
    """
    target = about.get("Target")
    if target is None:
        return {"1": "positive", "0": "negative"}
    positive, negative = about.get("PositiveValue"), about.get("NegativeValue")
    other = f"{target} ≠ {positive}" if negative is None else f"{target} = {negative}"
    return {
        "1": _named(target, about.get("PositiveMeaning")) or f"{target} = {positive}",
        "0": _named(target, about.get("NegativeMeaning")) or other,
    }


def _named(target: str, meaning: str | None) -> str:
    if not meaning:
        return ""
    return f"{target}: {meaning}" if meaning.casefold() in _ANSWERS else meaning

"""Format numbers, intervals and p values."""

from __future__ import annotations

import math

__all__ = [
    "interval",
    "interval_or_bound",
    "number",
    "p_value",
    "percent",
    "shows_spread",
]


def number(value: object, digits: int = 2) -> str:
    """Format a number with a true minus sign; ``n/a`` where there is none."""
    if value is None or isinstance(value, str):
        return value or "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    figure = float(value)  # type: ignore[arg-type]
    if math.isnan(figure):
        return "n/a"
    return f"{figure:.{digits}f}".replace("-", "−")


def interval(low: object, high: object, digits: int = 2) -> str:
    """Format an interval as ``0.44 to 0.80``; empty where it is not known."""
    ends = [number(low, digits), number(high, digits)]
    return "" if "n/a" in ends else " to ".join(ends)


def interval_or_bound(low: object, high: object, bound: object = None) -> str:
    """Format an interval, or without a spread ``no interval; at least 0.78``, if known."""
    least = number(bound)
    if shows_spread(low, high) or least == "n/a":
        return interval(low, high)
    return f"no interval; at least {least}"


def shows_spread(low: object, high: object) -> bool:
    """Return whether an interval has a spread: equal draws have none."""
    return interval(low, high) != "" and low != high


def p_value(p: object, n_permutations: object) -> str:
    """Format a p of a permutation test, and say if it is the smallest possible."""
    words, shuffles = number(p, 3), number(n_permutations, 0)
    if "n/a" in (words, shuffles) or not float(n_permutations):  # type: ignore[arg-type]
        return words
    floor = 1 / (1 + float(n_permutations))  # type: ignore[arg-type]
    if float(p) > floor * (1 + _ROUNDING):  # type: ignore[arg-type]
        return words
    return f"{words}, the smallest possible with {shuffles} permutations"


_ROUNDING = 1e-9


def percent(share: float) -> str:
    """Format a share of 0 to 1 as ``64 %``; ``n/a`` where there is none."""
    return "n/a" if math.isnan(share) else f"{100 * share:.0f} %"

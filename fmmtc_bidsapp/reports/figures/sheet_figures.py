"""The figures of a prediction sheet, as places on a line for the template to draw.

A few rectangles a person: plots of a hundred people would take a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from fmmtc_bidsapp.reports.data.number_format import number

__all__ = ["scale", "strips"]


class _Measure(NamedTuple):
    name: str
    unit: str
    digits: int | None
    """None for as many as it takes."""
    begins_at_0: bool = False


_MEASURES: Mapping[str, _Measure] = {
    "tr_s": _Measure("Repetition time", "s", None),
    "n_volumes": _Measure("Volumes", "", 0),
    "mean_fd_mm": _Measure("Mean framewise displacement", "mm", 2),
    "connectivity_distance": _Measure("Connectome’s distance from the mean", "z", 2, True),
}

_BAR_PX = 32
"""Height of the tallest bar."""


def scale(evidence: Mapping[str, Any], person: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the places of a participant and the training participants on a line from 0 to 1."""
    low, high = person["probability_low"], person["probability_high"]
    limits = None if pd.isna(low) else {"x": _percent(low), "width": _percent(high - low)}
    return {
        "at": _percent(person["probability"]),
        "threshold": _percent(person["threshold"]),
        "interval": limits,
        "positive": _bars(evidence.get("positive", ())),
        "negative": _bars(evidence.get("negative", ())),
        "n": sum((*evidence.get("positive", ()), *evidence.get("negative", ()))),
    }


def _bars(counts: Sequence[int]) -> list[dict[str, str]]:
    """Return place and height of each bin, scaled to the tallest of its outcome."""
    most = max(counts, default=0) or 1
    width = 1 / max(len(counts), 1)
    return [
        {
            "x": _percent((i + 0.08) * width),
            "width": _percent(0.84 * width),
            "height": f"{_BAR_PX * count / most:.1f}",
        }
        for i, count in enumerate(counts)
        if count
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def strips(ranges: pd.DataFrame, person: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return the place of a participant's scans in the training range, one record per measure."""
    if ranges.empty:
        return []
    session = person["session_id"]
    sessions = ranges["session_id"]
    of_session = sessions.isna() if pd.isna(session) else sessions == session
    own = ranges[(ranges["participant_id"] == person["participant_id"]) & of_session]
    return [
        _strip(measure, rows)
        for name, measure in _MEASURES.items()
        if not (rows := own[own["measure"] == name]).empty
    ]


def _strip(measure: _Measure, rows: pd.DataFrame) -> dict[str, Any]:
    found = [float(each) for each in rows["found"].dropna()]
    low, high = (float(rows[each].iloc[0]) for each in ("training_low", "training_high"))
    known = not pd.isna(high)
    place = "not known"
    if rows["outside"].notna().any():
        place = "outside"
    elif known and found:
        place = "within"
    return {
        "name": measure.name,
        "found": _range_text(found, measure) + (f", {len(rows)} runs" if len(rows) > 1 else ""),
        "training": _training_text(low, high, measure) if known else "n/a",
        "place": place,
        **_drawn(found, low, high, known=known),
    }


def _training_text(low: float, high: float, measure: _Measure) -> str:
    if measure.begins_at_0:
        return f"up to {_range_text([high], measure)}"
    return _range_text([low, high], measure)


def _range_text(values: Sequence[float], measure: _Measure) -> str:
    if not values:
        return "n/a"
    spelled = (
        f"{each:g}" if measure.digits is None else number(each, measure.digits)
        for each in (min(values), max(values))
    )
    return f"{' to '.join(dict.fromkeys(spelled))} {measure.unit}".rstrip()


def _drawn(found: Sequence[float], low: float, high: float, *, known: bool) -> dict[str, Any]:
    """Place training range and person on an axis with a margin at both ends."""
    ends = [*found, *([low, high] if known else [])]
    if not ends:
        return {"range": None, "dots": []}
    least, most = min(ends), max(ends)
    margin = 0.08 * ((most - least) or abs(most) or 1)
    start, length = least - margin, most - least + 2 * margin
    bar = {"x": _percent((low - start) / length), "width": _percent((high - low) / length)}
    return {
        "range": bar if known else None,
        "dots": [_percent((each - start) / length) for each in found],
    }

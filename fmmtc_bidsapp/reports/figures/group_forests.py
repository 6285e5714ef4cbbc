"""Forest plots: a value and its interval for every model or arm."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmmtc_bidsapp.reports.data.metric_columns import HEADLINE
from fmmtc_bidsapp.reports.data.number_format import interval, number, shows_spread
from fmmtc_bidsapp.reports.figures.style import (
    ACCENT,
    DASHED,
    INK,
    LINE,
    MUTED,
    SECOND,
    inline_svg,
    plain_axes,
    themed,
)

__all__ = ["arm_forest", "difference_forest", "forest", "paired_differences"]

_NESTED = "nested"
_WIDTH, _ROW, _FRAME = 9.4, 0.3, 0.8
"""Inches: of a figure, of a line of it, and of what is around the lines."""


@dataclass(frozen=True)
class _Line:
    """A line of a forest."""

    name: str
    value: float
    low: float
    high: float
    colour: str = INK
    marker: str = "s"
    bound: float = float("nan")

    @property
    def has_interval(self) -> bool:
        """Whether folds or draws show how uncertain the value is."""
        return shows_spread(self.low, self.high)

    @property
    def words(self) -> str:
        if self.has_interval:
            return f"{number(self.value)} ({interval(self.low, self.high)})"
        least = number(self.bound)
        words = "interval n/a" if least == "n/a" else f"interval n/a; at least {least}"
        return f"{number(self.value)} ({words})"


@themed
def forest(metrics: pd.DataFrame, metric: str, names: Mapping[str, str], chance: float) -> Markup:
    """Draw one metric of every model with its interval and the line of chance."""
    rows = {row["model"]: row for row in metrics[metrics["metric"] == metric].to_dict("records")}
    lines: list[_Line] = []
    for model in [each for each in names if each in rows]:
        row = rows[model]
        # A finished model has no folds to take a mean of.
        value = "pooled" if pd.isna(row["mean"]) else "mean"
        ends = (row[f"{value}_low"], row[f"{value}_high"])
        look = (INK, "s") if lines else (ACCENT, "o")
        bound = row.get("bound", float("nan"))
        lines.append(_Line(names[model], row[value], *ends, *look, bound=bound))
    figure, axes = _draw(lines, chance, (0, 1))
    plain_axes(axes, "AUROC with its 95 % interval; dashed: chance", "")
    return inline_svg(figure, "forest", _alt("AUROC of each model", lines))


@themed
def arm_forest(arms: pd.DataFrame, model: str) -> Markup:
    """Draw the AUROC of one model in each arm, as the rows of ``_arms.tsv`` give it."""
    own = arms[
        (arms["model"] == model) & (arms["metric"] == HEADLINE) & arms["other"].isna()
    ].to_dict("records")
    lines = [
        _Line(
            f"{row['arm']} ({number(row['n'], 0)} people)",
            row["value"],
            row["low"],
            row["high"],
            ACCENT,
            "o",
        )
        for row in own
    ]
    figure, axes = _draw(lines, 0.5, (0, 1))
    plain_axes(axes, "AUROC of the arm with its 95 % interval; dashed: chance", "")
    return inline_svg(figure, "arms", _alt("AUROC in each arm", lines))


@themed
def difference_forest(comparison: pd.DataFrame, names: Mapping[str, str], main: str) -> Markup:
    """Draw the AUROC of the main model minus each other, blue if higher, orange if lower."""
    lines = [
        _Line(
            names.get(row["model"], row["title"]),
            row["difference"],
            row["difference_low"],
            row["difference_high"],
            _side(row),
            "s" if _side(row) == INK else "o",
        )
        for row in paired_differences(comparison).to_dict("records")
    ]
    reach = max((abs(end) for each in lines for end in (each.low, each.high, each.value)
                 if end == end), default=1.0)  # fmt: skip
    reach = min(1.0, 1.08 * reach) or 1.0
    figure, axes = _draw(lines, 0, (-reach, reach))
    plain_axes(axes, f"AUROC of {main} minus that of the model, with its 95 % interval", "")
    return inline_svg(figure, "differences", _alt(f"AUROC of {main} minus each model's", lines))


def paired_differences(comparison: pd.DataFrame) -> pd.DataFrame:
    """Select each model's AUROC difference from the main model, trained and selected alike.

    One row per model.
    """
    if comparison.empty:
        return comparison
    kept = comparison[
        (comparison["metric"] == HEADLINE)
        & (comparison["selection"] == _NESTED)
        & comparison["train_on"].isna()
        & comparison["difference"].notna()
    ]
    return kept.drop_duplicates("model")


def _side(row: Mapping[Hashable, Any]) -> str:
    if row["difference_low"] > 0:
        return ACCENT
    return SECOND if row["difference_high"] < 0 else INK


def _draw(
    lines: Sequence[_Line], middle: float, limits: tuple[float, float]
) -> tuple[Figure, Axes]:
    """Draw the lines from top to bottom, their figures as words beside them."""
    figure = Figure(figsize=(_WIDTH, _FRAME + _ROW * len(lines)))
    axes = figure.subplots()
    axes.axvline(middle, color=MUTED, linewidth=1, linestyle=DASHED)
    for place, line in enumerate(lines):
        ends = [max(line.low, limits[0]), min(line.high, limits[1])]
        if line.has_interval:
            axes.plot(ends, [place, place], color=line.colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(
            line.value,
            place,
            line.marker,
            color=line.colour,
            # Hollow: nothing says how far the value can be trusted.
            markerfacecolor=line.colour if line.has_interval else "none",
            markersize=5.5,
            clip_on=False,
        )
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlim(*limits)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    words = axes.secondary_yaxis("right")
    words.set_yticks(range(len(lines)), [line.words for line in lines])
    words.tick_params(length=0)
    words.spines["right"].set_visible(False)
    return figure, axes


def _alt(what: str, lines: Sequence[_Line]) -> str:
    """Describe the lines in words, as alternative text."""
    described = "; ".join(f"{line.name} {line.words}" for line in lines)
    return f"{what} with its 95 % interval: {described}."

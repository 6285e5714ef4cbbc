"""Figures of streams, networks and edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Wedge
from matplotlib.path import Path
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.data.group_places import Places
from fmmtc_bidsapp.reports.figures.group_maps import ABOVE, draw_brain, name_view, watermark
from fmmtc_bidsapp.reports.figures.style import (
    CATEGORICAL,
    DASHED,
    GREY,
    INK,
    LINE,
    MUTED,
    NEGATIVE,
    POSITIVE,
    colour_of,
    plain_axes,
    themed,
)

__all__ = ["STREAMS", "Bars", "edges_figure", "networks_figure", "shares_figure"]

STREAMS = {
    "series": ("time series", CATEGORICAL[2]),
    "connectivity": ("connectivity", CATEGORICAL[3]),
}
"""Name and colour; blue and orange are taken by the two outcomes."""
_ON_BAR = "#101010"
_MOST_CHORDS = 60
_GAP_RAD = 0.05
"""Between two networks of a circle."""


class Bars(NamedTuple):
    """A panel of bars."""

    title: str
    rows: pd.DataFrame
    """Rows of ``_attributions.tsv`` of one model, source and level."""
    stream: str
    """``series`` or ``connectivity``, which colours it."""


@themed
def shares_figure(
    shares: pd.DataFrame,
    names: Mapping[str, str],
    mark: str = "",
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the share of |attribution| of each stream, a bar per model.

    The interval is that of the boundary after the first stream.
    """
    by_model = {model: own.to_dict("records") for model, own in shares.groupby("model")}
    shown = [model for model in names if model in by_model]
    streams = _streams(dict.fromkeys(shares["modality"]), titles or {})
    figure = Figure(figsize=(9.4, 1.15 + 0.42 * len(shown)))
    axes = figure.subplots()
    for place, model in enumerate(shown):
        start = 0.0
        last = len(by_model[model]) - 1
        for i, each in enumerate(by_model[model]):
            share = 100 * float(each["share"])
            colour = streams[each["modality"]][1]
            axes.barh(place, share, left=start, height=0.56, color=colour)
            if share >= 9:  # room for the figure
                at, side = (98.8, "right") if i == last else (start + 1.2, "left")
                axes.text(
                    at, place, f"{share:.0f} %", color=_ON_BAR, va="center", ha=side,
                    fontweight="bold",
                )  # fmt: skip
            start += share
        row = by_model[model][0]
        middle, low, high = (100 * float(row[each]) for each in ("share", "low", "high"))
        axes.plot([low, high], [place, place], color=_ON_BAR, linewidth=1.6)
        axes.plot([low, middle, high], [place] * 3, "|", color=_ON_BAR, markersize=9)
    axes.axvline(50, color=MUTED, linewidth=1, linestyle=DASHED)
    axes.set_yticks(range(len(shown)), [names[model] for model in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.spines["left"].set_visible(False)
    handles = [
        Line2D([], [], color=colour, linewidth=7, label=name) for name, colour in streams.values()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), handlelength=1)
    plain_axes(axes, "Share of |attribution| (%); line: 95 % interval, dashed: equal shares", "")
    axes.tick_params(axis="y", labelcolor=INK)
    watermark(figure, mark)
    return figure


def _streams(modalities: Iterable[str], titles: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Name and colour of each modality, this program's first."""
    others = [each for each in modalities if each not in STREAMS]
    free = (*CATEGORICAL[4:], GREY)
    return {
        **STREAMS,
        **{name: (titles.get(name, name), free[i % len(free)]) for i, name in enumerate(others)},
    }


@themed
def networks_figure(panels: Sequence[Bars], mark: str = "") -> Figure:
    """Draw |attribution| per parcel of each network over the mean of all, with 95 % intervals."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.rows["name"]))
    figure = Figure(figsize=(9.4, 1.2 + 0.3 * len(names)))
    grid = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        rows = panel.rows.set_index("name").reindex(names)
        places = np.arange(len(names))
        axes.barh(
            places,
            rows["attribution"],
            height=0.62,
            color=_streams([panel.stream], {})[panel.stream][1],
            alpha=0.85,
        )
        axes.hlines(places, rows["low"], rows["high"], color=INK, linewidth=1.6)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=DASHED)
        # Beside two others a title has room for half a line.
        axes.set_title(panel.title.replace(": ", ":\n"))
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        plain_axes(axes, "", "")
        axes.tick_params(axis="y", labelcolor=INK)
    most = max(float(np.nanmax(panel.rows[["attribution", "high"]])) for panel in panels)
    grid[0].set_xlim(0, 1.04 * max(most, 1))
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel(
        "|attribution| of a parcel (× average); line: 95 % interval, dashed: average",
        color=MUTED, fontsize=8.5,
    )  # fmt: skip
    watermark(figure, mark)
    return figure


@themed
def edges_figure(edges: pd.DataFrame, places: Places, mark: str = "") -> Figure:
    """Draw the strongest edges as chords of a circle of parcels.

    Arcs are networks, parcels run from the front of the brain to the back, width is the amount,
    colour the direction.
    """
    shown = edges[edges["attribution"] > 0].head(_MOST_CHORDS)
    row_of = {int(index): row for row, index in enumerate(places.index)}
    angles, order = _around(places)
    figure = Figure(figsize=(9.4, 4.9))
    circle, brain = figure.subplots(1, 2, width_ratios=[1.75, 1])
    draw_brain(brain, ABOVE)
    name_view(brain, ABOVE)
    _draw_arcs(circle, angles[order], [places.networks[row] for row in order])
    largest = float(shown["attribution"].max())
    known = shown[shown["index"].isin(row_of) & shown["other"].isin(row_of)]
    for edge in known[::-1].to_dict("records"):
        ends = [row_of[int(edge[column])] for column in ("index", "other")]
        share = float(edge["attribution"]) / largest
        colour = _colour_of_sign(float(edge["signed"]))
        style = {"color": colour, "linewidth": 0.5 + 2.6 * share, "alpha": 0.35 + 0.6 * share}
        _draw_chord(circle, angles[ends], style)
        brain.plot(*places.xyz_mm[ends, :2].T, "-o", markersize=2.5, markeredgewidth=0, **style)
    circle.set_xlim(-1.12, 1.12)
    circle.set_ylim(-1.12, 1.12)
    circle.set_aspect("equal")
    circle.set_axis_off()
    handles = [
        Line2D([], [], color=colour, linewidth=2.4, label=f"favours the {name} outcome")
        for name, colour in (("positive", POSITIVE), ("other", NEGATIVE))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    watermark(figure, mark)
    return figure


def _colour_of_sign(signed: float) -> str:
    return POSITIVE if signed > 0 else NEGATIVE if signed < 0 else GREY


def _around(places: Places) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Angle of each parcel on the circle, and the parcels in the order of their angles."""
    rank = {name: place for place, name in enumerate(colour_of(places.networks))}
    back = -np.nan_to_num(places.xyz_mm[:, 1])
    network = np.array([rank[each] for each in places.networks])
    order = np.lexsort((back, network))
    step = (2 * np.pi - _GAP_RAD * len(set(places.networks))) / len(order)
    gaps = np.cumsum(np.diff(network[order], prepend=network[order[0]]) != 0)
    angles = np.empty(len(order))
    # Clockwise from the top, as one reads a clock.
    angles[order] = np.pi / 2 - (np.arange(len(order)) + 0.5) * step - gaps * _GAP_RAD
    return angles, order


def _draw_arcs(axes: Axes, angles: NDArray[np.float64], networks: Sequence[str]) -> None:
    end = 0
    for network, members in groupby(networks):
        start, end = end, end + len(list(members))
        first, last = np.degrees(angles[start]), np.degrees(angles[end - 1])
        axes.add_patch(Wedge((0, 0), 1.06, last - 0.4, first + 0.4, width=0.05,
                             facecolor=GREY, linewidth=0))  # fmt: skip
        middle = np.radians((first + last) / 2)
        x, y = 1.1 * np.cos(middle), 1.1 * np.sin(middle)
        axes.text(x, y, network, color=INK, va="center",
                  ha="left" if x > 0.15 else "right" if x < -0.15 else "center")  # fmt: skip


def _draw_chord(axes: Axes, ends: NDArray[np.float64], style: Mapping[str, Any]) -> None:
    points = np.column_stack([np.cos(ends), np.sin(ends)])
    apart = abs(np.angle(np.exp(1j * (ends[0] - ends[1])))) / np.pi
    # Neighbours bow a little, opposites go through the middle: so they are distinguishable.
    middle = 0.85 * (1 - apart) * points.mean(axis=0)
    path = Path([points[0], middle, points[1]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    axes.add_patch(PathPatch(path, fill=False, capstyle="round", **style))
    axes.plot(*points.T, "o", color=GREY, markersize=2, markeredgewidth=0)

"""Carpet plots and the connectivity matrix of one run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.data.run_tables import Series
from fmmtc_bidsapp.reports.figures.run_motion import left_out_legend
from fmmtc_bidsapp.reports.figures.style import (
    ACCENT,
    GREY,
    LINE,
    NEGATIVE,
    colour_bar,
    colour_of,
    plain_axes,
    rgb_column,
    themed,
)

__all__ = ["carpet_figure", "carpet_image", "connectivity_figure", "network_order"]

Floats = NDArray[np.float64]

_LIMIT_SD = 2.0
_MAX_COLUMNS = 720
"""Volumes drawn at most: more than the figure has pixels only makes the page heavy."""
_LEVELS = 48
"""Shades of an image: fewer than an eye can tell, and a third of the bytes of all of them."""
_NAME_HEIGHT_IN = 0.15
_NO_DATA = "#f2d7a6"
_LEFT_OUT = {"censored": "#d55e00", "dummy": GREY}
_MATRIX_LIMIT_PERCENTILE = 99.0


def network_order(networks: tuple[str, ...]) -> NDArray[np.intp]:
    """Order parcels by network, networks by first appearance, ``n/a`` last."""
    rank = {name: i for i, name in enumerate(colour_of(networks))}
    return np.argsort([rank[each] for each in networks], kind="stable")


@themed
def carpet_figure(series: Series) -> tuple[Figure, str]:
    """Draw all parcel series before and after cleaning, with a text description."""
    order = network_order(series.networks)
    before, after = carpet_images(series)
    first = "Before cleaning" if after is not None else "Not cleaned"
    panels = [(first, before), ("After cleaning", after)]
    shown = [(title, image) for title, image in panels if image is not None]
    figure = Figure(figsize=(9.4, 0.75 + 2.35 * len(shown)))
    grid = figure.subplots(
        len(shown) + 1, 2, width_ratios=[1, 62], height_ratios=[0.045, *([1] * len(shown))],
        squeeze=False,
    )  # fmt: skip
    n_volumes = len(series.dummy)
    end = n_volumes * series.tr_s if series.tr_s else n_volumes
    strip = grid[0, 1]
    strip.imshow(_strip(series), aspect="auto", interpolation="none", extent=(0, end, 1, 0))
    left_out_legend(strip, series.dummy, series.censored)
    for axes in grid[0]:
        axes.set_axis_off()
    for (bar, axes), (title, image) in zip(grid[1:], shown, strict=True):
        axes.imshow(
            image[order], aspect="auto", interpolation="none", extent=(0, end, len(image), 0)
        )
        axes.set_title(title)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        plain_axes(axes, "", "")
        draw_networks(bar, [series.networks[i] for i in order])
    grid[-1, 1].set_xlabel("Time (s)" if series.tr_s else "Volume")
    for axes in grid[1:-1, 1]:
        axes.set_xticks([])
    greys = ScalarMappable(Normalize(-_LIMIT_SD, _LIMIT_SD), _greys())
    ends = {-_LIMIT_SD: "−2", 0: "0", _LIMIT_SD: "+2"}
    colour_bar(greys, list(grid[1:, 1]), ends, "SD before cleaning", shrink=0.8 / len(shown))
    return figure, (
        f"Carpet plot: {len(order)} parcels by {n_volumes} volumes, by network, "
        f"{' and '.join(title.lower() for title, _ in shown)}."
    )


def carpet_images(series: Series) -> tuple[Floats, Floats | None]:
    """Return the series before and after cleaning as (parcel, column, 4) RGBA.

    In SD of the detrended uncleaned series; sand for parcels without data, clear for excluded
    volumes.
    """
    retained = ~(series.dummy | series.censored)
    flat, sd = _flattened(series.uncleaned, retained)
    before = carpet_image(flat / sd, series.missing)
    if series.cleaned is None:
        return before, None
    after = carpet_image(
        (series.cleaned - series.cleaned[retained].mean(axis=0)) / sd, series.missing
    )
    after[:, ~retained[_columns(len(retained))], 3] = 0
    return before, after


def carpet_image(z: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Colour deviations: (time, parcel) to (parcel, column, 4) RGBA."""
    drawn = z[_columns(len(z))].T
    flat = ~np.isfinite(drawn).any(axis=1) | missing
    image: Floats = _greys()(Normalize(-_LIMIT_SD, _LIMIT_SD)(np.nan_to_num(drawn)))
    image[flat] = to_rgba(_NO_DATA)
    return image


def _columns(n_volumes: int) -> slice:
    return slice(None, None, -(-n_volumes // _MAX_COLUMNS))


def _flattened(signal: Floats, retained: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Deviations (time, parcel) from the line through the retained volumes, and their SD."""
    time = np.arange(len(signal)) - np.flatnonzero(retained).mean()
    kept = signal[retained]
    slope = (
        time[retained] @ (kept - kept.mean(axis=0)) / max(float(time[retained] @ time[retained]), 1)
    )
    flat = signal - kept.mean(axis=0) - np.outer(time, slope)
    sd = flat[retained].std(axis=0)
    return flat, np.where(sd > 0, sd, np.nan)


def _strip(series: Series) -> Floats:
    """(1, column, 4) RGBA: which volumes were left out."""
    colours = np.zeros((1, len(series.dummy), 4))
    colours[0, series.dummy] = to_rgba(_LEFT_OUT["dummy"])
    colours[0, series.censored] = to_rgba(_LEFT_OUT["censored"])
    return colours


def _greys() -> Colormap:
    return mpl.colormaps["gray"].resampled(_LEVELS)


@themed
def connectivity_figure(
    matrix: Floats, networks: tuple[str, ...], measure: str, limit: float | None
) -> tuple[Figure, str]:
    """Draw a matrix (parcel, parcel) by network and its histogram, with a text description."""
    order = network_order(networks)
    ordered = [networks[i] for i in order]
    end = limit or _fitting_limit(matrix)
    figure = Figure(figsize=(9.4, 4.5))
    bar, axes, spread = figure.subplots(1, 3, width_ratios=[1, 34, 26])
    image = axes.imshow(
        matrix[np.ix_(order, order)],
        aspect="auto",  # so that the networks beside it keep their place
        cmap=mpl.colormaps["RdBu_r"].resampled(2 * _LEVELS).with_extremes(bad=GREY),
        vmin=-end,
        vmax=end,
        interpolation="none",
    )
    for edge in _block_edges(ordered)[1:-1]:
        axes.axhline(edge - 0.5, color="#00000066", linewidth=0.4)
        axes.axvline(edge - 0.5, color="#00000066", linewidth=0.4)
    axes.set_axis_off()
    draw_networks(bar, ordered)
    colour_bar(image, axes, {-end: f"−{end:.2g}", 0: "0", end: f"{end:.2g}"}, measure, shrink=0.5)
    _draw_spread(spread, matrix, networks, end)
    spread.set_xlabel(measure)
    missing = int(np.isnan(matrix).all(axis=0).sum())
    return figure, (
        f"Connectivity of {len(matrix)} parcels by network; {missing} are missing. "
        "Beside it the histogram of its values, within and between networks."
    )


def _fitting_limit(matrix: Floats) -> float:
    edges = np.abs(matrix[np.triu_indices_from(matrix, k=1)])
    known = edges[np.isfinite(edges)]
    return float(np.percentile(known, _MATRIX_LIMIT_PERCENTILE)) or 1.0 if known.size else 1.0


def _draw_spread(axes: Axes, matrix: Floats, networks: tuple[str, ...], end: float) -> None:
    rows, columns = np.triu_indices_from(matrix, k=1)
    edges = matrix[rows, columns]
    group = np.asarray(networks)
    same = (group[rows] == group[columns]) & (group[rows] != "n/a")
    bins = np.linspace(-end, end, 61)
    named = [("within a network", same, NEGATIVE), ("between networks", ~same, ACCENT)]
    for name, chosen, colour in named:
        values = np.clip(edges[chosen & np.isfinite(edges)], -end, end)
        if values.size:
            share = np.histogram(values, bins)[0] / values.size * 100
            axes.stairs(share, bins, color=colour, linewidth=1.5, label=name)
    axes.axvline(0, color=LINE, linewidth=0.8)
    axes.set_xlim(-end, end)
    ticks = [-end, -end / 2, 0, end / 2, end]
    axes.set_xticks(ticks, [f"{each:.2g}".replace("-", "−") for each in ticks])
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the legend
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_title("Spread of the values")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", borderaxespad=0, handlelength=1.2)
    axes.set_box_aspect(0.75)
    plain_axes(axes, "", "pairs (%)")


def _block_edges(ordered: Sequence[str]) -> list[int]:
    sizes = [len(list(members)) for _, members in groupby(ordered)]
    return [0, *np.cumsum(sizes).tolist()]


def draw_networks(axes: Axes, ordered: Sequence[str]) -> None:
    """Draw a column of network colours, with names beside it that keep clear of each other."""
    colours = colour_of(ordered)
    axes.imshow(rgb_column(colours[each] for each in ordered), aspect="auto", interpolation="none")
    edges = _block_edges(ordered)
    middles = [(a + b - 1) / 2 for a, b in pairwise(edges)]
    figure = axes.get_figure(root=True)
    height_in = axes.get_position().height * (figure.get_size_inches()[1] if figure else 1)
    gap = len(ordered) * _NAME_HEIGHT_IN / height_in
    axes.set_yticks(_apart(middles, gap, len(ordered)), [name for name, _ in groupby(ordered)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _apart(places: Sequence[float], gap: float, end: float) -> list[float]:
    """Move sorted places apart by at least a gap, as little as that takes."""
    gap = min(gap, end / max(len(places), 1))
    moved = list(places)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    ceiling = end - gap / 2
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved

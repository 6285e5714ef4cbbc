"""Figures of one run: its series, its connectivity, its coverage."""

from __future__ import annotations

from itertools import groupby, pairwise

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.figures import (
    ACCENT,
    GREY,
    LINE,
    MUTED,
    SECOND,
    colour_of,
    inline_svg,
    plain_axes,
    rgb_column,
    themed,
)

__all__ = ["carpet", "connectome", "coverage_histogram", "network_order"]

Floats = NDArray[np.float64]

_Z_LIMIT = 2.0
_MAX_COLUMNS = 1200
"""Volumes drawn at most: more than the figure has pixels only makes the page heavy."""


def network_order(networks: tuple[str, ...]) -> NDArray[np.intp]:
    """Order parcels by network, networks by first appearance, ``n/a`` last."""
    rank = {name: i for i, name in enumerate(colour_of(networks))}
    return np.argsort([rank[each] for each in networks], kind="stable")


@themed
def carpet(name: str, signal: Floats, networks: tuple[str, ...], tr_s: float | None) -> Markup:
    """Draw every parcel's series, z-scored for display, as one grey image.

    Parameters
    ----------
    name
        Unique name of the figure in the page.
    signal
        (time, parcel), NaN where a parcel has no data.
    networks
        (parcel,) network of each parcel.
    tr_s
        Repetition time in seconds, None when unknown.

    Returns
    -------
    Markup
        Inline SVG.
    """
    order = network_order(networks)
    image = _z_scores(signal)[:, order].T
    step = -(-image.shape[1] // _MAX_COLUMNS)
    figure = Figure(figsize=(9.4, 3.3))
    bar, axes = figure.subplots(1, 2, width_ratios=[1, 60])
    n_volumes = len(signal)
    end = n_volumes * tr_s if tr_s else n_volumes
    grey = mpl.colormaps["gray"].with_extremes(bad="#f2d7a6")
    axes.imshow(
        image[:, ::step],
        aspect="auto",
        cmap=grey,
        vmin=-_Z_LIMIT,
        vmax=_Z_LIMIT,
        interpolation="none",
        extent=(0, end, len(image), 0),
    )
    plain_axes(axes, "Time (s)" if tr_s else "Volume", "")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    _draw_networks(bar, [networks[i] for i in order])
    return inline_svg(
        figure, name, f"Carpet plot: {len(image)} parcels by {n_volumes} volumes, by network."
    )


@themed
def connectome(name: str, matrix: Floats, networks: tuple[str, ...], measure: str) -> Markup:
    """Draw a connectivity matrix with its parcels ordered by network, missing parcels grey.

    Parameters
    ----------
    name
        Unique name of the figure in the page.
    matrix
        (parcel, parcel), NaN at missing parcels.
    networks
        (parcel,) network of each parcel.
    measure
        Written beside the colour bar.

    Returns
    -------
    Markup
        Inline SVG.
    """
    order = network_order(networks)
    ordered = [networks[i] for i in order]
    figure = Figure(figsize=(5.6, 4.2))
    bar, axes = figure.subplots(1, 2, width_ratios=[1, 32])
    image = axes.imshow(
        matrix[np.ix_(order, order)],
        aspect="auto",  # so that the networks beside it keep their place
        cmap=mpl.colormaps["RdBu_r"].with_extremes(bad=GREY),
        vmin=-1,
        vmax=1,
        interpolation="none",
    )
    for edge in _block_edges(ordered)[1:-1]:
        axes.axhline(edge - 0.5, color="#00000066", linewidth=0.4)
        axes.axvline(edge - 0.5, color="#00000066", linewidth=0.4)
    axes.set_axis_off()
    _draw_networks(bar, ordered)
    scale = figure.colorbar(image, ax=axes, shrink=0.5, aspect=24, ticks=[-1, 0, 1])
    scale.outline.set_visible(False)
    scale.ax.tick_params(length=0)
    scale.set_label(measure, color=MUTED)
    missing = int(np.isnan(matrix).all(axis=0).sum())
    return inline_svg(
        figure, name, f"Connectivity of {len(matrix)} parcels by network; {missing} are missing."
    )


@themed
def coverage_histogram(name: str, coverage: Floats, min_coverage: float | None) -> Markup:
    """Draw how many parcels hold which share of their voxels.

    Parameters
    ----------
    name
        Unique name of the figure in the page.
    coverage
        (parcel,) share of the parcel's voxels that hold data, 0 to 1.
    min_coverage
        Share below which a parcel is missing, None when it was not written.

    Returns
    -------
    Markup
        Inline SVG.
    """
    figure = Figure(figsize=(3.6, 2.6))
    axes = figure.subplots()
    axes.hist(coverage * 100, bins=list(range(0, 101, 5)), color=ACCENT, rwidth=0.86)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.yaxis.set_minor_locator(NullLocator())
    if min_coverage is not None:
        axes.axvline(min_coverage * 100, color=SECOND, linestyle=(0, (4, 2)))
    axes.set_xlim(0, 100)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    plain_axes(axes, "Voxels with data (%)", "Parcels")
    return inline_svg(figure, name, f"Histogram of coverage over {len(coverage)} parcels.")


def _z_scores(signal: Floats) -> Floats:
    """Each parcel's z-score over time; a parcel without variance stays NaN."""
    spread = signal.std(axis=0)
    z: Floats = (signal - signal.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    return z


def _block_edges(ordered: list[str]) -> list[int]:
    sizes = [len(list(members)) for _, members in groupby(ordered)]
    return [0, *np.cumsum(sizes).tolist()]


def _draw_networks(axes: Axes, ordered: list[str]) -> None:
    """Draw a column of network colours with the names of the larger blocks beside it."""
    colours = colour_of(ordered)
    axes.imshow(rgb_column(colours[each] for each in ordered), aspect="auto", interpolation="none")
    edges = _block_edges(ordered)
    middles = [(a + b - 1) / 2 for a, b in pairwise(edges)]
    names = [name for name, _ in groupby(ordered)]
    axes.set_yticks(middles, names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)

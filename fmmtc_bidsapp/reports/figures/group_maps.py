"""Glass brains and axial slices of parcel maps, with a watermark where nothing is supported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import matplotlib as mpl
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from nibabel.processing import resample_from_to
from nilearn.datasets import load_mni152_template
from nilearn.plotting.glass_brain import plot_brain_schematics
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.data.group_places import Places
from fmmtc_bidsapp.reports.figures.style import GREY, INK, MUTED, colour_bar, themed

__all__ = [
    "ABOVE",
    "Glass",
    "Slices",
    "View",
    "draw_brain",
    "glass_figure",
    "largest_amount",
    "name_view",
    "slices_figure",
    "top_parcels",
    "watermark",
]

Floats = NDArray[np.float64]

_DIRECTIONS = LinearSegmentedColormap.from_list("directions", ["#c27a00", "#a5a5a5", "#0072b2"])
"""Orange against to blue for the positive outcome; the grey between shows on either page."""
_LARGEST_POINTS2 = 110.0
_SHOWN_SHARE = 0.1
"""Of the parcels, how many are drawn by size; the others are dots."""


class View(NamedTuple):
    """A side from which a glass brain is seen."""

    direction: str
    title: str
    across: int
    up: int
    """Axis of the coordinates that runs over the page, and up it."""
    side: int
    """Sign of x of the parcels that are shown; 0 for all."""


_LEFT, ABOVE = View("l", "left", 1, 2, -1), View("z", "from above", 0, 1, 0)
_BEHIND, _RIGHT = View("y", "from behind", 0, 2, 0), View("r", "right", 1, 2, 1)
_VIEWS = (_LEFT, _BEHIND, ABOVE, _RIGHT)
_WIDTHS_MM = (180, 146, 146, 180)
_TALLEST_MM = 182
_TITLE_IN = 0.2
_DARK = 0.2
"""Brightness below which nilearn draws the rim of the brain, and grey folds above."""


@dataclass(frozen=True, eq=False)
class Glass:
    """A row of glass brains."""

    title: str
    amount: Floats
    """(parcel,) |attribution|, over the mean of all parcels; NaN where there is none."""
    direction: Floats
    """(parcel,) signed over absolute, -1 to 1; NaN throughout for a map that has no sign."""
    z: Floats
    """(parcel,) NaN where there were no null maps."""
    z_limit: float
    """Of `fmmtc_bidsapp.reports.text.explanation_data`: beyond it a parcel has a ring."""


def watermark(figure: Figure, text: str) -> None:
    """Write across a figure what must not be lost when it is copied; nothing for an empty text."""
    if not text:
        return
    width_in, height_in = figure.get_size_inches()
    angle = min(np.degrees(np.arctan2(height_in, width_in)), 24.0)
    room_pt = 72 * min(width_in / np.cos(np.radians(angle)), width_in * 1.04)
    size = min(room_pt / (0.62 * len(text)), 34.0)
    figure.text(
        0.5, 0.5, text, color=INK, alpha=0.42, fontsize=size, fontweight="bold", rotation=angle,
        ha="center", va="center", zorder=100,
    )  # fmt: skip


@themed
def glass_figure(
    rows: Sequence[Glass], places: Places, mark: str = "", largest: float | None = None
) -> Figure:
    """Draw maps in glass brains, four views a row.

    Discs are the largest tenth of parcels, colour is the direction, a ring |z| beyond its limit.
    ``largest`` is the amount of the largest disc, shared by the figures of a page.
    """
    signed = any(np.isfinite(row.direction).any() for row in rows)
    across_in = 8.2 if signed else 9.2
    row_in = _TITLE_IN + across_in * _TALLEST_MM / sum(_WIDTHS_MM)
    figure = Figure(figsize=(9.4, 0.5 + row_in * len(rows)))
    grid = figure.subplots(len(rows), len(_VIEWS), squeeze=False, width_ratios=_WIDTHS_MM)
    if largest is None:
        largest = largest_amount(rows)
    for line, row in zip(grid, rows, strict=True):
        for axes, view in zip(line, _VIEWS, strict=True):
            draw_brain(axes, view)
            _draw_parcels(axes, view, row, places, largest)
        line[0].set_title(row.title)
    for axes, view in zip(grid[-1], _VIEWS, strict=True):
        name_view(axes, view)
    _glass_legend(figure, rows, largest)
    if signed:
        ends = {-1.0: "other", 0.0: "mixed", 1.0: "positive"}
        shades = ScalarMappable(Normalize(-1, 1), _DIRECTIONS)
        length = 0.8 / len(rows) ** 0.5
        colour_bar(shades, list(grid.ravel()), ends, "Favours the outcome", shrink=length)
    for axes in grid.ravel():
        axes.set_anchor("S")  # a colour bar moves it
    watermark(figure, mark)
    return figure


def largest_amount(rows: Sequence[Glass]) -> float:
    """Find the amount that the largest disc of some maps stands for."""
    return max((float(np.nanmax(row.amount)) for row in rows), default=1.0)


def draw_brain(axes: Axes, view: View) -> None:
    """Draw the outline of a brain in mm, in two colours that follow the page."""
    (left, right, bottom, top), rim, folds = _outlines(view.direction)
    common = {"fill": False, "zorder": 1}
    axes.add_patch(PathPatch(rim, edgecolor=MUTED, linewidth=0.8, **common))
    axes.add_patch(PathPatch(folds, edgecolor=GREY, linewidth=0.4, alpha=0.6, **common))
    axes.set_xlim(*((right, left) if view.direction == "l" else (left, right)))
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal", anchor="S")
    axes.set_axis_off()


@cache
def _outlines(direction: str) -> tuple[tuple[float, ...], Outline, Outline]:
    """Bounds in mm, and nilearn's hundreds of strokes as two paths: a fifth of the bytes."""
    axes = Figure().subplots()
    bounds = plot_brain_schematics(axes, direction)
    strokes: dict[bool, list[Outline]] = {True: [], False: []}
    for each in axes.patches:
        placed = (each.get_transform() - axes.transData).transform_path(each.get_path())
        is_rim = max(to_rgb(each.get_edgecolor())) < _DARK
        strokes[is_rim].append(placed)
    rim, folds = (Outline.make_compound_path(*strokes[each]) for each in (True, False))
    return bounds, rim, folds


def name_view(axes: Axes, view: View) -> None:
    """Write below a brain from where it is seen."""
    place = axes.transAxes
    axes.text(0.5, -0.02, view.title, color=MUTED, ha="center", va="top", transform=place)


def _draw_parcels(axes: Axes, view: View, row: Glass, places: Places, largest: float) -> None:
    xyz_mm = places.xyz_mm
    here = np.isfinite(xyz_mm).all(axis=1) & (view.side * xyz_mm[:, 0] >= 0)
    large = here & top_parcels(row.amount)
    rest = here & ~large
    axes.scatter(
        xyz_mm[rest, view.across], xyz_mm[rest, view.up], s=3, color=GREY, alpha=0.55,
        linewidths=0, zorder=2, rasterized=True,
    )  # fmt: skip
    order = np.flatnonzero(large)[np.argsort(-row.amount[large], kind="stable")]
    known = np.isfinite(row.direction[order])
    shade = np.where(known, np.clip(row.direction[order], -1, 1), 0)
    colours = _DIRECTIONS(Normalize(-1, 1)(shade)) if known.any() else "#009E73"
    ringed = np.abs(row.z[order]) > row.z_limit
    axes.scatter(
        xyz_mm[order, view.across], xyz_mm[order, view.up], zorder=3,
        s=_LARGEST_POINTS2 * row.amount[order] / largest, c=colours,
        edgecolors=INK, linewidths=np.where(ringed, 1.5, 0.0).tolist(),
    )  # fmt: skip


def top_parcels(amount: Floats) -> NDArray[np.bool_]:
    """(parcel,) whether it is of the tenth with the largest values."""
    known = np.isfinite(amount)
    n = max(round(_SHOWN_SHARE * known.sum()), 1)
    chosen = np.zeros(len(amount), dtype=bool)
    chosen[np.argsort(np.where(known, -amount, np.inf), kind="stable")[:n]] = True
    return chosen & known


def _glass_legend(figure: Figure, rows: Sequence[Glass], largest: float) -> None:
    sizes = [largest, largest / 2, largest / 4]
    plain: dict[str, Any] = {"linestyle": "", "marker": "o"}
    handles = [
        Line2D([], [], color=MUTED, markeredgewidth=0, label=f"{each:.2g} × average",
               markersize=float(np.sqrt(_LARGEST_POINTS2 * each / largest)), **plain)
        for each in sizes
    ]  # fmt: skip
    handles.append(
        Line2D([], [], color=GREY, markeredgewidth=0, markersize=2, label="the other 90 %", **plain)
    )
    limits = [row.z_limit for row in rows if (np.abs(row.z) > row.z_limit).any()]
    if limits:
        beyond = " and ".join(dict.fromkeys(f"{each:.2f}" for each in sorted(limits)))
        handles.append(
            Line2D([], [], color="none", markeredgecolor=INK, markeredgewidth=1.5, markersize=8,
                   label=f"|z| > {beyond}, uncorrected", **plain)
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


_AMOUNTS = LinearSegmentedColormap.from_list(
    "amounts", mpl.colormaps["plasma"](np.linspace(0.1, 0.92, 32)), N=32
)
_N_SLICES = 7
_CUT_SHARES = (0.16, 0.88)
"""Of the height of the parcels, between which the slices lie: nearer its ends there is little."""
_LIMIT_PERCENTILE = 99.5
_MARGIN = 2
_GAP = 2
"""Voxels around the parcels of a slice, and between slices."""
_GREYS = 48


@dataclass(frozen=True, eq=False)
class Slices:
    """A row of axial slices."""

    title: str
    amount: Any
    """Image of |attribution| over the mean of all parcels; NaN where there is none."""


@themed
def slices_figure(rows: Sequence[Slices], mark: str = "") -> Figure:
    """Draw maps on seven axial slices a row over nilearn's MNI152 template, right at the right."""
    images = [nib.as_closest_canonical(row.amount) for row in rows]
    amounts = [np.asarray(each.get_fdata(), dtype=np.float64) for each in images]
    window, cuts = _cuts(np.any([np.isfinite(each) for each in amounts], axis=0))
    values = np.concatenate([each[np.isfinite(each)] for each in amounts])
    limit = float(np.percentile(values, _LIMIT_PERCENTILE) or values.max()) or 1.0
    scale = Normalize(0, limit)
    template = _anatomy(images[0])
    zooms_mm = images[0].header.get_zooms()
    width, height = (each.stop - each.start for each in window)
    row_in = 8.5 * height * zooms_mm[1] / (len(cuts) * (width + _GAP) * zooms_mm[0])
    figure = Figure(figsize=(9.4, 0.35 + (row_in + 0.25) * len(rows)))
    grid = figure.subplots(len(rows), 1, squeeze=False).ravel()
    for axes, row, amount in zip(grid, rows, amounts, strict=True):
        for place, cut in enumerate(cuts):
            left = place * (width + _GAP)
            extent = (left, left + width, 0, height)
            _show(axes, _greys(template[(*window, cut)].T), extent)
            _show(axes, _coloured(amount[(*window, cut)].T, scale), extent)
        axes.set_xlim(0, len(cuts) * (width + _GAP) - _GAP)
        axes.set_ylim(0, height)
        axes.set_aspect(zooms_mm[1] / zooms_mm[0])
        axes.set_axis_off()
        axes.set_title(row.title)
    _name_slices(grid[-1], cuts, images[0].affine, (width, height))
    average = {1.0: "1"} if 0.15 < 1 / limit < 0.9 else {}  # where it keeps clear of the ends
    # The few values beyond the scale have the colour of its end.
    most = "≥ " if values.max() > limit else ""
    ends = {0.0: "0", **average, limit: f"{most}{limit:.2g}"}
    shades = ScalarMappable(scale, _AMOUNTS)
    colour_bar(shades, list(grid), ends, "|attribution| (× average)", shrink=0.9)
    watermark(figure, mark)
    return figure


def _name_slices(axes: Axes, cuts: Sequence[int], affine: Floats, size: tuple[int, int]) -> None:
    width, height = size
    for place, cut in enumerate(cuts):
        mm = round(affine[2, 3] + cut * affine[2, 2])
        text = f"z = {mm} mm".replace("-", "−")
        middle = place * (width + _GAP) + width / 2
        axes.text(middle, -0.03 * height, text, color=MUTED, ha="center", va="top")


def _anatomy(grid: Any) -> Floats:
    """Resample the template to a grid, scaled from 0 outside the head to 1."""
    template = load_mni152_template(resolution=2)
    placed = resample_from_to(template, (grid.shape[:3], grid.affine), order=1)
    values = np.asarray(placed.get_fdata(dtype=np.float32), dtype=np.float64)
    return values / (float(values.max()) or 1.0)


def _cuts(inside: NDArray[np.bool_]) -> tuple[tuple[slice, slice], list[int]]:
    """Part of a slice that is shown, and slices at even steps through the parcels."""
    x, y, z = (np.flatnonzero(inside.any(axis=each))[[0, -1]] for each in ((1, 2), (0, 2), (0, 1)))
    window = (
        slice(max(x[0] - _MARGIN, 0), min(x[1] + 1 + _MARGIN, inside.shape[0])),
        slice(max(y[0] - _MARGIN, 0), min(y[1] + 1 + _MARGIN, inside.shape[1])),
    )
    low, high = (z[0] + share * (z[1] - z[0]) for share in _CUT_SHARES)
    return window, sorted({round(each) for each in np.linspace(low, high, _N_SLICES)})


def _greys(plane: Floats) -> Floats:
    shades: Floats = mpl.colormaps["gray"].resampled(_GREYS)(0.15 + 0.75 * np.clip(plane, 0, 1))
    shades[plane < 0.05, 3] = 0
    return shades


def _coloured(plane: Floats, scale: Normalize) -> Floats:
    """Colour the parcels, opaque: mixed with the anatomy they would match no colour of the bar."""
    image: Floats = _AMOUNTS(np.clip(scale(np.nan_to_num(plane)), 0, 1))
    image[..., 3] = np.isfinite(plane)
    return image


def _show(axes: Axes, image: Floats, extent: tuple[float, float, float, float]) -> None:
    axes.imshow(image, origin="lower", interpolation="none", extent=extent, aspect="auto")

"""Parcel outlines and coverage of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.data.label_volume import LabelVolume, read_from_the_front
from fmmtc_bidsapp.reports.figures.style import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    SECOND,
    colour_bar,
    colour_of,
    plain_axes,
    themed,
)

__all__ = ["coverage_figure", "outline_figure", "outline_image"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FINE = 3
"""Pixels a voxel is drawn with, so that an outline is thinner than a voxel."""
_MISSING = "#d55e00"
_SHADES = 64
_SHARES = LinearSegmentedColormap.from_list("shares", ["#08306b", "#2171b5", "#6baed6", "#c6dbef"])
"""Dark for no data to pale for all: blue, so that orange stands out for what is missing."""
_MARGIN = 3
"""Voxels that are shown around the parcels."""


@dataclass(frozen=True, eq=False)
class _Cut:
    """A plane through the volume."""

    axis: int
    index: int
    title: str
    window: tuple[slice, slice, slice]
    """Part of the volume that is shown."""
    size_mm: Floats
    """(3,) of that part"""

    @property
    def shown_mm(self) -> Floats:
        """(width, height) on the page."""
        return np.delete(self.size_mm, self.axis)


@themed
def outline_figure(
    volume: LabelVolume, networks: tuple[str, ...], boldref: Path | None
) -> tuple[Figure, str]:
    """Draw parcel outlines by network on the reference volume, if any; with a text description."""
    rows = [_cuts(volume, 2, 6), [*_cuts(volume, 0, 3), *_cuts(volume, 1, 3)]]
    reference = None if boldref is None else _on_grid(boldref, volume.image)
    figure, grid = _rows_of_cuts(rows)
    for axes, cut in zip(grid, [cut for row in rows for cut in row], strict=True):
        if reference is not None:
            _show(axes, _greys(_plane(reference, cut) / _bright(reference)), cut, "none")
        plane = _plane(volume.labels, cut)
        # Smoothly: an outline is thinner than a pixel of the page.
        _show(axes, outline_image(plane, networks, filled=reference is None), cut, "auto")
        axes.set_title(cut.title, loc="center", fontsize=8, fontweight="normal", color=MUTED)
    colours = {name: colour for name, colour in colour_of(networks).items() if name in networks}
    figure.legend(
        handles=[Patch(facecolor=colour, label=name) for name, colour in colours.items()],
        loc="outside lower center", ncols=min(len(colours), 8), handlelength=1, handleheight=0.8,
        columnspacing=1.3,
    )  # fmt: skip
    if reference is None:
        figure.suptitle("No boldref in this space: labels only", color=INK, fontsize=9)
    on = "alone: no boldref in this space" if reference is None else "on the BOLD reference"
    return figure, f"Outlines of {len(networks)} parcels, coloured by network, {on}."


def _rows_of_cuts(rows: Sequence[Sequence[_Cut]]) -> tuple[Figure, list[Axes]]:
    """Arrange rows of cuts, one scale per row."""
    widths = [[cut.shown_mm[0] for cut in row] for row in rows]
    heights_in = [
        9.4 * max(cut.shown_mm[1] for cut in row) / sum(width)
        for row, width in zip(rows, widths, strict=True)
    ]
    figure = Figure(figsize=(9.4, sum(heights_in) + 0.75))
    grid = figure.add_gridspec(len(rows), 1, height_ratios=heights_in)
    inner = [grid[i].subgridspec(1, len(row), width_ratios=widths[i]) for i, row in enumerate(rows)]
    return figure, [figure.add_subplot(each[0, i]) for each in inner for i in range(each.ncols)]


def outline_image(plane: Ints, networks: tuple[str, ...], *, filled: bool) -> Floats:
    """Return (3 row, 3 column, 4) RGBA of the parcel borders in a plane (row, column)."""
    colours = colour_of(networks)
    palette = np.array([(0, 0, 0, 0), *(to_rgba(colours[each]) for each in networks)])
    fine = np.kron(plane, np.ones((_FINE, _FINE), dtype=np.int64))
    padded = np.pad(fine, 1)
    neighbours = [padded[1:-1, 2:], padded[2:, 1:-1]]
    outer = [padded[1:-1, :-2], padded[:-2, 1:-1]]
    # Between two parcels one of them draws the line; at the rim of all the parcel itself does.
    edge = np.any([fine != each for each in neighbours], axis=0)
    edge |= np.any([(each == 0) & (fine > 0) for each in outer], axis=0)
    image: Floats = palette[fine]
    image[~edge, 3] *= 0.3 if filled else 0
    return image


@themed
def coverage_figure(
    coverage: Floats,
    missing: NDArray[np.bool_],
    min_coverage: float | None,
    volume: LabelVolume | None,
) -> tuple[Figure, str]:
    """Draw the share of each parcel with data (parcel,); with a text description."""
    alt = f"Histogram of coverage over {len(coverage)} parcels, {int(missing.sum())} missing."
    if volume is None:
        figure = Figure(figsize=(4.6, 2.6))
        _histogram(figure.subplots(), coverage, min_coverage)
        return figure, alt
    figure = Figure(figsize=(9.4, 3.1))
    halves = figure.add_gridspec(1, 2, width_ratios=[2.5, 1])
    left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    colours = _coverage_colours(coverage, missing)
    grid = left.subplots(2, 4)
    for axes, cut in zip(grid.ravel(), _cuts(volume, 2, 8), strict=True):
        _show(axes, colours[_plane(volume.labels, cut)], cut, "none")
        axes.set_title(cut.title, loc="center", fontsize=8, fontweight="normal", color=MUTED)
    _coverage_scale(left, grid, any_missing=bool(missing.any()))
    _histogram(right.subplots(), coverage, min_coverage)
    return figure, f"Coverage of each parcel on the brain. {alt}"


def _coverage_colours(coverage: Floats, missing: NDArray[np.bool_]) -> Floats:
    """(1 + parcel, 4) RGBA of each row, the first for outside."""
    shades = _SHARES.with_extremes(bad=_MISSING)(np.ma.masked_invalid(coverage))
    shades[missing] = to_rgba(_MISSING)
    return np.vstack([np.zeros((1, 4)), shades])


def _coverage_scale(figure: Any, grid: Any, *, any_missing: bool) -> None:
    shades = ScalarMappable(Normalize(0, 100), _SHARES)
    ends = {0.0: "0", 50.0: "50", 100.0: "100"}
    colour_bar(shades, list(grid.ravel()), ends, "Volume with data (%)", shrink=0.75)
    if any_missing:
        figure.legend(
            handles=[Patch(facecolor=_MISSING, label="missing: n/a throughout")],
            loc="outside lower left", handlelength=1, handleheight=0.8,
        )  # fmt: skip


def _histogram(axes: Axes, coverage: Floats, min_coverage: float | None) -> None:
    known = coverage[np.isfinite(coverage)]
    axes.hist(known * 100, bins=list(range(0, 101, 5)), color=ACCENT, rwidth=0.86)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.yaxis.set_minor_locator(NullLocator())
    if min_coverage is not None:
        axes.axvline(min_coverage * 100, color=SECOND, linestyle=(0, (4, 2)))
    axes.set_xlim(0, 100)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    plain_axes(axes, "Volume with data (%)", "Parcels")


def _on_grid(path: Path, grid: Any) -> Floats:
    """Resample a reference volume to the grid of the labels."""
    image = read_from_the_front(path)
    if image.shape[:3] != grid.shape[:3] or not np.allclose(image.affine, grid.affine, atol=1e-3):
        image = resample_from_to(image, (grid.shape[:3], grid.affine), order=1)
    return np.nan_to_num(np.asarray(image.get_fdata(dtype=np.float32), dtype=np.float64))


def _bright(reference: Floats) -> float:
    inside = reference[reference > 0]
    return float(np.percentile(inside, 99.5)) if inside.size else 1.0


def _cuts(volume: LabelVolume, axis: int, n: int) -> list[_Cut]:
    """Planes at even steps through the labelled part of the volume."""
    x, y, z = (_filled(volume.labels, each) for each in range(3))
    window = (x, y, z)
    first, last = window[axis].start + _MARGIN, window[axis].stop - 1 - _MARGIN
    places = np.rint(np.linspace(first, last, n + 2)[1:-1]).astype(int)
    size_mm = np.array([each.stop - each.start for each in window]) * volume.zooms_mm
    step, origin = volume.image.affine[axis, axis], volume.image.affine[axis, 3]
    return [
        _Cut(axis, int(i), f"{'xyz'[axis]} = {_signed(origin + i * step)}", window, size_mm)
        for i in places
    ]


def _filled(labels: Ints, axis: int) -> slice:
    """Stretch along an axis that holds parcels, with a margin; all of it where there are none."""
    others = tuple(each for each in range(3) if each != axis)
    filled = np.flatnonzero(labels.any(axis=others))
    if not filled.size:
        return slice(0, labels.shape[axis])
    return slice(max(filled[0] - _MARGIN, 0), min(filled[-1] + 1 + _MARGIN, labels.shape[axis]))


def _signed(mm: float) -> str:
    return f"{round(mm)}".replace("-", "−")


def _greys(plane: Floats) -> Floats:
    shades: Floats = mpl.colormaps["gray"].resampled(_SHADES)(np.clip(plane, 0, 1))
    return shades


def _plane(volume: NDArray[Any], cut: _Cut) -> NDArray[Any]:
    """(up, right) of the page, as far as there are parcels."""
    shown = [each for axis, each in enumerate(cut.window) if axis != cut.axis]
    plane: NDArray[Any] = np.take(volume, cut.index, axis=cut.axis)[tuple(shown)]
    return plane.T


def _show(axes: Axes, image: NDArray[Any], cut: _Cut, interpolation: str) -> None:
    extent = (0, cut.shown_mm[0], 0, cut.shown_mm[1])
    axes.imshow(image, origin="lower", interpolation=interpolation, extent=extent)
    axes.set_axis_off()

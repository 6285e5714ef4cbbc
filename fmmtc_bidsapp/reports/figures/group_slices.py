"""Parcel maps on axial slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from nibabel.processing import resample_from_to
from nilearn.datasets import load_mni152_template
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.figures.group_maps import watermark
from fmmtc_bidsapp.reports.figures.style import MUTED, colour_bar, themed

__all__ = ["Slices", "slices_figure"]

Floats = NDArray[np.float64]

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
    """Bring the template onto a grid: 0 outside the head, 1 at the brightest."""
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

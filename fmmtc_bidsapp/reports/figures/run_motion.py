"""Figures of head motion and confound regressors of one run."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fmmtc_bidsapp.reports.data.run_tables import Motion
from fmmtc_bidsapp.reports.figures.style import (
    ACCENT,
    GREY,
    INK,
    LINE,
    MUTED,
    SECOND,
    colour_bar,
    plain_axes,
    themed,
)

__all__ = ["design_figure", "left_out_legend", "motion_figure"]

Floats = NDArray[np.float64]

_SHADES = 64
_FEW = 32
_ALL_NAMES = 150
"""More regressors than this are drawn without their names, which stand below the picture."""


@themed
def motion_figure(motion: Motion) -> tuple[Figure, str]:
    """Draw framewise displacement, DVARS and excluded volumes; with a text description."""
    panels = [
        ("Framewise displacement", "mm", motion.fd_mm, motion.fd_threshold_mm),
        ("Standardised DVARS", "", motion.std_dvars, motion.std_dvars_threshold),
    ]
    shown = [panel for panel in panels if np.isfinite(panel[2]).any()]
    figure = Figure(figsize=(9.4, 0.6 + 1.45 * len(shown)))
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, unit, values, limit) in zip(rows, shown, strict=True):
        _shade(axes, motion.dummy, GREY)
        _shade(axes, motion.censored, SECOND)
        axes.plot(np.arange(len(values)), values, color=ACCENT, linewidth=1.1)
        if limit is not None:
            axes.axhline(limit, color=MUTED, linestyle=(0, (4, 2)), linewidth=1)
            _name_limit(axes, limit, f"threshold {limit:g}{' ' + unit if unit else ''}")
        axes.set_title(title)
        axes.set_ylim(0, max(np.nanmax(values), 1.25 * (limit or 0)) * 1.06)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        plain_axes(axes, "", unit)
    rows[0].set_xlim(-0.5, len(motion.dummy) - 0.5)
    rows[-1].set_xlabel("Volume")
    left_out_legend(rows[0], motion.dummy, motion.censored)
    left_out = f"{int(motion.censored.sum())} censored, {int(motion.dummy.sum())} dummy volumes"
    return figure, f"Head motion over {len(motion.dummy)} volumes; {left_out}."


def left_out_legend(axes: Axes, dummy: NDArray[np.bool_], censored: NDArray[np.bool_]) -> None:
    """Draw a legend of excluded volumes above a panel."""
    kinds = ((SECOND, censored, "censored"), (GREY, dummy, "dummy"))
    handles = [
        Patch(facecolor=colour, alpha=0.55, label=f"{int(flags.sum())} {name}")
        for colour, flags, name in kinds
        if flags.any()
    ]
    if handles:
        axes.legend(
            handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0,
            borderaxespad=0.2, handlelength=1, handleheight=0.8,
        )  # fmt: skip


def _shade(axes: Axes, flags: NDArray[np.bool_], colour: str) -> None:
    """Shade stretches of volumes, one rectangle each."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        axes.axvspan(start - 0.5, end - 0.5, color=colour, alpha=0.35, linewidth=0)


def _name_limit(axes: Axes, limit: float, text: str) -> None:
    axes.annotate(
        text, (1, limit), xycoords=("axes fraction", "data"), xytext=(-3, 2),
        textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=7.5,
    )  # fmt: skip


@themed
def design_figure(design: pd.DataFrame, mean_signal: Floats) -> tuple[Figure, str]:
    """Draw the correlations of regressors (time, regressor) and of the mean parcel (time,).

    Nireports' plot of the same name labels every other regressor only and needs a column
    ``global_signal``.
    """
    names = [str(each) for each in design.columns]
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant regressor has no r
        both = np.column_stack([design.to_numpy(dtype=float), mean_signal])
        # Volumes that are dropped at the start may lack values.
        r = np.corrcoef(both[np.isfinite(both).all(axis=1)].T)
    size = max(2.6, _row_height_in(len(names)) * min(len(names), _ALL_NAMES))
    figure = Figure(figsize=(9.4, size + 0.5))
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1], sharey=True)
    image = left.imshow(
        r[:-1, :-1],
        cmap=mpl.colormaps["RdBu_r"].resampled(_SHADES).with_extremes(bad=GREY),
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="none",
    )
    _name_regressors(left, names)
    left.set_title("Between regressors")
    left.spines[:].set_visible(False)
    colour_bar(image, left, {-1: "−1", 0: "0", 1: "1"}, "correlation")
    right.barh(np.arange(len(names)), r[:-1, -1], height=0.7, color=ACCENT)
    right.axvline(0, color=INK, linewidth=0.6)
    right.set_xlim(-1, 1)
    right.set_title("With the mean parcel signal")
    right.grid(axis="x", color=LINE, linewidth=0.6)
    right.set_axisbelow(True)
    right.spines[["left"]].set_visible(False)
    plain_axes(right, "correlation before cleaning", "")
    right.tick_params(labelleft=False)
    return figure, f"Correlation of {len(names)} regressors with each other and the mean signal."


def _row_height_in(n_regressors: int) -> float:
    return 0.145 if n_regressors <= _FEW else 0.105


def _name_regressors(axes: Axes, names: list[str]) -> None:
    axes.tick_params(length=0)
    axes.set_xticks([])
    shown = names if len(names) <= _ALL_NAMES else []
    size = 7.5 if len(names) <= _FEW else 6.3
    axes.set_yticks(range(len(shown)), [_shortened(each) for each in shown], fontsize=size)


def _shortened(name: str, longest: int = 30) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"

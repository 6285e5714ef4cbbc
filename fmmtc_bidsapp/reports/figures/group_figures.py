"""Curves of a group report."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fmmtc_bidsapp.reports.figures.group_bands import Band
from fmmtc_bidsapp.reports.figures.style import (
    ACCENT,
    CATEGORICAL,
    DASHED,
    INK,
    LINE,
    MUTED,
    NEGATIVE,
    POSITIVE,
    SECOND,
    inline_svg,
    plain_axes,
    themed,
)

__all__ = [
    "learning_curves",
    "mean_curves",
    "motion_scatter",
    "precision_recall",
    "probabilities",
    "qcfc_by_distance",
    "reliability",
    "roc",
]

_MODEL_COLOURS = (ACCENT, SECOND, CATEGORICAL[3], CATEGORICAL[2])


@themed
def roc(curves: pd.DataFrame, names: Mapping[str, str], band: Band | None) -> Markup:
    """Draw the mean ROC curve of each model, and in grey the folds of the main (first) one."""
    figure, axes = _square_axes()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
    _shade(axes, band)
    _plot_models(axes, curves[curves["kind"] == "roc"], names, drawstyle="default")
    axes.legend(loc="lower right")
    plain_axes(axes, "False positive rate", "True positive rate")
    return inline_svg(figure, "roc", f"ROC curves of {_listed(names)}; the diagonal is chance.")


@themed
def precision_recall(
    curves: pd.DataFrame, names: Mapping[str, str], band: Band | None, prevalence: float | None
) -> Markup:
    """Draw precision against recall, with the prevalence as the line of chance.

    The curve rises in recall, and a value holds for the step that leads to it.
    """
    figure, axes = _square_axes()
    if prevalence is not None:
        axes.axhline(prevalence, color=MUTED, linewidth=1, linestyle=DASHED)
    _shade(axes, band)
    _plot_models(axes, curves[curves["kind"] == "pr"], names, drawstyle="steps-pre")
    axes.legend(loc="lower left")
    plain_axes(axes, "Recall (sensitivity)", "Precision")
    return inline_svg(figure, "precision-recall", f"Precision-recall curves of {_listed(names)}.")


@themed
def reliability(bins: pd.DataFrame, model: str) -> Markup:
    """Draw observed share against predicted probability, before and after calibration."""
    figure, axes = _square_axes()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
    styles = {"before": (SECOND, "s", -0.006), "after": (ACCENT, "o", 0.006)}
    for stage, (colour, marker, shift) in styles.items():
        points = bins[(bins["model"] == model) & (bins["stage"] == stage)]
        if points.empty:
            continue
        x = points["mean_probability"] + shift  # apart, so that equal points both show
        axes.vlines(x, points["low"], points["high"], color=colour, linewidth=1, alpha=0.6)
        axes.plot(x, points["observed_share"], color=colour, marker=marker, label=stage)
    axes.legend(loc="upper left", title=None)
    plain_axes(axes, "Predicted probability", "Observed share of positives")
    return inline_svg(figure, "reliability", "Reliability before and after calibration.")


@themed
def probabilities(people: pd.DataFrame, groups: Mapping[str, str], threshold: float) -> Markup:
    """Draw each participant's probability as a dot, one row of dots per outcome."""
    figure = Figure(figsize=(9.4, 0.8 + 0.95 * len(groups)))
    axes = figure.subplots()
    axes.axvline(threshold, color=MUTED, linewidth=1, linestyle=DASHED)
    colours = dict(zip(("1", "0"), (POSITIVE, NEGATIVE), strict=True))
    for place, group in enumerate(groups):
        x = np.sort(people.loc[people["group"] == group, "probability"].dropna().to_numpy())
        colour = colours.get(group, ACCENT)
        axes.scatter(x, place + _beeswarm(x), s=26, color=colour, alpha=0.75, linewidths=0)
        if len(x):
            axes.plot([np.median(x)] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.2)
    axes.set_yticks(range(len(groups)), list(groups.values()))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.spines["left"].set_visible(False)
    plain_axes(axes, "Predicted probability; dashed: threshold, bar: median of the row", "")
    axes.tick_params(axis="y", labelcolor=INK)
    return inline_svg(figure, "probabilities", "Predicted probability of each participant.")


@themed
def learning_curves(learning: pd.DataFrame) -> Markup:
    """Draw each fold's losses by epoch, with a dot at the epoch the inner folds chose."""
    every = learning.assign(**{each: learning[each].astype(int) for each in ("repeat", "fold")})
    folds = list(every.groupby(["repeat", "fold"], sort=True))[:_MAX_PANELS]
    columns = min(5, len(folds))
    rows = -(-len(folds) // columns)
    figure = Figure(figsize=(9.4, 0.7 + 1.7 * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes, ((repeat, fold), curve) in zip(panels, folds, strict=False):
        axes.plot(curve["epoch"], curve["train_loss"], color=SECOND, linewidth=1.1, label="refit")
        axes.plot(curve["epoch"], curve["validation_loss"], color=ACCENT, label="inner validation")
        chosen = curve[curve["chosen"]]
        axes.plot(chosen["epoch"], chosen["validation_loss"], "o", color=ACCENT, markersize=6)
        plain_axes(axes, "", "")
        axes.set_title(f"Repeat {repeat}, fold {fold}", fontweight="normal")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    for axes in panels[len(folds) :]:
        axes.set_axis_off()
    figure.supxlabel("Epoch", color=MUTED, fontsize=8.5)
    figure.supylabel("Loss", color=MUTED, fontsize=8.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return inline_svg(figure, "learning", "Training and validation loss of each fold by epoch.")


_MAX_PANELS = 20


def _square_axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.5, 4.0))
    axes = figure.subplots()
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return figure, axes


def mean_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Keep the means over folds, or everything in a table without folds."""
    return curves[curves["fold"].isna()] if "fold" in curves else curves


def _of_folds(curves: pd.DataFrame) -> list[pd.DataFrame]:
    if "fold" not in curves:
        return []
    known = curves[curves["fold"].notna()]
    return [points for _, points in known.groupby(["repeat", "fold"], sort=False)]


def _shade(axes: Axes, band: Band | None) -> None:
    if band is not None:
        axes.fill_between(band.x, band.low, band.high, color=ACCENT, alpha=0.16, linewidth=0)


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(names.values())


def _plot_models(
    axes: Axes, curves: pd.DataFrame, names: Mapping[str, str], *, drawstyle: str
) -> None:
    """Draw a line per model; the main model, the first, is thicker and lies on top of its folds."""
    shown = [model for model in names if (curves["model"] == model).any()]
    for points in _of_folds(curves[curves["model"] == next(iter(names))]):
        axes.plot(
            points["x"], points["y"], drawstyle=drawstyle, color=MUTED, linewidth=0.9, alpha=0.45
        )
    curves = mean_curves(curves)
    for place, (model, colour) in enumerate(zip(shown, cycle(_MODEL_COLOURS), strict=False)):
        points = curves[curves["model"] == model]
        axes.plot(
            points["x"],
            points["y"],
            drawstyle=drawstyle,
            color=colour,
            label=names[model],
            linewidth=2.2 if place == 0 else 1.4,
            zorder=3 - place / len(shown),
        )


def _beeswarm(x: np.ndarray, width: float = 0.016, rise: float = 0.11) -> np.ndarray:
    """Offsets across a row that keep dots of near-equal value apart; x is sorted."""
    offsets = np.zeros(len(x))
    lanes = [0.0, rise, -rise, 2 * rise, -2 * rise, 3 * rise, -3 * rise]
    last = dict.fromkeys(lanes, -np.inf)
    for i, value in enumerate(x):
        free = (lane for lane in lanes if value - last[lane] >= width)
        lane = next(free, min(lanes, key=lambda each: last[each]))
        offsets[i], last[lane] = lane, value
    return offsets


@themed
def motion_scatter(known: pd.DataFrame, names: Mapping[str, str]) -> Markup:
    """Draw predicted probability against mean framewise displacement, a mark per participant."""
    figure = Figure(figsize=(9.4, 3.6))
    axes = figure.subplots()
    groups = (
        ("1", names["1"], POSITIVE, "o"),
        ("0", names["0"], NEGATIVE, "s"),
        ("n/a", "Outcome unknown", ACCENT, "D"),
    )
    outcome = known["y_true"].fillna("n/a")
    for key, name, colour, marker in groups:
        own = known[outcome == key]
        if len(own):
            x, y = own["mean_fd_mm"], own["probability"]
            axes.scatter(x, y, s=26, color=colour, marker=marker, alpha=0.75, lw=0, label=name)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(left=0)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    plain_axes(axes, "Mean framewise displacement (mm)", "Predicted probability")
    figure.legend(loc="outside upper right", ncols=3)
    alt = "Predicted probability of each participant against mean framewise displacement."
    return inline_svg(figure, "motion", alt)


_MOST_KINDS = 4


@themed
def qcfc_by_distance(kinds: pd.DataFrame) -> Markup | str:
    """Draw QC-FC by the distance of the parcels: its size, and its direction."""
    if kinds.empty:
        return ""
    bins = kinds[(kinds["bin"] != "all") & kinds["distance_low_mm"].notna()]
    if bins.empty:
        return ""
    figure = Figure(figsize=(9.4, 3.0))
    size, direction = figure.subplots(1, 2)
    colours = (ACCENT, *CATEGORICAL[1:])
    shown = list(bins.groupby(["desc", "atlas", "space", "measure"], sort=False))[:_MOST_KINDS]
    for (key, own), colour in zip(shown, colours, strict=False):
        middle = (own["distance_low_mm"] + own["distance_high_mm"]) / 2
        label = f"{key[0]}, {key[3]}"
        size.plot(middle, own["median_abs_r"], "o-", color=colour, markersize=4, label=label)
        direction.plot(middle, own["median_r"], "o-", color=colour, markersize=4)
    chance = kinds["chance_median_abs_r"].dropna()
    if len(chance):
        size.axhline(chance.iloc[0], color=MUTED, linewidth=1, linestyle=DASHED)
    direction.axhline(0, color=MUTED, linewidth=1, linestyle=DASHED)
    size.set_ylim(bottom=0)
    for axes, name in ((size, "Median |r|"), (direction, "Median r")):
        axes.grid(color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        plain_axes(axes, "Distance of the parcels (mm)", name)
    figure.legend(loc="outside upper right", ncols=2)
    alt = "Correlation of head motion with connectivity over people, by distance of the parcels."
    return inline_svg(figure, "qcfc", alt)

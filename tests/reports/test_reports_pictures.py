"""Figures as pictures: a change that nobody meant shows as a difference from the kept image.

Who means a change draws the images anew and looks at them:
``pytest tests/reports/test_reports_pictures.py --mpl-generate-path tests/reports/baseline``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from fmmtc_bidsapp.reports.figures import group_figures, group_forests
from fmmtc_bidsapp.reports.figures import style as figures
from fmmtc_bidsapp.reports.figures.group_bands import Band
from fmmtc_bidsapp.reports.figures.group_maps import Glass, Places, glass_figure
from fmmtc_bidsapp.reports.figures.group_networks import edges_figure, shares_figure

TOLERANCE = 2
"""RMS of the pixels' values: an end of an interval that moves by 0.06 makes 4. Words are left out:
another version of the font library makes 20."""
picture = pytest.mark.mpl_image_compare(
    baseline_dir="baseline", tolerance=TOLERANCE, style="default", savefig_kwargs={"dpi": 60}
)
NAMES = {"fmmtc": "FMM_TC", "fc-logistic": "FC logistic", "dummy": "Dummy"}
STAND_INS = {
    getattr(figures, name): figures.PAPER_COLOURS[f"--{name.lower()}"]
    for name in ("INK", "MUTED", "LINE", "ACCENT", "SECOND", "POSITIVE", "NEGATIVE")
}
COLOURED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
X = np.linspace(0, 1, 21)


def on_paper(figure: Figure) -> Figure:
    """Take the words away, and exchange the stand-ins for the colours of the light page."""
    # Ticks are made when they are drawn, in the style of that moment.
    figures.themed(figure.draw_without_rendering)()
    for words in figure.findobj(lambda each: isinstance(each, Text | Legend)):
        words.set_visible(False)
    for axes in figure.axes:
        axes.tick_params(labelbottom=False, labelleft=False, labelright=False)
    for artist in figure.findobj():
        for kind in COLOURED:
            if hasattr(artist, f"get_{kind}") and hasattr(artist, f"set_{kind}"):
                exchange(artist, kind)
    return figure


def exchange(artist, kind: str) -> None:
    colours = getattr(artist, f"get_{kind}")()
    if isinstance(colours, str) and not colours.startswith("#"):
        return
    rgba = to_rgba_array(colours)
    known = [STAND_INS.get(to_hex(each)) for each in rgba]
    if not any(known):
        return
    for row, colour in zip(rgba, known, strict=True):
        row[:3] = row[:3] if colour is None else to_rgba_array(colour)[0, :3]
    getattr(artist, f"set_{kind}")(rgba[0] if len(rgba) == 1 else rgba)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Draw with a function of a module that puts its figure into a page, and keep the figure."""

    def draw(module: ModuleType, name: str, *arguments: object) -> Figure:
        kept: list[Figure] = []

        def keep(figure: Figure, name: str, alt: str) -> Markup:
            kept.append(figure)
            return Markup()

        monkeypatch.setattr(module, "inline_svg", keep)
        getattr(module, name)(*arguments)
        (figure,) = kept
        return on_paper(figure)

    return draw


def curves() -> pd.DataFrame:
    power = {"fmmtc": 0.4, "fc-logistic": 0.7, "dummy": 1.0}
    means = [(model, q, None) for model, q in power.items()]
    folds = [("fmmtc", q, str(i)) for i, q in enumerate((0.25, 0.35, 0.6))]
    lines = [
        pd.DataFrame(
            {"model": model, "kind": "roc", "repeat": "0", "fold": fold, "x": X, "y": X**q}
        )
        for model, q, fold in (*means, *folds)
    ]
    return pd.concat(lines)


@picture
def test_roc(drawn):
    return drawn(group_figures, "roc", curves(), NAMES, None)


@picture
def test_roc_of_one_applied_model(drawn):
    band = Band(X, np.clip(X**0.4 - 0.12, 0, 1), np.clip(X**0.4 + 0.12, 0, 1))
    alone = curves()
    alone = alone[alone["fold"].isna() & (alone["model"] == "fmmtc")]
    return drawn(group_figures, "roc", alone, {"fmmtc": "FMM_TC"}, band)


@picture
def test_reliability(drawn):
    observed = {"before": [0.3, 0.4, 0.5, 0.55, 0.65], "after": [0.2, 0.35, 0.5, 0.65, 0.8]}
    bins = pd.DataFrame(
        [
            ("fmmtc", stage, p, share, share - 0.15, share + 0.15)
            for stage, shares in observed.items()
            for p, share in zip(np.linspace(0.15, 0.85, 5), shares, strict=True)
        ],
        columns=["model", "stage", "mean_probability", "observed_share", "low", "high"],
    )
    return drawn(group_figures, "reliability", bins, "fmmtc")


@picture
def test_forest(drawn):
    values = {"fmmtc": (0.71, 0.58, 0.84), "fc-logistic": (0.66, 0.5, 0.8), "dummy": (0.5,) * 3}
    metrics = pd.DataFrame(
        [(model, "auroc", *each) for model, each in values.items()],
        columns=["model", "metric", "mean", "mean_low", "mean_high"],
    )
    return drawn(group_forests, "forest", metrics, "auroc", NAMES, 0.5)


@picture
def test_learning_curves(drawn):
    epoch = np.arange(1, 41)
    folds = [
        pd.DataFrame(
            {
                "repeat": "0", "fold": str(fold), "epoch": epoch,
                "train_loss": 0.7 * np.exp(-epoch / 25),
                "validation_loss": 0.69 - 0.08 * np.exp(-(((epoch - 12 - fold) / 8) ** 2)),
                "chosen": epoch == 12 + fold,
            }
        )
        for fold in range(5)
    ]  # fmt: skip
    return drawn(group_figures, "learning_curves", pd.concat(folds))


@picture
def test_probabilities(drawn):
    p = np.concatenate([np.linspace(0.3, 0.9, 20), np.linspace(0.1, 0.7, 20)])
    people = pd.DataFrame({"group": ["1"] * 20 + ["0"] * 20, "probability": p})
    names = {"1": "Response = 1", "0": "Response ≠ 1"}
    return drawn(group_figures, "probabilities", people, names, 0.5)


def places() -> Places:
    """Eight parcels of two networks on the corners of a box."""
    corners = [[x, y, z] for x in (-40, 40) for y in (-70, 40) for z in (-10, 50)]
    return Places(
        names=tuple(f"P{i}" for i in range(1, 9)),
        index=np.arange(1, 9),
        networks=("Front", "Back") * 4,
        coordinates_mm=np.array(corners, dtype=float),
    )


@picture
def test_glass_brain():
    amount = np.array([4.0, 0.4, 0.6, 0.3, 3.0, 0.5, 0.2, 0.6])
    direction = np.array([1, 0, 0, 0, -1, 0, 0, 0.0])
    row = Glass("FMM_TC, time series", amount, direction, np.where(amount > 2, 3.0, 0.1), 2.0)
    return on_paper(glass_figure([row], places()))


@picture
def test_shares():
    shares = pd.DataFrame(
        [
            ("fmmtc", "series", 0.36, 0.31, 0.42, 0.05, 56),
            ("fmmtc", "connectivity", 0.64, 0.58, 0.69, 0.05, 56),
        ],
        columns=["model", "modality", "share", "low", "high", "fold_sd", "n"],
    )
    return on_paper(shares_figure(shares, {"fmmtc": "FMM_TC"}))


@picture
def test_edges():
    ends = [(1, 5), (2, 6), (3, 8), (4, 7), (1, 8)]
    edges = pd.DataFrame(
        [(a, b, 0.1 - 0.01 * i, (-1) ** i * 0.05) for i, (a, b) in enumerate(ends)],
        columns=["index", "other", "attribution", "signed"],
    )
    return on_paper(edges_figure(edges, places()))

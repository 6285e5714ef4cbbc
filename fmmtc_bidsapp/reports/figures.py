"""What every figure of a report shares: its style, its colours and its way into the page.

Figures are SVG inside the page, so a line can take its colour from the page's style sheet and
follow it from light to dark. matplotlib knows no CSS; it draws in stand-in colours that
`inline_svg` exchanges for CSS variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from itertools import cycle
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

__all__ = [
    "ACCENT",
    "CATEGORICAL",
    "GREY",
    "INK",
    "LINE",
    "MUTED",
    "NEGATIVE",
    "POSITIVE",
    "SECOND",
    "colour_of",
    "inline_svg",
    "plain_axes",
    "rgb_column",
    "themed",
]

INK, MUTED, LINE = "#010101", "#020202", "#030303"
ACCENT, SECOND = "#040404", "#050505"
POSITIVE, NEGATIVE = "#060606", "#070707"
_CSS_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    POSITIVE: "var(--positive)",
    NEGATIVE: "var(--negative)",
}

CATEGORICAL = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
"""Okabe and Ito's colours, safe for colour-blind readers, without their black, which would vanish
on a dark page."""

GREY = "#8C8C8C"
"""What has no group, or no data."""

_STYLE: Any = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.size": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "fmmtc",
    "text.color": INK,
    "text.parse_math": False,  # a `$` in a participant's name is a dollar
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}

themed = rc_context(_STYLE)
"""Decorator of a function that draws."""


def inline_svg(figure: Figure, name: str, alt: str) -> Markup:
    """Turn a figure into an SVG element for a page.

    Parameters
    ----------
    figure
        The drawn figure.
    name
        Unique in the page: it prefixes every id inside the SVG.
    alt
        What the figure shows, for someone who cannot see it.

    Returns
    -------
    Markup
        ``<svg …>`` without prolog, date or version, so that the same figure gives the same bytes.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None}, dpi=144)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]+", r"\1 var(--sans)", svg)
    for stand_in, variable in _CSS_VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1))  # noqa: S704


def plain_axes(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Label the axes and leave out tick marks, which the reports do without."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.tick_params(length=0)


def colour_of(groups: Iterable[str]) -> dict[str, str]:
    """Give each distinct group a colour, in order of first appearance; n/a is grey."""
    distinct = [each for each in dict.fromkeys(groups) if each != "n/a"]
    return {**dict(zip(distinct, cycle(CATEGORICAL), strict=False)), "n/a": GREY}


def rgb_column(colours: Iterable[str]) -> ArrayLike:
    """Colours as an image of one column: (row, 1, 3)."""
    return [[to_rgb(each)] for each in colours]

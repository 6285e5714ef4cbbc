"""Style, colours and embedding of all figures.

Figures are SVG inside the page, so a line can take its colour from the page's style sheet and
follow it from light to dark. matplotlib knows no CSS; it draws in stand-in colours that
`inline_svg` exchanges for CSS variables. A figure that is a file of its own (`write_svg`) holds the
colours of the light page, which any viewer can show; `inline_file` exchanges those.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.errors import InputError

__all__ = [
    "ACCENT",
    "CATEGORICAL",
    "DASHED",
    "GREY",
    "INK",
    "LINE",
    "MUTED",
    "NEGATIVE",
    "PAPER_COLOURS",
    "POSITIVE",
    "SECOND",
    "colour_bar",
    "colour_of",
    "inline_file",
    "inline_svg",
    "plain_axes",
    "rgb_column",
    "themed",
    "write_svg",
]

DASHED = (0, (3, 3))
"""Line style of reference lines."""

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

_LIGHT = {
    INK: "#1b1f24",
    MUTED: "#5d656e",
    LINE: "#dfe1e0",
    ACCENT: "#0072b1",
    SECOND: "#d55e01",
    POSITIVE: "#0072b1",
    NEGATIVE: "#c27a00",
}
"""What the variables are on the light page (`style.css`), a shade off `CATEGORICAL`, whose colours
mean the same on every page."""

PAPER_COLOURS = {name[4:-1]: _LIGHT[colour] for colour, name in _CSS_VARIABLES.items()}
"""By CSS variable (``--ink``), what stands for it in a figure that leaves the page."""

_OF_LIGHT = {_LIGHT[colour]: name for colour, name in reversed(_CSS_VARIABLES.items())}

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
    "image.composite_image": False,  # each image of a panel at its own resolution
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

_HASHED_ID = re.compile(r'(\bid="|url\(#|href="#)(\w*[0-9a-f]{10})(?=[")])')

themed = rc_context(_STYLE)
"""Decorator of a function that draws."""


def inline_svg(figure: Figure, name: str, alt: str) -> Markup:
    """Convert a figure to an SVG element, all ids prefixed with ``name``.

    The same figure gives the same bytes.
    """
    return _for_page(_svg(figure, alt), name, _CSS_VARIABLES)


def write_svg(path: Path, figure: Figure, alt: str) -> None:
    """Write a figure as a standalone SVG; the same figure gives the same bytes."""
    write_text(
        path, '<?xml version="1.0" encoding="utf-8"?>\n' + _exchanged(_svg(figure, alt), _LIGHT)
    )


def inline_file(path: Path, name: str) -> Markup:
    """Convert an SVG of `write_svg` to an element for a page, in light and dark colours."""
    svg = path.read_text(encoding="utf-8")
    if "<svg" not in svg or not svg.rstrip().endswith("</svg>"):
        raise InputError(f"{path} is not a complete SVG. Delete it and run again.")
    return _for_page(svg[svg.index("<svg") :], name, _OF_LIGHT)


@themed
def _svg(figure: Figure, alt: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None}, dpi=144)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Nothing points to an image, and two equal ones of a figure would have the same id.
    svg = re.sub(r' id="image[0-9a-f]+"', "", svg)
    svg = _numbered(svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def _numbered(svg: str) -> str:
    """Replace the hashes in ids by numbers: invisible layout differences of 1e-14 change hashes."""
    numbers: dict[str, str] = {}
    return _HASHED_ID.sub(
        lambda found: found[1] + numbers.setdefault(found[2], f"shared{len(numbers) + 1}"), svg
    )


def _for_page(svg: str, name: str, variables: Mapping[str, str]) -> Markup:
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]+", r"\1 var(--sans)", svg)
    svg = svg.replace("<svg ", f'<svg data-name="{name}" ', 1)  # the name of its download
    return Markup(_exchanged(svg, variables))  # noqa: S704


def _exchanged(svg: str, colours: Mapping[str, str]) -> str:
    for colour, other in colours.items():
        svg = svg.replace(colour, other)
    return svg


def plain_axes(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Label the axes and leave out tick marks, which the reports do without."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.tick_params(length=0)


def colour_bar(
    mappable: ScalarMappable,
    axes: Axes | Sequence[Axes],
    ends: Mapping[float, str],
    label: str,
    *,
    shrink: float = 0.6,
) -> None:
    """Draw a colour bar beside one or several panels, with the text of each tick by its value."""
    panels = [axes] if isinstance(axes, Axes) else list(axes)
    figure = panels[0].figure
    bar = figure.colorbar(mappable, ax=panels, shrink=shrink, aspect=22, pad=0.015)
    bar.set_ticks(list(ends), labels=list(ends.values()))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(label, color=MUTED)
    # As an image: a shade of the scale must not be taken for a stand-in colour.
    if bar.solids is not None:
        bar.solids.set_rasterized(True)


def colour_of(groups: Iterable[str]) -> dict[str, str]:
    """Assign a colour to each distinct group, in order of first appearance; n/a is grey."""
    distinct = [each for each in dict.fromkeys(groups) if each != "n/a"]
    return {**dict(zip(distinct, cycle(CATEGORICAL), strict=False)), "n/a": GREY}


def rgb_column(colours: Iterable[str]) -> ArrayLike:
    """Colours as an image of one column: (row, 1, 3)."""
    return [[to_rgb(each)] for each in colours]

"""A page from a template: escaped, self-contained, the same bytes for the same content."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from fmmtc_bidsapp.reports.bibliography import (
    cited_keys,
    references,
    spell_citations,
    unescaped,
)
from fmmtc_bidsapp.reports.figures import PAPER_COLOURS

__all__ = [
    "interval",
    "interval_or_bound",
    "methods_html",
    "number",
    "p_value",
    "percent",
    "render_page",
    "render_part",
    "shows_spread",
]

_SCRIPTS = ("sort.js", "filter.js", "download.js", "print.js")
_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Render a template of this room.

    Parameters
    ----------
    template
        File name in ``reports/templates``.
    context
        Values by name; all text is escaped, figures and methods come as `markupsafe.Markup`.

    Returns
    -------
    str
        A whole HTML document without outside assets.
    """
    return _environment().get_template(template).render(context)


def render_part(template: str, part: str, values: Mapping[str, Any]) -> Markup:
    """Render one macro of a template of this room.

    Parameters
    ----------
    template
        File name in ``reports/templates``.
    part
        Name of a macro in it with one argument.
    values
        That argument; all text is escaped, figures and methods come as `markupsafe.Markup`.

    Returns
    -------
    Markup
        A piece of a page.
    """
    macro = getattr(_environment().get_template(template).module, part)
    return Markup(macro(values))  # noqa: S704


def number(value: object, digits: int = 2) -> str:
    """Spell a number with a true minus sign; ``n/a`` where there is none."""
    if value is None or isinstance(value, str):
        return value or "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    figure = float(value)  # type: ignore[arg-type]
    if math.isnan(figure):
        return "n/a"
    return f"{figure:.{digits}f}".replace("-", "−")


def interval(low: object, high: object, digits: int = 2) -> str:
    """Spell an interval as ``0.44 to 0.80``; empty where it is not known."""
    ends = [number(low, digits), number(high, digits)]
    return "" if "n/a" in ends else " to ".join(ends)


def interval_or_bound(low: object, high: object, bound: object = None) -> str:
    """Spell an interval; where nothing shows a spread ``no interval; at least 0.78``, if known."""
    least = number(bound)
    if shows_spread(low, high) or least == "n/a":
        return interval(low, high)
    return f"no interval; at least {least}"


def shows_spread(low: object, high: object) -> bool:
    """Say whether an interval is one: draws that are all equal show no spread."""
    return interval(low, high) != "" and low != high


def p_value(p: object, n_permutations: object) -> str:
    """Spell a p of a permutation test; with what the number of permutations allows at its floor."""
    words, shuffles = number(p, 3), number(n_permutations, 0)
    if "n/a" in (words, shuffles) or not float(n_permutations):  # type: ignore[arg-type]
        return words
    floor = 1 / (1 + float(n_permutations))  # type: ignore[arg-type]
    if float(p) > floor * (1 + _ROUNDING):  # type: ignore[arg-type]
        return words
    return f"{words}, the smallest possible with {shuffles} permutations"


_ROUNDING = 1e-9


def percent(share: float) -> str:
    """Spell a share of 0 to 1 as ``64 %``; ``n/a`` where there is none."""
    return "n/a" if math.isnan(share) else f"{100 * share:.0f} %"


def methods_html(text: str) -> Markup:
    """Turn a methods text into paragraphs, followed by the references it cites."""
    paragraphs = [each.strip() for each in re.split(r"\n\s*\n", spell_citations(text))]
    body = Markup("\n").join(
        Markup("<p>{}</p>").format(_coded(each)) for each in paragraphs if each
    )
    entries = Markup("\n").join(_reference(key) for key in cited_keys(text))
    return body + Markup('\n<ol class="references">\n{}\n</ol>').format(entries)


def _coded(text: str) -> Markup:
    """Escape a paragraph, what stands in backticks as code."""
    # What users named may hold the marks of Markdown, behind a backslash; HTML's come last.
    parts = re.split(r"(?<!\\)`([^`]+)`", text)
    written = [escape(unescaped(each)) for each in parts]
    written[1::2] = [Markup("<code>{}</code>").format(each) for each in written[1::2]]
    return Markup().join(written)


def _reference(key: str) -> Markup:
    entry = references()[key]
    link = (
        Markup(' <a href="{0}">{0}</a>').format(entry.link) if entry.link is not None else Markup()
    )
    return Markup("<li>{}. {}. <cite>{}</cite>.{}</li>").format(
        entry.short, entry.fields["title"], entry.venue, link
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fmmtc_bidsapp.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals["interval"] = interval
    environment.globals["style"] = _asset("style.css")
    environment.globals["scripts"] = Markup("\n").join(map(_asset, _SCRIPTS))
    environment.globals["paper_colours"] = PAPER_COLOURS
    return environment


def _asset(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704

"""Render pages, methods texts and model cards as HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from fmmtc_bidsapp.reports.data.bibliography import (
    cited_keys,
    references,
    spell_citations,
    unescaped,
)
from fmmtc_bidsapp.reports.data.number_format import interval, number
from fmmtc_bidsapp.reports.figures.style import PAPER_COLOURS

__all__ = ["card_html", "methods_html", "render_page", "render_part"]

_SCRIPTS = ("sort.js", "filter.js", "download.js", "print.js")
_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Render a template, all text escaped, as an HTML document without outside assets."""
    return _environment().get_template(template).render(context)


def render_part(template: str, part: str, values: Mapping[str, Any]) -> Markup:
    """Render one macro of a template with its one argument, all text escaped."""
    macro = getattr(_environment().get_template(template).module, part)
    return Markup(macro(values))  # noqa: S704


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
        loader=PackageLoader("fmmtc_bidsapp.reports.pages"),
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


_DEEPER = 2
"""Levels by which its headings lie below the page's own title."""
_DEEPEST = 6


def card_html(text: str) -> Markup:
    """Convert a model card to HTML, headings two levels deeper.

    HTML in it is shown as text, and pictures are not loaded.
    """
    reader = _reader()
    tokens = reader.parse(text)
    n_tables = 0
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + _DEEPER, _DEEPEST)}"
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "table_open":
            n_tables += 1
            token.attrSet("data-name", f"model-card-{n_tables}")
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    reader.add_render_rule("table_open", _open_table)
    reader.add_render_rule("table_close", _close_table)
    return reader


def _open_table(renderer: object, tokens: Sequence[Token], at: int, *_: object) -> str:
    name = str(tokens[at].attrs["data-name"])
    label = f"Table {name.rpartition('-')[2]} of the model card"
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
    return f'{region}<table data-name="{name}">\n'


def _close_table(*_: object) -> str:
    return "</table></div>\n"

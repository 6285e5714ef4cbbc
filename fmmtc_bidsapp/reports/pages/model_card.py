"""The model card as part of a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

__all__ = ["card_html"]

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

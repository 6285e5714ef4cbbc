"""Escape control and invisible characters in text from files."""

from __future__ import annotations

import json
import re

__all__ = ["is_blank", "visible", "visible_json"]

_UNSEEN = (
    # Control characters, all but tab and the end of a line.
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    # Characters that turn the direction of a text, or join, separate or fill invisibly.
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # Bytes that were not UTF-8, and halves of characters.
    "\ud800-\udfff"
)
_SPELLED = re.compile(rf"[{_UNSEEN}]|\r(?!\n)")
_NOTHING_TO_SEE = re.compile(rf"[{_UNSEEN}\s\ufe00-\ufe0f]*")


def visible(text: str) -> str:
    r"""Escape control and invisible characters, such as ``\u001b``, ``\u202e`` or ``\xff``.

    Line ends and tabs stay. The result is valid UTF-8, and escaping it again changes nothing.
    """
    return text if _is_plain(text) else _SPELLED.sub(_spell, text)


def visible_json(text: str) -> str:
    """Escape the same characters in a text of JSON, so that it is read back unchanged.

    A byte that is not UTF-8, for which JSON has no escape, is read back as `visible` writes it.
    """
    return text if _is_plain(text) else _SPELLED.sub(_escape, text)


def _is_plain(text: str) -> bool:
    """Return whether a text surely needs no escape; much faster than the pattern."""
    return text.isascii() and text.isprintable()


def _escape(match: re.Match[str]) -> str:
    return json.dumps(visible(match[0]) if "\ud800" <= match[0] <= "\udfff" else match[0])[1:-1]


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return rf"\x{code - 0xDC00:02x}"
    return rf"\u{code:04x}" if code <= 0xFFFF else rf"\U{code:08x}"


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character."""
    return _NOTHING_TO_SEE.fullmatch(text) is not None

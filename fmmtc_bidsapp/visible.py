"""Escape control and invisible characters in text from files."""

from __future__ import annotations

import json
import re

__all__ = ["is_blank", "visible", "visible_json"]

_UNSEEN = (
    # Control characters, all but tab and the end of a line.
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    # What turns the direction of a text, joins, separates or fills without being seen.
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # Bytes that were no UTF-8, and halves of characters.
    "\ud800-\udfff"
)
_SPELLED = re.compile(rf"[{_UNSEEN}]|\r(?!\n)")
_NOTHING_TO_SEE = re.compile(rf"[{_UNSEEN}\s\ufe00-\ufe0f]*")


def visible(text: str) -> str:
    r"""Spell out what a terminal or a page would act on, or not show.

    Parameters
    ----------
    text
        Any text, such as a name from a table of others.

    Returns
    -------
    str
        The same with ``\u001b`` in place of the escape character, ``\u202e`` in place of what turns
        a text around, ``\xff`` in place of a byte that is no UTF-8; line ends and tabs stay.
        UTF-8 can hold it, and doing it twice changes nothing.
    """
    return text if _is_plain(text) else _SPELLED.sub(_spell, text)


def visible_json(text: str) -> str:
    """Do the same in JSON's own escapes, so that it reads back as it was.

    A byte that is no UTF-8, for which JSON has no escape, reads back as `visible` spells it.
    """
    return text if _is_plain(text) else _SPELLED.sub(_escape, text)


def _is_plain(text: str) -> bool:
    """Tell in most cases, and many times faster than the pattern, that nothing is to be done."""
    return text.isascii() and text.isprintable()


def _escape(match: re.Match[str]) -> str:
    return json.dumps(visible(match[0]) if "\ud800" <= match[0] <= "\udfff" else match[0])[1:-1]


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return rf"\x{code - 0xDC00:02x}"
    return rf"\u{code:04x}" if code <= 0xFFFF else rf"\U{code:08x}"


def is_blank(text: str) -> bool:
    """Say whether nothing of a text would be seen."""
    return _NOTHING_TO_SEE.fullmatch(text) is not None

"""UTF-8 for all that Python reads, writes and starts, whatever the locale."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fmmtc_bidsapp.errors import UsageError

__all__ = ["require_utf8", "restart_in_utf8"]


def restart_in_utf8() -> None:
    """Restart this command in the UTF-8 mode of Python if the locale has another encoding."""
    encodings = (sys.getfilesystemencoding(), locale.getpreferredencoding(do_setlocale=False))
    if sys.flags.utf8_mode or {each.lower() for each in encodings} == {"utf-8"}:
        return
    # For child processes.
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def require_utf8(words: Sequence[str]) -> None:
    """Refuse a command line, or a current folder, with bytes that are not UTF-8."""
    for word in (*words, _current_folder()):
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{word} contains bytes that are not UTF-8, which BIDS names may not. Rename "
                "the file or folder, or use a link with another name."
            ) from error


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise UsageError("The current folder no longer exists. Change into another one.") from error

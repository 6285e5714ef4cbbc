"""Print UTF-8 without terminal control characters, and end cleanly."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from fmmtc_bidsapp.cli.stops import Stopped
from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.visible import visible

__all__ = ["VisibleStream", "finish_streams", "guarded_streams"]

_READER_GONE = 141
"""128 and SIGPIPE, as of any program whose reader has closed the pipe."""


class VisibleStream:
    """A stream on which text is `visible`, and which says why it cannot be written.

    Parameters
    ----------
    beneath
        The stream itself; what draws on a terminal writes there.
    needed
        Whether a run ends where the stream cannot be written; else its text is lost.
    """

    def __init__(self, beneath: TextIO, *, needed: bool) -> None:
        self.beneath = beneath
        self._needed = needed

    def write(self, text: str) -> int:
        """Write text, `visible`."""
        with self._told():
            self.beneath.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, `visible`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._told():
            self.beneath.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn an error of the stream into one that ends the run with its documented code."""
        try:
            yield
        except OSError as error:
            if not self._needed:
                return
            if isinstance(error, BrokenPipeError):
                raise Stopped(_READER_GONE, "") from error
            raise OutputError(
                f"Cannot write to standard output ({error.strerror or error}). Send it elsewhere "
                "and run again."
            ) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Put guarded streams in place of standard output and standard error."""
    _open_missing()
    before = sys.stdout, sys.stderr
    # Whoever reads no errors any more cannot be told so either.
    sys.stdout, sys.stderr = _guarded(sys.stdout, needed=True), _guarded(sys.stderr, needed=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Take the numbers of closed streams, or the next file that is opened would be printed into."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _guarded(stream: TextIO, *, needed: bool) -> TextIO:
    if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
        stream.reconfigure(encoding="utf-8")
    return cast(TextIO, VisibleStream(stream, needed=needed))


def finish_streams(code: int) -> int:
    """Hand on what is still held back; returns the exit code, another one where that fails."""
    try:
        sys.stdout.flush()
    except Stopped as error:
        code = error.exit_code
    except OutputError as error:
        code = error.exit_code
        print(error, file=sys.stderr)
    else:
        return code
    # Python would try once more when it ends, and complain.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code

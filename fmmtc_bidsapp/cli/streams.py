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
"""128 and SIGPIPE, as for any program whose reader has closed the pipe."""


class VisibleStream:
    """A stream that makes text `visible`, and ends the run if it is `needed` and cannot be written.

    `beneath` is the stream itself, to which terminal drawings are written.
    """

    def __init__(self, beneath: TextIO, *, needed: bool) -> None:
        self.beneath = beneath
        self._needed = needed

    def write(self, text: str) -> int:
        """Write text, made `visible`."""
        with self._errors():
            self.beneath.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, made `visible`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        with self._errors():
            self.beneath.flush()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn an error of the stream into one with a documented exit code."""
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
    # An error of standard error cannot be printed anywhere.
    sys.stdout, sys.stderr = _guarded(sys.stdout, needed=True), _guarded(sys.stderr, needed=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Open closed streams: else the next opened file gets their number, and all that is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _guarded(stream: TextIO, *, needed: bool) -> TextIO:
    if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
        stream.reconfigure(encoding="utf-8")
    return cast(TextIO, VisibleStream(stream, needed=needed))


def finish_streams(code: int) -> int:
    """Flush standard output; return the exit code, another one if that fails."""
    try:
        sys.stdout.flush()
    except Stopped as error:
        code = error.exit_code
    except OutputError as error:
        code = error.exit_code
        print(error, file=sys.stderr)
    else:
        return code
    # Python would flush again at exit and print an error.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code

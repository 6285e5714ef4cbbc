"""Remember an interrupt, because libraries may swallow its exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

__all__ = ["note", "noting_interrupts", "raise_if_interrupted"]

End = TypeVar("End", bound=BaseException)

_noted: list[BaseException] = []


@contextmanager
def noting_interrupts() -> Iterator[None]:
    """Raise the interrupt of Ctrl-C or another signal again if a library swallowed it.

    After a Ctrl-C further ones are ignored while the run ends. Where interrupts are ignored, as in
    the background of a script, they stay ignored.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    is_ours = in_main and before is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
        raise_if_interrupted()
    except Exception:
        raise_if_interrupted()
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN if _noted else before)
        _noted.clear()


def note(end: End) -> End:
    """Note the exception of a signal before it is raised."""
    _noted.append(end)
    return end


def raise_if_interrupted() -> None:
    """Raise a noted exception again; for loops that run through libraries."""
    if _noted:
        raise _noted[0]


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise note(KeyboardInterrupt())

"""Ends of a run from outside: Ctrl-C, signals, a closed pipe."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fmmtc_bidsapp.interrupts import note

__all__ = ["Stopped", "stopped_by_signals"]

_SIGNALS = {signal.SIGTERM: "ended by the system (SIGTERM)", signal.SIGHUP: "the terminal is gone"}


class Stopped(KeyboardInterrupt):
    """Ends a run as Ctrl-C does, with another exit code; `reason` is printed unless empty."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.reason = reason


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` at SIGTERM or SIGHUP, which would end the process silently."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Under nohup SIGHUP stays ignored.
    meant = [each for each in _SIGNALS if signal.getsignal(each) is signal.SIG_DFL]
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != owner:
            # A forked worker inherits this handler and must end as any process does.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise note(Stopped(128 + number, _SIGNALS[signal.Signals(number)]))

    for each in meant:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each in meant:
            signal.signal(each, signal.SIG_DFL)

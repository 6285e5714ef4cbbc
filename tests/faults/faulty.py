"""The command with a fault in it: ``python faulty.py FAULT [ARGUMENT …] -- <words of fmmtc>``.

What is broken is a function of Python, in this process and in every worker that it starts; the
program is not told. Workers that are not forked run this file anew, and so have the same fault.
"""

from __future__ import annotations

import datetime as dt
import errno
import functools
import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NIPYPE_NO_ET", "1")


def pause(place: str, text: str, mark: str) -> None:
    """Let a function never come back from a call on something; the mark says that it was called."""
    _before(place, text, lambda: _wait(mark))


def die(place: str, text: str) -> None:
    """Kill, as the kernel does for memory, the process that calls a function on something."""
    _before(place, text, lambda: os.kill(os.getpid(), signal.SIGKILL))


def lose(place: str, text: str, folder: str, how: str, outside: str) -> None:
    """Delete, move or replace a folder, once, before a function is called on something."""

    def act() -> None:
        moved, other = Path(outside, "moved"), Path(outside, "other")
        if other.exists():
            return
        other.mkdir(parents=True)
        Path(folder).rename(moved)
        if how == "deleted":
            shutil.rmtree(moved)
        if how == "a link":
            Path(folder).symlink_to(other)

    _before(place, text, act)


def half(name: str, mark: str) -> None:
    """Stop for ever in the middle of writing a file whose name ends so."""
    _in_the_middle(name, lambda: _wait(mark))


def full(name: str) -> None:
    """Have no room for the second half of a file whose name ends so."""
    _in_the_middle(name, lambda: _refuse(errno.ENOSPC))


def unwell(name: str) -> None:
    """Have a disk that fails in the middle of a file whose name ends so."""
    _in_the_middle(name, lambda: _refuse(errno.EIO))


def _refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def late(seconds: str) -> None:
    """Set the clock of this process."""
    shift_s, now_s = float(seconds), time.time

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return super().now(tz) + dt.timedelta(seconds=shift_s)

    time.time = lambda: now_s() + shift_s
    importlib.import_module("fmmtc_bidsapp.cli.main").datetime = Shifted  # type: ignore[attr-defined]


def _before(place: str, text: str, act: Callable[[], None]) -> None:
    module, _, path = place.partition(":")
    *classes, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in classes:
        owner = getattr(owner, each)
    function = getattr(owner, name)

    @functools.wraps(function)
    def broken(*arguments: Any, **options: Any) -> Any:
        if text in f"{arguments} {options}":
            act()
        return function(*arguments, **options)

    setattr(owner, name, broken)


def _in_the_middle(name: str, act: Callable[[], None]) -> None:
    write_bytes = Path.write_bytes

    def broken(path: Path, data: bytes) -> int:
        if path.name.endswith(name):
            write_bytes(path, data[: len(data) // 2])
            act()
        return write_bytes(path, data)

    Path.write_bytes = broken  # type: ignore[assignment,method-assign]


def _wait(mark: str) -> None:
    Path(mark).touch()
    while True:
        time.sleep(1)


FAULTS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (pause, die, lose, half, full, unwell, late)
}

end = sys.argv.index("--")
FAULTS[sys.argv[1]](*sys.argv[2:end])

if __name__ == "__main__":
    from fmmtc_bidsapp.cli.main import main

    sys.exit(main(sys.argv[end + 1 :]))

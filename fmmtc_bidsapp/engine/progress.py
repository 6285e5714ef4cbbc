"""How far a run is: a bar on a terminal, a line for every tenth in a log."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fmmtc_bidsapp.engine.crashes import short_name

__all__ = ["NodeProgress", "duration"]


class NodeProgress:
    """Count finished nodes, as nipype's ``status_callback``."""

    def __init__(self, title: str) -> None:
        self.finished: set[str] = set()
        """Names of the nodes that are done, without the workflow's own."""
        self._title, self._n_nodes, self._n_done, self._tenth = title, 0, 0, 0
        self._said: set[str] = set()
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> NodeProgress:
        self._start_s = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def expect(self, n_more: int) -> None:
        """Set the whole: what is done, and so many nodes more."""
        self._n_nodes = self._n_done + n_more
        self._bar.update(self._task, total=self._n_nodes)

    def say(self, text: str) -> None:
        """Print a line once, whatever the bar is doing."""
        if text in self._said:
            return
        self._said.add(text)
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def __call__(self, node: Any, status: str) -> None:
        """Take in that a node started, ended or broke."""
        if status == "start":
            return
        if status == "end":
            self.finished.add(short_name(node.fullname))
        self._n_done += 1
        self._bar.advance(self._task)
        tenth = 10 * self._n_done // max(1, self._n_nodes)
        if not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            text = f"{self._title}: {self._n_done} of {self._n_nodes} steps{self._time_left()}"
            print(text, flush=True)

    def _time_left(self) -> str:
        n_left = self._n_nodes - self._n_done
        left_s = (time.monotonic() - self._start_s) / self._n_done * n_left
        if left_s < 1:
            return ""
        return f", about {duration(left_s)} left"


def duration(seconds: float) -> str:
    """Say a time as one would: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

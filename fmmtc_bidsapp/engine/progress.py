"""How far a run is: a bar on a terminal, a line for every tenth in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fmmtc_bidsapp.engine.crashes import short_name
from fmmtc_bidsapp.visible import visible

__all__ = ["NodeProgress", "duration"]


class NodeProgress:
    """Count finished nodes, as nipype's ``status_callback``.

    Parameters
    ----------
    title
        Shown beside the bar.
    expected_s
        By name, the seconds that a node is expected to take: where they differ, the number of nodes
        says little of the time that is left. All take the same by default.
    """

    def __init__(self, title: str, expected_s: Mapping[str, float] | None = None) -> None:
        self.finished: set[str] = set()
        """Names of the nodes that are done, without the workflow's own."""
        self._title, self._n_nodes, self._n_done, self._tenth = title, 0, 0, 0
        self._expected_s = dict(expected_s or {})
        self._done_s = 0.0
        self._said: set[str] = set()
        # A bar is drawn with what guarded streams spell out.
        self._console = Console(file=getattr(sys.stderr, "beneath", sys.stderr))
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, steps="")

    def __enter__(self) -> NodeProgress:
        self._start_s = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def expect(self, n_more: int) -> None:
        """Set the whole: what is done, and so many nodes more."""
        self._n_nodes = self._n_done + n_more
        self._bar.update(self._task, total=self._whole_s, steps=self._steps)

    def say(self, text: str) -> None:
        """Print a line once, whatever the bar is doing."""
        if text in self._said:
            return
        self._said.add(text)
        if self._console.is_terminal:
            self._console.print(visible(text), markup=False, highlight=False)
        else:
            print(text, flush=True)

    def __call__(self, node: Any, status: str) -> None:
        """Take in that a node started, ended or broke."""
        if status == "start":
            return
        name = short_name(node.fullname)
        if status == "end":
            self.finished.add(name)
        self._n_done += 1
        self._done_s += self._expected_s.get(name, 1.0)
        self._bar.update(self._task, completed=self._done_s, steps=self._steps)
        tenth = 10 * self._n_done // max(1, self._n_nodes)
        if not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            print(f"{self._title}: {self._steps} steps{self._time_left()}", flush=True)

    @property
    def _steps(self) -> str:
        return f"{self._n_done} of {self._n_nodes}"

    @property
    def _whole_s(self) -> float:
        """Expected seconds of all nodes; without expectations one for each."""
        return sum(self._expected_s.values()) or float(self._n_nodes)

    def _time_left(self) -> str:
        passed_s = time.monotonic() - self._start_s
        left_s = passed_s * (self._whole_s - self._done_s) / self._done_s
        if left_s < 1:
            return ""
        return f", about {duration(left_s)} left"


def duration(seconds: float) -> str:
    """Say a time as one would: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""The progress of a run: a bar on a terminal, a line for every tenth in a log."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fmmtc_bidsapp.engine.crashes import short_name
from fmmtc_bidsapp.visible import visible

__all__ = ["NodeProgress", "duration"]


class NodeProgress:
    """Count finished nodes, as nipype's ``status_callback``.

    The time left follows from the nodes of each kind that this run has computed. ``kinds`` gives
    the kind of a node by its name; by default it is the last part of the name, such as ``clean``.
    """

    def __init__(self, title: str, kinds: Mapping[str, str] | None = None) -> None:
        self.finished: set[str] = set()
        """Names of finished nodes, without the name of the workflow."""
        self._title, self._n_done, self._tenth = title, 0, 0
        self._kinds = dict(kinds or {})
        self._left: Counter[str] = Counter()
        self._started_s: dict[str, float] = {}
        self._took_s: defaultdict[str, list[float]] = defaultdict(list)
        self._said: set[str] = set()
        # A bar needs control characters, which guarded streams escape.
        self._console = Console(file=getattr(sys.stderr, "beneath", sys.stderr))
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, steps="", left="")

    def __enter__(self) -> NodeProgress:
        self._start_s = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def expect(self, names: Iterable[str], times: float = 1) -> None:
        """Set the nodes that are left: these, `times` as many with those of later batches."""
        counts = Counter(map(self._kind, names))
        self._left = Counter({kind: round(n * times) for kind, n in counts.items()})
        self._bar.update(self._task, total=self._n_nodes, steps=self._steps)

    def say(self, text: str) -> None:
        """Print a line once, above the bar."""
        if text in self._said:
            return
        self._said.add(text)
        if self._console.is_terminal:
            self._console.print(visible(text), markup=False, highlight=False)
        else:
            print(text, flush=True)

    def __call__(self, node: Any, status: str) -> None:
        """Note that a node started, ended or failed."""
        name = short_name(node.fullname)
        if status == "start":
            self._started_s[name] = time.monotonic()
            return
        kind = self._kind(name)
        if status == "end":
            self.finished.add(name)
            # A node of an earlier run ends without a start.
            if name in self._started_s:
                self._took_s[kind].append(time.monotonic() - self._started_s[name])
        self._n_done += 1
        self._left[kind] -= 1
        left = self._time_left()
        self._bar.update(self._task, completed=self._n_done, steps=self._steps, left=left)
        tenth = 10 * self._n_done // max(1, self._n_nodes)
        if not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            print(f"{self._title}: {self._steps} steps{left}", flush=True)

    def _kind(self, name: str) -> str:
        return self._kinds.get(name) or name.partition(".")[2]

    @property
    def _n_nodes(self) -> int:
        return self._n_done + self._left.total()

    @property
    def _steps(self) -> str:
        return f"{self._n_done} of {self._n_nodes}"

    def _time_left(self) -> str:
        """Return the time left, "at least" while no node of some kind has ended; "" at first."""
        computed_s = sum(map(sum, self._took_s.values()))
        known = {kind: n for kind, n in self._left.items() if self._took_s[kind]}
        left_s = sum(n * fmean(self._took_s[kind]) for kind, n in known.items())
        if not computed_s or not left_s:
            return ""
        left_s *= (time.monotonic() - self._start_s) / computed_s
        if left_s < 1:
            return ""
        about = "about" if sum(known.values()) == self._left.total() else "at least"
        return f", {about} {duration(left_s)} left"


def duration(seconds: float) -> str:
    """Return a duration in words: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""What a queue says of its jobs: whether they wait or run, what they ended as, what holds them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from fmmtc_bidsapp.engine.schedulers import SCHEDULERS, answer, words

__all__ = ["CUT_SHORT", "Queue"]

_FRESH_S = 1.0
"""For so long what the queue answered holds."""
# SLURM's states of jobs that will not run on; any other is on its way.
_DONE = "COMPLETED"
CUT_SHORT = (
    *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
_GONE = re.compile("Unknown Job|Job has finished|job_state = [CF]", re.IGNORECASE)
"""What PBS says of a job that has left."""

_Row = dict[str, str]
"""What the queue says of a job, by the names of the groups of `Scheduler.row`."""


class Queue:
    """The user's jobs in a queue; one that does not answer is waited for.

    Parameters
    ----------
    name
        A key of `SCHEDULERS`.
    say
        Prints a line once.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._scheduler, self._say = SCHEDULERS[name], say
        self._rows: dict[int, _Row] | None = {}
        self._looked_s = -_FRESH_S

    def holds(self, job: int) -> bool:
        """Tell whether a job waits or runs, as it may while the queue does not answer."""
        self._look(job)
        if self._rows is None:
            return True
        return job in self._rows and self._rows[job].get("state") not in (_DONE, *CUT_SHORT)

    def state(self, job: int) -> str:
        """Return the state of a job in the queue's word, empty where it has none."""
        return self._row(job).get("state", "")

    def obstacle(self, job: int) -> str:
        """Return the queue's words for what keeps a job from ever beginning, empty if nothing."""
        row = self._row(job)
        text = f"{row.get('state', '')} {row.get('why', '')}".strip()
        return text if self._scheduler.stuck.search(text) else ""

    def cancel(self, job: int) -> None:
        """Take a job out of the queue."""
        # A job that is gone is what was wanted.
        with suppress(OSError, subprocess.SubprocessError):
            answer(self._scheduler.cancel, str(job))

    def forget(self) -> None:
        """Ask anew the next time: what the queue said knows nothing of a job handed in since."""
        self._looked_s = -_FRESH_S

    def find(self, name: str, pause_s: float) -> int | None:
        """Look, after a pause, for a job that may have been taken without a word.

        Parameters
        ----------
        name
            Of no other job.
        pause_s
            Also between two looks at a queue that does not answer.

        Returns
        -------
        int or None
            Its number.
        """
        self._rows = None
        while self._rows is None:
            time.sleep(max(pause_s, _FRESH_S))
            self._list()
        return next((job for job, row in self._rows.items() if row.get("name") == name), None)

    def _row(self, job: int) -> _Row:
        return (self._rows or {}).get(job, {})

    def _look(self, job: int) -> None:
        if not self._scheduler.listing:
            self._ask_for(job)
        elif time.monotonic() - self._looked_s >= _FRESH_S:
            self._list()

    def _ask_for(self, job: int) -> None:
        try:
            said = answer("qstat", "-f", str(job))
        except (OSError, subprocess.SubprocessError) as error:
            said = words(error)
        found = self._scheduler.row.search(said)
        rows = self._rows = self._rows or {}
        if _GONE.search(said):
            rows.pop(job, None)
        else:
            rows[job] = found.groupdict("") if found else {}

    def _list(self) -> None:
        """Ask once for all jobs."""
        try:
            said = answer(*self._scheduler.listing)
        except (OSError, subprocess.SubprocessError) as error:
            self._say(f"{self._scheduler.listing[0]} does not answer ({words(error)}); waiting.")
            self._rows = None
        else:
            found = [each.groupdict("") for each in self._scheduler.row.finditer(said)]
            self._rows = {int(row["job"]): row for row in found}
        self._looked_s = time.monotonic()

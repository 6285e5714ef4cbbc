"""Dask workers as jobs of a cluster's queue, by dask-jobqueue: as many as there is work for."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

from distributed.core import Status
from distributed.utils import get_ip

from fmmtc_bidsapp.errors import AppError, UsageError

# Importing it sets a handler that ends this process silently, with 0, at Ctrl-C.
_on_interrupt = signal.getsignal(signal.SIGINT)
import dask_jobqueue  # noqa: E402

signal.signal(signal.SIGINT, _on_interrupt)

__all__ = ["Jobs", "cluster_class"]

_IDLE_S = 60.0
"""Time for which an idle job is kept: the next graph of a run mostly begins within it."""
_LOOK_S = 15.0
"""Time between two looks into the queue for jobs without a worker."""
_RETRY_S = 5.0
"""Time until a queue that refused a job is asked again."""
_PATIENCE = 3
"""Refusals in a row, or lost jobs without a worker, that end the run."""
_ANSWER_S = 60.0
_LISTINGS: Mapping[str, tuple[str, ...]] = {
    "SLURM": ("squeue", "--me", "--noheader", "--format=%A %T %r"),
    "SGE": ("qstat",),
    "PBS": ("qstat",),
    "LSF": ("bjobs", "-w"),
    "HTCondor": ("condor_q", "-nobatch"),
    "OAR": ("oarstat",),
}
"""By scheduler, the command that lists the jobs that wait or run."""


def cluster_class(scheduler: str) -> Any:
    """Return dask-jobqueue's class for a scheduler."""
    return getattr(dask_jobqueue, f"{scheduler}Cluster")


class Jobs:
    """Jobs of a queue that each run one or more workers, and a scheduler in this process.

    They use TLS, with a certificate that is made for the run and kept in ``log_folder``, as is the
    output of the jobs. ``arguments`` are those of dask-jobqueue's class, and ``max_jobs``.
    """

    def __init__(self, scheduler: str, arguments: Mapping[str, Any], log_folder: Path) -> None:
        given = dict(arguments)
        self._scheduler = scheduler
        self._n_most: int = given.pop("max_jobs")
        self._n_workers: int = given["processes"]
        self.log_folder = Path(given.setdefault("log_directory", str(log_folder)))
        self._arguments = given
        self._refusals: list[tuple[Any, str]] = []
        self._n_refusals = self._n_lost = 0
        self._busy_s: dict[Any, float] = {}
        self._absent: set[Any] = set()
        self._looked_s = self._retry_s = time.monotonic()
        self._cluster: Any = None

    @property
    def address(self) -> str:
        """Return where the scheduler listens."""
        return str(self._cluster.scheduler_address)

    def start(self) -> None:
        """Start the scheduler; it listens on one address, and its pages on this machine alone."""
        given = self._arguments
        place = {} if given.get("interface") else {"host": get_ip()}
        options = {**place, "dashboard_address": "127.0.0.1:0", **given["scheduler_options"]}
        refusals, kind = self._refusals, cluster_class(self._scheduler)
        base: Any = kind.job_cls

        class Job(base):
            """Notes the message of a queue that refuses a job; Dask would only log it."""

            async def start(self) -> None:
                try:
                    await super().start()
                except (OSError, RuntimeError, ValueError) as error:
                    # Dask cannot close a cluster with a job that neither began nor failed.
                    self.status = Status.failed
                    refusals.append((self.name, _reason(error)))
                    raise

        try:
            self._cluster = kind(
                job_cls=Job,
                silence_logs=logging.CRITICAL,
                # Without it other users of the cluster could run code in these jobs.
                security=True,
                shared_temp_directory=str(self.log_folder),
                **{**given, "scheduler_options": options},
            )
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise UsageError(f"--use-plugin {self._scheduler}: {error}") from error

    @property
    def security(self) -> Any:
        """Return the certificate of this run, which every connection needs."""
        return self._cluster.security

    @property
    def about(self) -> str:
        """Return a line about the jobs that are asked for."""
        job = self._cluster._dummy_job
        cores, gb = job.worker_cores, job.worker_memory / 1e9
        return (
            f"Steps run in jobs of {self._scheduler}: at most {self._n_most}, each of {cores} "
            f"cores, {gb:.1f} GB and {self._n_workers} workers; their output: {self.log_folder}"
        )

    def adapt(self, n_wanted: int, say: Callable[[str], None]) -> None:
        """Ask for jobs for the nodes that run or could run; end jobs that are idle for a minute.

        UsageError if the queue takes no job, AppError if jobs keep ending without a worker.
        """
        present = self._present(self._cluster.scheduler.workers)
        self._take_refusals(say)
        self._drop_lost(present, n_wanted, say)
        specs, now_s = self._cluster.worker_spec, time.monotonic()
        for name in specs:
            if name not in self._busy_s or any(each.processing for each in present.get(name, ())):
                self._busy_s[name] = now_s
        n_jobs = min(ceil(n_wanted / self._n_workers), self._n_most)
        idle = [name for name in specs if now_s - self._busy_s[name] > _IDLE_S]
        if n_jobs < len(specs):
            self._end(idle[: len(specs) - n_jobs])
        elif max(n_jobs, len(specs)) > len(self._cluster.workers) and now_s >= self._retry_s:
            # Also to replace a job that has ended, which Dask does not do.
            self._cluster.scale(jobs=n_jobs)

    def _present(self, workers: Mapping[str, Any]) -> dict[Any, list[Any]]:
        """Return the workers by the name of their job, for jobs that have any."""
        jobs = {
            f"{name}{end}": name
            for name, spec in list(self._cluster.worker_spec.items())
            for end in spec.get("group", [""])
        }
        found: dict[Any, list[Any]] = {}
        for each in list(workers.values()):
            if str(each.name) in jobs:
                found.setdefault(jobs[str(each.name)], []).append(each)
        return found

    def _take_refusals(self, say: Callable[[str], None]) -> None:
        """Print refusals of the queue and drop those jobs; end the run if it takes none."""
        refused, self._refusals[:] = list(self._refusals), []
        if not refused:
            return
        submit = self._cluster.job_cls.submit_command.split()[0]
        names, (_, why) = {name for name, _ in refused}, refused[-1]
        say(f"{submit} did not take a job: {why}")
        taken = (job for name, job in list(self._cluster.workers.items()) if name not in names)
        self._n_refusals = 0 if any(job.job_id for job in taken) else self._n_refusals + 1
        if self._n_refusals >= _PATIENCE:
            raise UsageError(
                f"{submit} does not take jobs: {why}. Change the arguments in the plugin file, "
                "then run the same command again."
            )
        self._end(names)
        self._retry_s = time.monotonic() + _RETRY_S

    def _drop_lost(
        self, present: Mapping[Any, list[Any]], n_wanted: int, say: Callable[[str], None]
    ) -> None:
        """Drop jobs that have left the queue, so that others are asked for in their place."""
        if present:
            self._n_lost = 0
        awaited = {
            name: job.job_id
            for name, job in list(self._cluster.workers.items())
            if job.job_id and name not in present
        }
        if not awaited or time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        listed = self._listing(say)
        if listed is None:
            return
        gone = {name for name, job in awaited.items() if not _is_in(job, listed)}
        # Absent at two looks: a worker may have been starting at the first.
        lost = gone & self._absent
        self._absent = gone
        if n_wanted and not present and not gone:
            ids = ", ".join(sorted(map(str, awaited.values())))
            say(f"Waiting for the queue: no worker runs yet (jobs {ids}).")
        if not lost:
            return
        self._n_lost += 1
        ids = ", ".join(sorted(str(awaited[name]) for name in lost))
        text = f"Jobs have left the queue without a worker ({ids}); see {self.log_folder}"
        say(f"{text}. Others are asked for.")
        if self._n_lost >= _PATIENCE:
            raise AppError(
                f"{text}. The same Python with the same packages must be at the same path on every "
                "node, and the nodes must reach this machine (interface in the plugin file)."
            )
        self._end(lost)

    def _listing(self, say: Callable[[str], None]) -> str | None:
        """Return the list of waiting and running jobs, None if the queue does not answer."""
        command = _LISTINGS[self._scheduler]
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                command, capture_output=True, check=True, encoding="utf-8", timeout=_ANSWER_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            say(f"{command[0]} does not answer ({error}); waiting.")
            return None
        return done.stdout

    def _end(self, names: Collection[Any]) -> None:
        """End jobs, and drop those that have ended."""
        if names:
            self._cluster.sync(self._cluster.scale_down, list(names))

    def close(self) -> None:
        """End all jobs, then the scheduler."""
        with suppress(TimeoutError, OSError):
            self._cluster.close(timeout=30)


def _is_in(job: str, listing: str) -> bool:
    number = re.match(r"\d+", str(job))
    return number is None or re.search(rf"(?<!\d){number[0]}(?!\d)", listing) is not None


def _reason(error: Exception) -> str:
    """Return the message of a failed command, in one line."""
    _, _, words = str(error).rpartition("stderr:")
    return " ".join((words or str(error)).split()) or "no reason given"

"""The workers of a Dask cluster: joined by address, or asked for as jobs of a queue."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
from distributed import Client

from fmmtc_bidsapp.engine.cluster.preparation import PID, Preparation, own_versions
from fmmtc_bidsapp.errors import AppError, MissingResourceError, UsageError

if TYPE_CHECKING:
    from fmmtc_bidsapp.engine.cluster.jobs import Jobs

__all__ = ["DaskWorkers", "Demand", "ReadyWorker"]

_PROGRAM_GB = 1.0
"""Interpreter and libraries, which the estimate of a node leaves out."""
_LOOK_S = 0.2
"""Age at which the list of workers is read again."""
_CONNECT_S = 30.0
_CONFIGURATION: Mapping[str, Any] = {
    # Time until a worker that its nanny starts anew is taken for a job that has ended.
    "distributed.deploy.lost-worker-timeout": "120 s",
}
_INHERITED = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG"),
    *("NIPYPE_NO_ET", "TEMPLATEFLOW_AUTOUPDATE"),
)
"""Variables of numerical libraries and look-ups that workers get from this process."""
_GONE = (
    "The Dask scheduler is gone. Start it and its workers again, then run the same command again; "
    "completed steps are reused."
)
_MEMORY = "worker-restart-memory"
"""Dask's topic of workers that took too much memory."""


@dataclass(frozen=True)
class Demand:
    """What a node asks of a worker."""

    memory_gb: float
    threads: int
    gpu: bool


@dataclass(frozen=True)
class ReadyWorker:
    """A worker process that is prepared for the nodes of this run."""

    address: str
    pid: int
    """A process that its nanny starts anew may have the address of the last one."""
    host: str
    limit_gb: float
    """Memory at which its nanny ends it."""
    memory_gb: float
    threads: int
    gpu: bool

    def meets(self, demand: Demand) -> bool:
        """Return whether a node may run here."""
        enough = self.memory_gb >= demand.memory_gb and self.threads >= demand.threads
        return enough and (self.gpu or not demand.gpu)


class DaskWorkers:
    """A connection to the scheduler of a Dask cluster, and its workers.

    ``target`` is the address of a scheduler, or the jobs to ask a queue for; ``threads`` are those
    of one node.
    """

    def __init__(self, target: str | Jobs, *, threads: int, folder: Path, verbose: int) -> None:
        self.name = f"fmmtc{uuid4().hex[:10]}"
        """Part of the keys of all nodes of this run, and a resource of its prepared workers."""
        dask.config.set(_CONFIGURATION)
        _quiet(verbose)
        self._jobs = None if isinstance(target, str) else target
        self._threads, self._folder = threads, folder
        self._modules: set[str] = set()
        self._ready_now: frozenset[ReadyWorker] = frozenset()
        self._looked_s = self._adapted_s = float("-inf")
        self._met: dict[Demand, list[ReadyWorker]] = {}
        if self._jobs is not None:
            self._jobs.start()
        address = target if isinstance(target, str) else target.address
        # Without one of its own Dask's configuration says with which certificate to connect.
        security = None if self._jobs is None else self._jobs.security
        self.client = _connect(address, security)
        try:
            _require_same_versions(self.client, address)
        except AppError:
            self.close()
            raise

    @property
    def about(self) -> str:
        """Return a line about where nodes run, and where to look at them."""
        pages = f"; its pages: {self.client.dashboard_link}"
        if self._jobs is None:
            return f"Steps run on the workers of {self.client.scheduler.address}{pages}"
        return f"{self._jobs.about}{pages}"

    @property
    def logs(self) -> str:
        """Words on where the output of the jobs is; empty without jobs."""
        return "" if self._jobs is None else f"; output of the jobs: {self._jobs.log_folder}"

    def prepare(self, modules: Iterable[str]) -> None:
        """Have all workers, also those that join later, import the modules of the nodes."""
        if self._modules.issuperset(modules):
            return
        self._modules.update(modules)
        found = {name: os.environ.get(name) for name in _INHERITED}
        environment = {name: value for name, value in found.items() if value is not None}
        plugin = Preparation(
            self.name, sorted(self._modules), environment, self._threads, self._folder
        )
        try:
            self.client.register_plugin(plugin, name=self.name)
        except Exception as error:
            raise UsageError(
                f"A worker of {self.client.scheduler.address} cannot be used: {error}. It must run "
                "in the same image, or with the same packages, as this command."
            ) from error

    def adapt(self, n_wanted: int, say: Callable[[str], None]) -> None:
        """Ask, once a second, for as many workers as nodes could use; let idle ones go."""
        if time.monotonic() - self._adapted_s < 1:
            return
        self._adapted_s = time.monotonic()
        self._require_scheduler()
        refused = self._refused()
        for each in refused:
            say(each)
        if refused and not self._ready():
            raise UsageError(refused[0])
        if self._jobs is not None:
            self._jobs.adapt(n_wanted, say)
        elif n_wanted and not self._all_workers():
            say(
                f"No worker is ready at {self.client.scheduler.address}; waiting. Start some with: "
                f"dask worker {self.client.scheduler.address} --nthreads {self._threads}"
            )

    def demand_of(self, node: Any, say: Callable[[str], None]) -> Demand | None:
        """Return what a node asks for, at most what a worker has; None without any worker."""
        ready = self._ready()
        if not ready:
            return None
        demand = Demand(node.mem_gb + _PROGRAM_GB, node.n_procs, bool(node.is_gpu_node()))
        if demand.gpu:
            ready = frozenset(each for each in ready if each.gpu)
            if not ready:
                raise UsageError(
                    f"The step {node.name} needs a GPU, and none of the workers that are ready has "
                    "one. Ask for it in the plugin file (job_extra_directives: [--gres=gpu:1]), "
                    "start a worker where there is one, or use --device cpu."
                )
        if any(each.meets(demand) for each in ready):
            return demand
        largest = max(ready, key=lambda each: each.memory_gb)
        if demand.memory_gb > largest.memory_gb:
            say(
                f"The step {node.name} may take {demand.memory_gb:.1f} GB with the program, more "
                f"than the {largest.memory_gb:.1f} GB of the largest worker: it may be ended "
                "for it."
            )
        return Demand(
            min(demand.memory_gb, largest.memory_gb),
            min(demand.threads, largest.threads),
            demand.gpu,
        )

    def that_meet(self, demand: Demand) -> list[ReadyWorker]:
        """Return the workers that meet a demand, those without a GPU and the smallest first."""
        ready = self._ready()
        if demand not in self._met:
            found = (each for each in ready if each.meets(demand))
            self._met[demand] = sorted(found, key=lambda w: (w.gpu, w.memory_gb, w.address))
        return self._met[demand]

    def is_there(self, worker: ReadyWorker) -> bool:
        """Return whether a worker process still runs."""
        return worker in self._ready()

    def has_left(self, worker: ReadyWorker) -> bool:
        """Return whether a worker that is gone ended as planned, as with ``--lifetime``."""
        with suppress(OSError, TimeoutError):
            events = self.client.get_events(worker.address) or ()
            ends = [about for _, about in events if about.get("action") == "remove-worker"]
            return bool(ends and ends[-1]["expected"])
        return False

    def memory_at_end_gb(self, worker: ReadyWorker) -> float | None:
        """Return the memory for which the nanny ended this worker process, else None."""
        with suppress(OSError, TimeoutError):
            for _, about in self.client.get_events(_MEMORY) or ():
                if (about["worker"], about["pid"]) == (worker.address, worker.pid):
                    return float(about["rss"]) / 1e9
        return None

    def cancel(self, futures: Sequence[Any]) -> None:
        """Cancel nodes; the workers that compute them end with them."""
        unfinished = [each for each in futures if not each.done()]
        if unfinished and self.client.status == "running":
            with suppress(OSError, TimeoutError):
                self.client.cancel(unfinished, force=True)

    def close(self) -> None:
        """End the jobs, or leave the workers of others as they were."""
        if self._jobs is None and self._modules and self.client.status == "running":
            with suppress(OSError, TimeoutError, ValueError):
                self.client.unregister_worker_plugin(self.name)
        self.client.close(timeout=5)
        if self._jobs is not None:
            self._jobs.close()

    def _all_workers(self) -> dict[str, Any]:
        """Return what the scheduler knows of its workers, by address."""
        with _a_scheduler_that_answers():
            found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _ready(self) -> frozenset[ReadyWorker]:
        """Return the workers that are prepared for this run."""
        if time.monotonic() - self._looked_s >= _LOOK_S:
            found = self._all_workers().items()
            self._ready_now = frozenset(
                _ready_worker(address, about)
                for address, about in found
                if self.name in about["resources"]
            )
            self._met.clear()
            self._looked_s = time.monotonic()
        return self._ready_now

    def _refused(self) -> list[str]:
        """Return a sentence for every worker that could not be prepared."""
        with _a_scheduler_that_answers():
            events = self.client.get_events(self.name) or ()
        return [
            f"A worker on {about['host']} cannot be used: {about['why']}. It must run in the same "
            "image, or with the same packages, and see the same --work-dir as this command."
            for _, about in events
        ]

    def _require_scheduler(self) -> None:
        if self.client.status != "running":
            raise AppError(_GONE)


@contextmanager
def _a_scheduler_that_answers() -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise AppError(_GONE) from error


def _ready_worker(address: str, about: Mapping[str, Any]) -> ReadyWorker:
    has = about["resources"]
    return ReadyWorker(
        address=address,
        pid=int(has[PID]),
        host=about["host"],
        limit_gb=(about["memory_limit"] or 0) / 1e9,
        memory_gb=has["memory_gb"],
        threads=int(has["threads"]),
        gpu=has["gpu"] >= 1,
    )


def _connect(address: str, security: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # Of versions: `_require_same_versions` says more.
            warnings.simplefilter("ignore")
            return Client(
                address,
                timeout=_CONNECT_S,
                security=security,
                set_as_default=False,
                name="fmmtc",
            )
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise MissingResourceError(
            f"No Dask scheduler answers at {address} ({error}). Start one (dask scheduler), and "
            "check that this machine can connect to it and that it has the same version."
        ) from error


def _require_same_versions(client: Any, address: str) -> None:
    """Refuse a scheduler that might misunderstand this process or its workers."""
    there = client.get_versions()["scheduler"]
    here = own_versions()
    found = {name: there["packages"].get(name) for name in ("dask", "distributed", "msgpack")}
    found["python"] = ".".join(there["host"]["python"].split(".")[:3])
    other = [
        f"{name} {is_} (here {here[name]})" for name, is_ in found.items() if is_ != here[name]
    ]
    if other:
        raise UsageError(
            f"The Dask scheduler at {address} has other versions than this command: "
            f"{', '.join(other)}. Start it from the same image or environment."
        )


def _quiet(verbose: int) -> None:
    """Leave Dask's log to ``-v``: this program prints what matters of it."""
    if verbose:
        return
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

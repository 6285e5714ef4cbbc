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

from fmmtc_bidsapp.engine.cluster.preparation import STEP, Preparation, own_versions
from fmmtc_bidsapp.errors import AppError, MissingResourceError, UsageError

if TYPE_CHECKING:
    from fmmtc_bidsapp.engine.cluster.jobs import Jobs

__all__ = ["DaskWorkers", "Demand"]

_PROGRAM_GB = 1.0
"""Interpreter and libraries, which a node's own estimate leaves out."""
_LOOK_S = 0.2
"""For so long what the scheduler said of its workers holds."""
_CONNECT_S = 30.0
_CONFIGURATION: Mapping[str, Any] = {
    # A node is given up at the third death of its worker.
    "distributed.scheduler.allowed-failures": 2,
    # Nothing waits on a worker, where it would die with another node.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    # Until a worker that its nanny starts anew is taken for a job that has ended.
    "distributed.deploy.lost-worker-timeout": "120 s",
}
_INHERITED = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG"),
    *("NIPYPE_NO_ET", "TEMPLATEFLOW_AUTOUPDATE"),
)
"""Variables that numerical libraries and look-ups read, in workers as here."""
_GONE = (
    "The Dask scheduler is gone. Start it and its workers again, then run the same command again; "
    "what is finished is kept."
)
_MEMORY = "worker-restart-memory"
"""Dask's topic of workers that took too much."""


@dataclass(frozen=True)
class Demand:
    """What a node asks of a worker."""

    memory_gb: float
    threads: int
    gpu: bool

    @property
    def resources(self) -> dict[str, float]:
        """Return the same as Dask has it; the last keeps a worker to one node at a time."""
        gpu = {"gpu": 1.0} if self.gpu else {}
        return {"memory_gb": self.memory_gb, "threads": float(self.threads), **gpu, STEP: 1.0}


class DaskWorkers:
    """A connection to the scheduler of a Dask cluster, and what its workers have.

    Parameters
    ----------
    target
        Address of a scheduler, or the jobs to ask a queue for.
    threads
        Of one node.
    folder
        In which nodes compute.
    verbose
        Above 0 Dask's own warnings are shown.
    """

    def __init__(self, target: str | Jobs, *, threads: int, folder: Path, verbose: int) -> None:
        self.name = f"fmmtc{uuid4().hex[:10]}"
        """In the keys of all nodes of this run."""
        dask.config.set(_CONFIGURATION)
        _quiet(verbose)
        self._jobs = None if isinstance(target, str) else target
        self._threads, self._folder = threads, folder
        self._modules: set[str] = set()
        self._has: dict[str, dict[str, float]] = {}
        self._looked_s = self._adapted_s = float("-inf")
        self._met: dict[Demand, frozenset[str]] = {}
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
        """Words that say where the jobs' output is, if there are jobs."""
        return "" if self._jobs is None else f"; what jobs said is in {self._jobs.log_folder}"

    def prepare(self, modules: Iterable[str]) -> None:
        """Have all workers, and those that are still to come, import what nodes are made of."""
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
        """Return what a node asks for, at most what a worker has; None without any worker.

        Raises
        ------
        UsageError
            Where it needs a GPU and no worker has one.
        """
        ready = self._ready()
        if not ready:
            return None
        demand = Demand(node.mem_gb + _PROGRAM_GB, node.n_procs, bool(node.is_gpu_node()))
        if demand.gpu:
            ready = {each: has for each, has in ready.items() if has.get("gpu", 0) >= 1}
            if not ready:
                raise UsageError(
                    f"The step {node.name} needs a GPU, and none of the workers that are ready has "
                    "one. Ask for it in the plugin file (job_extra_directives: [--gres=gpu:1]), "
                    "start a worker where there is one, or use --device cpu."
                )
        if any(_meets(has, demand) for has in ready.values()):
            return demand
        largest = max(ready.values(), key=lambda has: has["memory_gb"])
        if demand.memory_gb > largest["memory_gb"]:
            say(
                f"The step {node.name} may take {demand.memory_gb:.1f} GB with the program, more "
                f"than the {largest['memory_gb']:.1f} GB of the largest worker: it may be ended "
                "for it."
            )
        return Demand(
            min(demand.memory_gb, largest["memory_gb"]),
            min(demand.threads, int(largest["threads"])),
            demand.gpu,
        )

    def that_meet(self, demand: Demand) -> frozenset[str]:
        """Return the addresses of the workers that have what is asked for."""
        ready = self._ready()
        if demand not in self._met:
            found = (each for each, has in ready.items() if _meets(has, demand))
            self._met[demand] = frozenset(found)
        return self._met[demand]

    def memory_at_end_gb(self, address: str) -> float | None:
        """Return what a worker took when its nanny ended it for that, None if it did not."""
        with suppress(OSError, TimeoutError):
            events = self.client.get_events(_MEMORY)
            taken = [about["rss"] for _, about in events if about["worker"] == address]
            return float(taken[-1]) / 1e9 if taken else None
        return None

    def cancel(self, futures: Sequence[Any]) -> None:
        """Take nodes back; the workers that compute them end with them."""
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
        """Ask for what the scheduler knows of its workers, by address."""
        with _a_scheduler_that_answers():
            found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _ready(self) -> dict[str, dict[str, float]]:
        """Return what workers have that are prepared, by address."""
        if time.monotonic() - self._looked_s >= _LOOK_S:
            workers = self._all_workers()
            has = {each: about["resources"] for each, about in workers.items()}
            self._has = {each: what for each, what in has.items() if self.name in what}
            self._met.clear()
            self._looked_s = time.monotonic()
        return self._has

    def _refused(self) -> list[str]:
        """Return why workers could not be prepared, a sentence each."""
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


def _meets(has: Mapping[str, float], demand: Demand) -> bool:
    return all(has.get(name, 0) >= asked for name, asked in demand.resources.items())


def _connect(address: str, security: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # Of versions, which end the run, with more words.
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
            f"No Dask scheduler answers at {address} ({error}). Start one (dask scheduler), look "
            "whether this machine may connect to it, and whether it is of the same version."
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
    """Leave Dask's own lines to ``-v``: what matters of them is said in ours."""
    if verbose:
        return
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

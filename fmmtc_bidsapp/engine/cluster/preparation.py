"""A Dask worker made ready for the nodes of a run, and ended with a node that was cancelled."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import socket
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin
from distributed.core import Status
from threadpoolctl import threadpool_limits

from fmmtc_bidsapp._version import __version__

__all__ = ["PID", "STEP", "Preparation", "own_versions"]

STEP = "step"
"""The resource of which a worker has one: it runs one node at a time."""
PID = "pid"
"""The resource that holds the number of the worker's process."""
_PACKAGES = (
    *("cloudpickle", "dask", "distributed", "msgpack", "nibabel", "nilearn", "nipype", "numpy"),
    *("pandas", "scikit-learn", "scipy", "torch"),
)
"""Packages that carry nodes, and those that their numbers come from."""


def own_versions() -> dict[str, str]:
    """Return the versions that workers and the command must share, by name."""
    found = {"python": platform.python_version(), "fmmtc_bidsapp": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


class Preparation(WorkerPlugin):
    """Prepares a worker for the nodes of one run, and ends it with a node that was cancelled.

    ``name`` is the run's: part of the keys of its nodes, a resource of prepared workers, and the
    topic of workers that could not be prepared. ``modules`` are imported before the first node,
    since that takes seconds; ``threads`` are those of one node; ``folder`` is where nodes compute.
    """

    def __init__(
        self,
        name: str,
        modules: Sequence[str],
        environment: Mapping[str, str],
        threads: int,
        folder: Path,
    ) -> None:
        self.name = name
        self._modules, self._environment = tuple(modules), dict(environment)
        self._threads, self._folder = threads, str(folder)
        self._versions = own_versions()

    def setup(self, worker: Any) -> None:
        """Prepare beside the event loop: a slow disk must not make the worker seem dead."""
        self._task = asyncio.create_task(self._prepare(worker))

    async def _prepare(self, worker: Any) -> None:
        try:
            self._require_same_versions()
            self._require_folder()
            for name, value in self._environment.items():
                os.environ[name] = value
            # The nanny ends nodes that take too much memory. A worker that pauses instead would
            # wait for ever, as libraries keep memory that a node gave back.
            worker.memory_manager.memory_pause_fraction = False
            for name in self._modules:
                await asyncio.to_thread(import_module, name)
            threadpool_limits(self._threads)
            await self._offer(worker)
        except Exception as error:  # noqa: BLE001 - whatever it is, the command has to say it
            text = f"{type(error).__name__}: {error}"
            worker.log_event(self.name, {"host": socket.gethostname(), "why": text})

    def _require_same_versions(self) -> None:
        here = own_versions()
        other = {name: is_ for name, is_ in self._versions.items() if here[name] != is_}
        if other:
            listed = ", ".join(f"{name} {here[name]} (here {is_})" for name, is_ in other.items())
            raise RuntimeError(f"it has other versions than this command: {listed}")

    def _require_folder(self) -> None:
        if not Path(self._folder).is_dir():
            raise RuntimeError(f"it does not see the work directory {self._folder}")

    async def _offer(self, worker: Any) -> None:
        """Send the scheduler the resources of the worker, and have it look at waiting nodes."""
        has = worker.state.total_resources
        if self.name in has:
            return
        offered = {
            "memory_gb": _memory_gb(worker),
            "threads": float(worker.state.nthreads),
            "gpu": float(_sees_gpu()),
            STEP: 1.0,
            PID: float(os.getpid()),
        }
        await worker.set_resources(**{**offered, **has, self.name: 1.0})
        # The scheduler looks at waiting nodes when a worker begins to run, not for resources.
        if worker.status == Status.running:
            worker.status = Status.paused
            worker.status = Status.running

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:
        """End this process with a node that was cancelled: its thread would compute on."""
        if (start, finish) == ("executing", "released") and self.name in str(key):
            _end()

    def teardown(self, worker: Any) -> None:
        """End this process, and the node that it computes, when the scheduler is gone."""
        running = [task for task in worker.state.executing if self.name in str(task.key)]
        if running and worker.status not in (Status.running, Status.paused):
            _end()


def _end() -> None:
    """Kill this process; its nanny starts another if one is still wanted."""
    os.kill(os.getpid(), signal.SIGKILL)


def _memory_gb(worker: Any) -> float:
    limit = worker.memory_manager.memory_limit
    if limit:
        return float(limit) / 1e9
    from fmmtc_bidsapp.machine import memory_bytes

    return memory_bytes() / 1e9


def _sees_gpu() -> bool:
    """Return whether this process may use a GPU: one of its job, or one of the driver."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return given.strip() not in ("", "-1", "NoDevFiles")
    folder = Path("/proc/driver/nvidia/gpus")
    return folder.is_dir() and any(folder.iterdir())

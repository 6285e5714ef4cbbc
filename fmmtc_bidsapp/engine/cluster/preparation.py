"""What happens on a Dask worker: before its first node, and when nobody waits for its node."""

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

__all__ = ["STEP", "Preparation", "own_versions"]

STEP = "step"
"""The resource of which a worker has one: it runs one node at a time."""
_PACKAGES = (
    *("cloudpickle", "dask", "distributed", "msgpack", "nibabel", "nilearn", "nipype", "numpy"),
    *("pandas", "scikit-learn", "scipy", "torch"),
)
"""What carries nodes, and what their numbers come from."""


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
    """Prepares a worker for the nodes of one run, and ends with the node that nobody waits for.

    Parameters
    ----------
    name
        Of the run: part of the keys of its nodes, the resource that a worker has once it is
        prepared for them, and the topic under which it says why it could not be.
    modules
        Imported before the first node, since they take seconds.
    environment
        Variables that numerical libraries read.
    threads
        Of one node.
    folder
        In which nodes compute; the worker must see it.
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
            # Beyond their estimate nodes are ended by the nanny; a worker that pauses would wait
            # for ever, as the libraries keep what a node gave back.
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
            told = ", ".join(f"{name} {here[name]} (here {is_})" for name, is_ in other.items())
            raise RuntimeError(f"it has other versions than this command: {told}")

    def _require_folder(self) -> None:
        if not Path(self._folder).is_dir():
            raise RuntimeError(f"it does not see the work directory {self._folder}")

    async def _offer(self, worker: Any) -> None:
        """Tell the scheduler what the worker has, and have it look at waiting nodes again."""
        has = worker.state.total_resources
        if self.name in has:
            return
        offered = {
            "memory_gb": _memory_gb(worker),
            "threads": float(worker.state.nthreads),
            "gpu": float(_sees_gpu()),
            STEP: 1.0,
        }
        await worker.set_resources(**{**offered, **has, self.name: 1.0})
        # Nodes that wait for a worker are looked at when one begins to run, not for resources.
        if worker.status == Status.running:
            worker.status = Status.paused
            worker.status = Status.running

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:
        """End this process with a node that was taken back: its thread would compute on."""
        if (start, finish) == ("executing", "released") and self.name in str(key):
            _end()

    def teardown(self, worker: Any) -> None:
        """End this process with the node that it computes when the scheduler is gone."""
        running = [task for task in worker.state.executing if self.name in str(task.key)]
        if running and worker.status not in (Status.running, Status.paused):
            _end()


def _end() -> None:
    """End this process at once; its nanny starts another where one is still wanted."""
    os.kill(os.getpid(), signal.SIGKILL)


def _memory_gb(worker: Any) -> float:
    limit = worker.memory_manager.memory_limit
    if limit:
        return float(limit) / 1e9
    from fmmtc_bidsapp.machine import memory_bytes

    return memory_bytes() / 1e9


def _sees_gpu() -> bool:
    """Say whether this process may use a GPU: as its job was given one, or as the driver has."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return given.strip() not in ("", "-1", "NoDevFiles")
    folder = Path("/proc/driver/nvidia/gpus")
    return folder.is_dir() and any(folder.iterdir())

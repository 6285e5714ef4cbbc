"""Nodes on the workers of a Dask cluster, as a plugin of nipype."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from distributed import KilledWorker
from nipype.pipeline.plugins.base import DistributedPluginBase
from nipype.pipeline.plugins.multiproc import run_node

from fmmtc_bidsapp.engine.cluster.connection import DaskWorkers, Demand, ReadyWorker
from fmmtc_bidsapp.engine.cluster.preparation import STEP
from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.engine.task import module_of
from fmmtc_bidsapp.interrupts import raise_if_interrupted

__all__ = ["DaskPlugin"]

_PATIENCE_S = 0.5
_MOST_DEATHS = 3
"""Workers that may be killed while they compute a node, until the node fails."""
_DISK_S = 90.0
"""Longest time until a file of another machine is visible here: NFS caches what it knows of a
folder for a minute (``acdirmax``)."""


@dataclass
class _Waiting:
    """A node that no worker computes yet."""

    node: Any
    updatehash: bool
    n_deaths: int = 0
    """Workers that were killed while they computed this node."""


@dataclass
class _Sent:
    """A node on a worker."""

    waited: _Waiting
    future: Any
    demand: Demand
    worker: ReadyWorker


class DaskPlugin(DistributedPluginBase):
    """Hands each node to one named worker, and each worker one node at a time.

    Dask itself would give the node of a lost worker to any other one, where it waits behind
    another node and is blamed for the end of that worker too. Here a node is tied to its worker,
    so the end of a worker concerns the node that it computed and no other.
    """

    def __init__(self, workers: DaskWorkers, progress: NodeProgress) -> None:
        super().__init__(plugin_args={"status_callback": progress})
        self._workers, self._say = workers, progress.say
        self._ended = threading.Event()
        self._ids = count()
        self._waiting: dict[int, _Waiting] = {}
        self._sent: dict[int, _Sent] = {}
        self._seen_s: dict[int, float] = {}

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph; whatever ends it early also ends its nodes on the workers."""
        self._workers.prepare({module_of(node.interface) for node in graph.nodes()})
        try:
            super().run(graph, config, updatehash)
        finally:
            self._workers.cancel([each.future for each in self._sent.values()])

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        raise_if_interrupted()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        self._workers.adapt(len(self._waiting) + len(self._sent), self._say)
        self._hand_out()
        if self.pending_tasks and self._ended.wait(_PATIENCE_S):
            self._ended.clear()

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        taskid = next(self._ids)
        self._waiting[taskid] = _Waiting(node, updatehash)
        return taskid

    def _hand_out(self) -> None:
        """Hand waiting nodes to free workers that meet their demands."""
        busy = {each.worker for each in self._sent.values()}
        full: set[Demand] = set()
        for taskid, waiting in list(self._waiting.items()):
            demand = self._workers.demand_of(waiting.node, self._say)
            if demand is None:
                return
            if demand in full:
                continue
            worker = next((w for w in self._workers.that_meet(demand) if w not in busy), None)
            if worker is None:
                full.add(demand)
                continue
            busy.add(worker)
            del self._waiting[taskid]
            self._sent[taskid] = _Sent(
                waiting, self._hand_to(worker, waiting, taskid), demand, worker
            )

    def _hand_to(self, worker: ReadyWorker, waiting: _Waiting, taskid: int) -> Any:
        node, name = waiting.node, self._workers.name
        future = self._workers.client.submit(
            run_node,
            node,
            waiting.updatehash,
            taskid,
            key=f"{node.name}-{name}-{node.fullname}-{taskid}-{time.time_ns()}",
            pure=False,
            workers=[worker.address],
            resources={STEP: 1.0, name: 1.0},
        )
        future.add_done_callback(lambda _: self._ended.set())
        return future

    def _get_result(self, taskid: int) -> Any:
        if taskid in self._waiting:
            return None
        sent = self._sent[taskid]
        future, node = sent.future, sent.waited.node
        if not future.done():
            return None if self._workers.is_there(sent.worker) else self._lost(taskid)
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                return self._lost(taskid)
            return _failed(f"{node.name}: the step could not be sent to a worker: {error!r}")
        if future.status != "finished":
            # Taken back, as the scheduler is lost: `DaskWorkers.adapt` ends the run.
            return None
        result = future.result()
        if result["traceback"] or _is_here(node):
            return result
        if time.monotonic() - self._seen_s.setdefault(taskid, time.monotonic()) < _DISK_S:
            return None
        return _failed(
            f"{node.name}: its worker has finished it, but {_result_file(node)} is not visible "
            "here. Put --work-dir on a disk that this machine and all workers see."
        )

    def _lost(self, taskid: int) -> Any:
        """Hand the node of a lost worker out again, or fail it at the third killed worker."""
        sent = self._sent.pop(taskid)
        sent.future.release()
        if not self._workers.has_left(sent.worker):
            sent.waited.n_deaths += 1
        if sent.waited.n_deaths < _MOST_DEATHS:
            self._waiting[taskid] = sent.waited
            return None
        return _failed(f"{sent.waited.node.name}: {_reason(sent, self._workers)}")

    def _clear_task(self, taskid: int) -> None:
        self._waiting.pop(taskid, None)
        self._seen_s.pop(taskid, None)
        sent = self._sent.pop(taskid, None)
        if sent is not None:
            sent.future.release()


def _failed(text: str) -> dict[str, Any]:
    return {"result": None, "traceback": [f"AppError: {text}\n"]}


def _result_file(node: Any) -> Path:
    return Path(node.output_dir(), f"result_{node.name}.pklz")


def _is_here(node: Any) -> bool:
    """Return whether the result of a node is visible; listing its folder refreshes NFS."""
    path = _result_file(node)
    if path.exists():
        return True
    try:
        return path.name in os.listdir(path.parent)  # noqa: PTH208 - its names are enough
    except OSError:
        return False


def _reason(sent: _Sent, workers: DaskWorkers) -> str:
    """Return why a node failed whose worker was killed each time, from its last worker's end."""
    worker = sent.worker
    text = f"its worker was killed {_MOST_DEATHS} times, the last one on {worker.host}"
    taken_gb = workers.memory_at_end_gb(worker)
    if taken_gb is not None:
        return (
            f"{text}, where it took {taken_gb:.1f} GB and may take {worker.limit_gb:.1f}. "
            "Give workers more memory (memory in the plugin file, --memory-limit of dask worker), "
            "and run the same command again."
        )
    return (
        f"{text}. Most often that is for memory (the step was expected to take "
        f"{sent.demand.memory_gb:.1f} GB), a limit of time, or a job that was cancelled"
        f"{workers.logs}. Raise the limit, and run the same command again."
    )

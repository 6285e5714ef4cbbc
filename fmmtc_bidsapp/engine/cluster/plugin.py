"""Nodes on the workers of a Dask cluster, as a plugin of nipype."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from distributed import KilledWorker
from nipype.pipeline.plugins.base import DistributedPluginBase
from nipype.pipeline.plugins.multiproc import run_node

from fmmtc_bidsapp.engine.cluster.connection import DaskWorkers, Demand
from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.engine.task import module_of
from fmmtc_bidsapp.interrupts import raise_if_interrupted

__all__ = ["DaskPlugin"]

_PATIENCE_S = 0.5
_DISK_S = 90.0
"""Until a file that another machine wrote is seen here, at the latest: NFS believes for a minute
(``acdirmax``) what it knows of a folder."""


class DaskPlugin(DistributedPluginBase):
    """Hands every node to a worker that has room for it, one at a time to each.

    Only then can the end of a worker be the fault of no node but the one it computed.
    """

    def __init__(self, workers: DaskWorkers, progress: NodeProgress) -> None:
        super().__init__(plugin_args={"status_callback": progress})
        self._workers, self._say = workers, progress.say
        self._ended = threading.Event()
        self._ids = count()
        self._waiting: dict[int, tuple[Any, bool]] = {}
        self._sent: dict[int, tuple[Any, Demand, Any]] = {}
        self._seen_s: dict[int, float] = {}

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph; whatever ends it early also ends its nodes on the workers."""
        self._workers.prepare({module_of(node.interface) for node in graph.nodes()})
        try:
            super().run(graph, config, updatehash)
        finally:
            self._workers.cancel([future for future, *_ in self._sent.values()])

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        raise_if_interrupted()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        self._workers.adapt(len(self._waiting) + len(self._sent), self._say)
        self._hand_out()
        if self.pending_tasks and self._ended.wait(_PATIENCE_S):
            self._ended.clear()

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        taskid = next(self._ids)
        self._waiting[taskid] = (node, updatehash)
        return taskid

    def _hand_out(self) -> None:
        """Hand waiting nodes out, as many of each demand as there are workers that meet it."""
        sent = Counter(demand for _, demand, _ in self._sent.values())
        full: set[Demand] = set()
        for taskid, (node, updatehash) in list(self._waiting.items()):
            demand = self._workers.demand_of(node, self._say)
            if demand is None:
                return
            if demand in full:
                continue
            fit = self._workers.that_meet(demand)
            # Of those that only these workers can take as well.
            n_others = sum(n for each, n in sent.items() if self._workers.that_meet(each) <= fit)
            if n_others >= len(fit):
                full.add(demand)
                continue
            future = self._workers.client.submit(
                run_node,
                node,
                updatehash,
                taskid,
                key=f"{node.name}-{self._workers.name}-{node.fullname}-{taskid}-{time.time_ns()}",
                pure=False,
                resources={**demand.resources, self._workers.name: 1.0},
            )
            future.add_done_callback(lambda _: self._ended.set())
            self._sent[taskid] = (future, demand, node)
            sent[demand] += 1
            del self._waiting[taskid]

    def _get_result(self, taskid: int) -> Any:
        if taskid in self._waiting:
            return None
        future, demand, node = self._sent[taskid]
        if not future.done():
            return None
        if future.status == "error":
            error = future.exception()
            text = _killed(error, demand, self._workers) if isinstance(error, KilledWorker) else ""
            text = text or f"the step could not be handed to a worker: {error!r}"
            return {"result": None, "traceback": [f"AppError: {node.name}: {text}\n"]}
        if future.status != "finished":
            # Taken back, as the scheduler is lost: `DaskWorkers.adapt` ends the run.
            return None
        result = future.result()
        if result["traceback"] or _is_here(node):
            return result
        if time.monotonic() - self._seen_s.setdefault(taskid, time.monotonic()) < _DISK_S:
            return None
        text = (
            f"{node.name}: its worker has ended it, but {_result_file(node)} is not to be seen "
            "here. Put --work-dir on a disk that this machine and all workers see."
        )
        return {"result": None, "traceback": [f"AppError: {text}\n"]}

    def _clear_task(self, taskid: int) -> None:
        self._waiting.pop(taskid, None)
        self._seen_s.pop(taskid, None)
        future, *_ = self._sent.pop(taskid, (None,))
        if future is not None:
            future.release()


def _result_file(node: Any) -> Path:
    return Path(node.output_dir(), f"result_{node.name}.pklz")


def _is_here(node: Any) -> bool:
    """Look for the result of a node; listing its folder has NFS look again."""
    path = _result_file(node)
    if path.exists():
        return True
    try:
        return path.name in os.listdir(path.parent)  # noqa: PTH208 - its names are enough
    except OSError:
        return False


def _killed(error: Any, demand: Demand, workers: DaskWorkers) -> str:
    """Say why a node was given up whose worker was killed each time."""
    times, last = error.allowed_failures + 1, error.last_worker
    text = f"its worker was killed {times} times, the last one on {last.host}"
    taken_gb = workers.memory_at_end_gb(last.address)
    if taken_gb is not None:
        return (
            f"{text}, where it took {taken_gb:.1f} GB and may take {last.memory_limit / 1e9:.1f}. "
            "Give workers more memory (memory in the plugin file, --memory-limit of dask worker), "
            "and run the same command again."
        )
    return (
        f"{text}. Most often that is for memory (the step was expected to take "
        f"{demand.memory_gb:.1f} GB), a limit of time, or a job that was cancelled{workers.logs}. "
        "Raise the limit, and run the same command again."
    )

"""Worker processes of this machine, each ended with the run that it works for."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import psutil
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

from fmmtc_bidsapp.engine.progress import NodeProgress

__all__ = ["Workers"]

_PATIENCE_S = 1.0
_THEN = "\nDuring handling of the above exception, another exception occurred:"
"""Python's words."""
_KILLED = (
    "AppError: The process was killed from outside, twice; most often for memory. Use fewer "
    "--nprocs, or more memory, and run again.\n"
)


def _begin(folder: str, parent: int) -> None:
    """Begin a worker process: it ends with the one that it works for."""
    os.chdir(folder)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone.

    Otherwise the workers of a killed run wait for ever, and meanwhile finish nodes that the next
    run has begun anew.
    """
    try:
        # Not the parent's id of this process, which is a fork server's where there is one.
        master = psutil.Process(parent)
        while master.is_running() and master.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_PATIENCE_S)
    except psutil.NoSuchProcess:
        pass
    os._exit(1)


def _lost(taskid: int, error: BaseException) -> dict[str, Any]:
    """Say what ended a node that could not say so itself, as nipype has it of others."""
    if isinstance(error, BrokenProcessPool):
        return {"result": None, "taskid": taskid, "traceback": [_KILLED]}
    # nipype looks for a result file also where a full disk kept it from being written; what
    # happened before that is the reason.
    text = str(error.__cause__ or repr(error))
    return {"result": None, "taskid": taskid, "traceback": [text.rpartition(_THEN)[0] or text]}


class Workers(MultiProcPlugin):
    """MultiProc that wakes up when a node ends, and goes on when the kernel kills a worker.

    nipype's own looks at fixed times only, and waits for a killed worker for ever.
    """

    def __init__(self, arguments: dict[str, Any], progress: NodeProgress) -> None:
        super().__init__(arguments)
        self.pool = self._new_pool()
        self.graph: Any = None
        self._say = progress.say
        self._ended = threading.Event()
        self._submitted: dict[int, tuple[Any, bool]] = {}

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.processors, initializer=_begin, initargs=(self._cwd, os.getpid())
        )

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph, and keep it for `write_workflow_resources` after a failure."""
        self.graph = graph
        # nipype collects garbage whenever it sends nodes off: without this it looks each time at
        # every object of the graph and of every imported library, half of its own time.
        gc.collect()
        gc.freeze()
        try:
            super().run(graph, config, updatehash)
        finally:
            gc.unfreeze()

    def _prerun_check(self, graph: Any) -> None:
        large = max(graph.nodes(), key=lambda node: node.mem_gb, default=None)
        if large is not None and large.mem_gb > self.memory_gb:
            self._say(
                f"The step {large.name} may take {large.mem_gb:.1f} GB, more than the "
                f"{self.memory_gb:.1f} GB that all may take together: it runs alone."
            )
        super()._prerun_check(graph)

    def _async_callback(self, future: Any) -> None:
        if future.exception() is None:
            super()._async_callback(future)
        self._ended.set()

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        if self.pending_tasks and self._ended.wait(_PATIENCE_S):
            self._ended.clear()

    def _get_result(self, taskid: int) -> Any:
        future = self._task_obj[taskid]
        error = future.exception() if future.done() else None
        if isinstance(error, BrokenProcessPool):
            return self._again(taskid)
        if error is not None:
            return _lost(taskid, error)
        return super()._get_result(taskid)

    def _again(self, taskid: int) -> Any:
        """Run a node once more, alone: all that ran beside the one that was killed were lost."""
        node, updatehash = self._submitted[taskid]
        with self._new_pool() as pool:
            future = pool.submit(run_node, node, updatehash, taskid)
            error = future.exception()
        return future.result() if error is None else _lost(taskid, error)

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        self._taskresult.pop(taskid, None)
        self._submitted.pop(taskid, None)

    def _submit_job(self, node: Any, updatehash: bool = False) -> Any:
        try:
            taskid = super()._submit_job(node, updatehash)
        except BrokenProcessPool:
            self.pool = self._new_pool()
            taskid = super()._submit_job(node, updatehash)
        self._submitted[taskid] = (node, updatehash)
        return taskid

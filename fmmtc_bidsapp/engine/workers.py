"""Worker processes of this machine, which end with the run that they work for."""

from __future__ import annotations

import gc
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.errors import SystemLimitError, system_limit
from fmmtc_bidsapp.interrupts import raise_if_interrupted

__all__ = ["Workers"]

_PATIENCE_S = 1.0
_THEN = "\nDuring handling of the above exception, another exception occurred:"
"""The line of Python between two tracebacks."""
_KILLED = (
    "AppError: The process was killed from outside, twice; most often for memory. Use fewer "
    "--nprocs, or more memory (or a higher ulimit), and run again.\n"
)


def _begin(folder: str, parent: int) -> None:
    """Begin a worker process: it ignores Ctrl-C and ends with the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(folder)
    try:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    except RuntimeError:
        # The system refuses a thread. The parent notices that this process is gone.
        os._exit(SystemLimitError.exit_code)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone.

    Otherwise the workers of a killed run wait for ever, and finish nodes that the next run has
    begun again.
    """
    try:
        # Not os.getppid(), which may be a fork server.
        master = psutil.Process(parent)
        while master.is_running() and master.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_PATIENCE_S)
    except psutil.NoSuchProcess:
        pass
    os._exit(1)


def _lost(taskid: int, error: BaseException) -> dict[str, Any]:
    """Return the traceback of a node whose process ended, in the form nipype expects."""
    if isinstance(error, BrokenProcessPool):
        return {"result": None, "taskid": taskid, "traceback": [_KILLED]}
    # nipype looks for a result file even if a full disk prevented it; the cause is the first error.
    text = str(error.__cause__ or repr(error))
    return {"result": None, "taskid": taskid, "traceback": [text.rpartition(_THEN)[0] or text]}


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back while processes begin: it would end them with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _submit(pool: ProcessPoolExecutor, *arguments: Any) -> Future[Any]:
    with _without_interrupts():
        return pool.submit(run_node, *arguments)


def _end(pool: Any) -> None:
    """Kill the processes of a pool, also of one whose processes could not begin."""
    processes = list((pool._processes or {}).values())
    for process in processes:
        process.kill()
    if not processes:
        # At exit Python would wait for work that no process will do.
        with suppress(queue.Empty):
            while True:
                pool._work_ids.get_nowait()
        pool._pending_work_items.clear()
    pool.shutdown(wait=False, cancel_futures=True)


class Workers(MultiProcPlugin):
    """MultiProc that wakes up when a node ends, and goes on when the kernel kills a worker.

    The MultiProc of nipype looks at fixed times only, and waits for ever for a killed worker.
    """

    def __init__(self, arguments: dict[str, Any], progress: NodeProgress) -> None:
        super().__init__(arguments)
        self.pool = self._new_pool()
        self.graph: Any = None
        self._say = progress.say
        self._ended = threading.Event()
        self._refused: list[BaseException] = []
        self._submitted: dict[int, tuple[Any, bool]] = {}

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.processors, initializer=_begin, initargs=(self._cwd, os.getpid())
        )

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph, and keep it for `write_workflow_resources` after a failure."""
        self.graph = graph
        # nipype collects garbage whenever it submits nodes. Frozen, the objects of the graph and
        # of imported libraries are left out of that, which halves its run time.
        gc.collect()
        gc.freeze()
        hook = threading.excepthook
        threading.excepthook = self._of_a_thread
        try:
            super().run(graph, config, updatehash)
        except (OSError, RuntimeError, MemoryError) as error:
            limit = system_limit(error)
            if limit is None:
                raise
            raise limit from error
        finally:
            threading.excepthook = hook
            gc.unfreeze()
            _end(self.pool)

    def _of_a_thread(self, about: threading.ExceptHookArgs) -> None:
        """Note the error that ended a thread of the pool, which would never return a result."""
        if about.exc_value is not None:
            self._refused.append(about.exc_value)
        self._ended.set()

    def _prerun_check(self, graph: Any) -> None:
        large = max(graph.nodes(), key=lambda node: node.mem_gb, default=None)
        if large is not None and large.mem_gb > self.memory_gb:
            self._say(
                f"The step {large.name} may take {large.mem_gb:.1f} GB, more than the "
                f"{self.memory_gb:.1f} GB that all may take together: it runs alone."
            )
        super()._prerun_check(graph)

    def _async_callback(self, future: Any) -> None:
        if not future.cancelled() and future.exception() is None:
            super()._async_callback(future)
        self._ended.set()

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        raise_if_interrupted()
        for error in self._refused:
            raise error
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
        """Run a node once more, alone: a killed process ends all nodes of its pool."""
        node, updatehash = self._submitted[taskid]
        pool = self._new_pool()
        try:
            future = _submit(pool, node, updatehash, taskid)
            while not future.done():
                raise_if_interrupted()
                for refused in self._refused:
                    raise refused
                wait([future], _PATIENCE_S)
        finally:
            _end(pool)
        error = future.exception()
        return future.result() if error is None else _lost(taskid, error)

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        self._taskresult.pop(taskid, None)
        self._submitted.pop(taskid, None)

    def _submit_job(self, node: Any, updatehash: bool = False) -> Any:
        with _without_interrupts():
            try:
                taskid = super()._submit_job(node, updatehash)
            except BrokenProcessPool:
                self.pool = self._new_pool()
                taskid = super()._submit_job(node, updatehash)
        self._submitted[taskid] = (node, updatehash)
        return taskid

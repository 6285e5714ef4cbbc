"""Worker processes of this machine, each ended with the run that it works for."""

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
"""Python's words."""
_KILLED = (
    "AppError: The process was killed from outside, twice; most often for memory. Use fewer "
    "--nprocs, or more memory (or a higher ulimit), and run again.\n"
)


def _begin(folder: str, parent: int) -> None:
    """Begin a worker process: it ends with the one that it works for, which hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(folder)
    try:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    except RuntimeError:
        # The system refuses it. Whoever waits for this process is told that it is gone.
        os._exit(SystemLimitError.exit_code)


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


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back while processes begin: until they ignore it, it would end them loudly."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _submit(pool: ProcessPoolExecutor, *arguments: Any) -> Future[Any]:
    with _without_interrupts():
        return pool.submit(run_node, *arguments)


def _end(pool: Any) -> None:
    """End a pool at once, whatever it computes, and whether its processes could begin or not."""
    processes = list((pool._processes or {}).values())
    for process in processes:
        process.kill()
    if not processes:
        # Python would wait at its own end for what no process is left to do.
        with suppress(queue.Empty):
            while True:
                pool._work_ids.get_nowait()
        pool._pending_work_items.clear()
    pool.shutdown(wait=False, cancel_futures=True)


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
        self._refused: list[BaseException] = []
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
        """Note what ended a thread of the pool: without it nothing would ever come back."""
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
        """Run a node once more, alone: all that ran beside the one that was killed were lost."""
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

"""A Dask scheduler and workers of this machine, started as users start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
from distributed import Client, Security
from hpc_page import ROOT

_DASK = Path(sys.executable).with_name("dask")
_PATIENCE_S = 60.0


class Dask:
    """A scheduler that runs, and the workers that have joined it."""

    def __init__(self, folder: Path, *, security: bool = False) -> None:
        self.folder = folder
        if security:
            # What this process read at its start says nothing of certificates.
            dask.config.refresh(paths=[os.environ["DASK_CONFIG"]])
        self._security = Security() if security else None
        self.file = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--port", "0", "--host", "127.0.0.1")
        until_s = time.monotonic() + _PATIENCE_S
        while not self.file.exists():
            assert time.monotonic() < until_s, self.log("scheduler")
            time.sleep(0.05)

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def add_workers(self, n: int, *words: str) -> None:
        """Start worker processes, and wait until all have joined."""
        given = ("--nworkers", str(n), "--nthreads", "1", "--host", "127.0.0.1", *words)
        n_before = self.n_workers()
        self._start("worker", "--local-directory", str(self.folder), *given)
        until_s = time.monotonic() + _PATIENCE_S
        while self.n_workers() < n_before + n:
            assert time.monotonic() < until_s, self.log("worker")
            time.sleep(0.1)

    def n_workers(self) -> int:
        with Client(self.address, set_as_default=False, security=self._security) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
        for process in reversed(self._processes):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, *words: str) -> None:
        paths = (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH"))
        pages = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [_DASK, name, "--scheduler-file", self.file, *pages, *words],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                stdout=log,
                stderr=log,
                # Started in the background of a script they would ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self._processes.append(process)


@contextmanager
def dask_here(folder: Path, *, security: bool = False) -> Iterator[Dask]:
    """Start a scheduler; it and its workers end with the block.

    Parameters
    ----------
    folder
        For its file and what it says.
    security
        Whether ``DASK_CONFIG`` names certificates.
    """
    there = Dask(folder, security=security)
    try:
        yield there
    finally:
        there.stop()
        if security:
            dask.config.refresh()

"""Nodes as jobs of a cluster's queue.

nipype's own plugins for it are not used but for the scripts they write: what the queue refuses ends
them with an error of Python, a queue that does not answer counts as a job that ended, a job that
was cancelled as a slow disk, the result of an earlier run as that of a job that never began, SGE's
cannot ask for a job that has left, and a run that ends early leaves its jobs behind.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from nipype.pipeline.plugins.base import SGELikeBatchManagerBase

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.engine.crashes import read_traceback
from fmmtc_bidsapp.engine.queues import CUT_SHORT, Queue
from fmmtc_bidsapp.engine.schedulers import SCHEDULERS, answer, is_in_doubt, words
from fmmtc_bidsapp.errors import AppError, UsageError

__all__ = ["JobPlugin"]

_WAIT_S = 1.0
_DISK_S = 90.0
"""Until a file that another machine wrote is seen here, at the latest: NFS believes for a minute
(``acdirmax``) what it knows of a folder."""
_LEAVE_S = 120.0
"""Within this time a cancelled job leaves the queue; SLURM's default is half a minute."""
_PROGRAM_GB = 1.0
"""Interpreter and libraries, which a node's own estimate leaves out."""
_ASKED_FOR: Mapping[str, str] = {
    "--mem": "--mem|--exclusive",
    "--cpus-per-task": r"--cpus-per-|--exclusive|(?:^|\s)-c",
}
"""By option of sbatch, how a plugin file that decides upon it spells that."""
_SAME_EVERYWHERE = (
    "The same Python with the same packages must be at the same path on every node, and the work "
    "directory on a disk that all of them see."
)


class JobPlugin(SGELikeBatchManagerBase):
    """A plugin of nipype that makes every node a job of its own.

    Parameters
    ----------
    name
        A key of `SCHEDULERS`.
    arguments
        ``sbatch_args`` or ``qsub_args``, ``template``, ``max_jobs``, ``max_tries``,
        ``retry_timeout``, ``max_jobname_len``, ``jobid_re``: as nipype's own plugin reads them.
    say
        Prints a line once.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self._scheduler, self._say = SCHEDULERS[name], say
        super().__init__(self._scheduler.header, plugin_args=arguments)
        self._told = str(arguments.get(self._scheduler.arguments) or "")
        self._tries = int(arguments.get("max_tries", 2))
        self._pause_s = float(arguments.get("retry_timeout", 2))
        # Torque takes no more.
        self._name_length = arguments.get("max_jobname_len", 15 if name == "PBS" else None)
        self._number = re.compile(arguments.get("jobid_re", r"(\d+)"))
        self._queue = Queue(name, say)
        self._scripts = Path()
        self._dumps: dict[int, Path] = {}
        self._ended_s: dict[int, float] = {}

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph; whatever ends it early also takes its jobs out of the queue."""
        try:
            super().run(graph, config, updatehash)
        finally:
            for job in list(self._pending):
                self._queue.cancel(job)

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        folder = Path(node.output_dir())
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._take_back(folder)
        for result in folder.glob("result_*.pklz"):
            # Else a job that never began would seem to have written it.
            result.unlink()
        job: int = super()._submit_job(node, updatehash)
        write_text(_note(folder), str(job))
        return job

    def _submit_batchtask(self, scriptfile: str, node: Any) -> int:
        self._scripts = Path(scriptfile).parent
        given = [*shlex.split(self._told), *self._left_out(node), *self._log_words()]
        name = self._name(node)
        given += [self._scheduler.name_flag, name, scriptfile]
        job = self._hand_in(name, given, node.fullname)
        self._queue.forget()
        self._pending[job] = node.output_dir()
        self._dumps[job] = _dump(Path(scriptfile))
        return job

    def _name(self, node: Any) -> str:
        """Name a job by step and participant, and as no other where it can be found by its name."""
        mark = f".{uuid4().hex[:8]}" if self._scheduler.lists_names else ""
        name = ".".join(reversed([_user(), *node._hierarchy.split("."), node._id]))
        if self._name_length is not None:
            name = name[: max(0, self._name_length - len(mark))]
        return f"{name}{mark}"

    def _hand_in(self, name: str, given: list[str], step: str) -> int:
        """Submit a job, several times if need be, though never one that may be in the queue."""
        submit, left = self._scheduler.submit, self._tries
        while True:
            try:
                return self._read_number(answer(submit, *given))
            except (OSError, subprocess.SubprocessError) as error:
                if is_in_doubt(error):
                    job = self._find(name, step, error)
                    if job is not None:
                        return job
                if left <= 0:
                    raise UsageError(
                        f"{submit} did not take the step {step}: {words(error)}. Change the "
                        "arguments in the plugin file, or its max_jobs, and run the same command "
                        "again."
                    ) from error
                left -= 1
                time.sleep(self._pause_s)

    def _find(self, name: str, step: str, error: Exception) -> int | None:
        if self._scheduler.lists_names:
            return self._queue.find(name, self._pause_s)
        raise AppError(
            f"{self._scheduler.submit} did not say in time whether it took the step {step} "
            f"({words(error)}). Look for a job named {name} in the queue and end it "
            f"({self._scheduler.cancel}), then run the same command again."
        ) from error

    def _left_out(self, node: Any) -> list[str]:
        if not self._scheduler.asks_per_step:
            return []
        wanted = {
            "--mem": f"{ceil(1000 * (node.mem_gb + _PROGRAM_GB))}M",
            "--cpus-per-task": node.n_procs,
        }
        told = f"{self._template} {self._told}"
        return [
            f"{option}={value}"
            for option, value in wanted.items()
            if not re.search(_ASKED_FOR[option], told)
        ]

    def _log_words(self) -> list[str]:
        if re.search(r"(?:^|\s)(?:-o|--output)", self._told):
            return []
        return [word.format(folder=self._scripts) for word in self._scheduler.log]

    def _read_number(self, said: str) -> int:
        found = self._number.search(said.strip().rpartition("\n")[2])
        if found is None:
            raise AppError(
                f"{self._scheduler.submit} said {said.strip()!r}, which holds no number of a job; "
                "give the pattern of it as jobid_re in the plugin file."
            )
        return int(found[1])

    def _take_back(self, folder: Path) -> None:
        """Cancel the job that a killed run left in the queue for this node, and see it leave."""
        job = _noted(folder)
        if job is None:
            return
        if self._queue.holds(job):
            self._say(f"Job {job} of an earlier run is still in the queue; it is cancelled.")
        # Also where one listing misses it.
        self._queue.cancel(job)
        until_s = time.monotonic() + _LEAVE_S
        while self._queue.holds(job):
            if time.monotonic() > until_s:
                raise AppError(
                    f"Job {job} of an earlier run computes in {folder} and cannot be cancelled. "
                    f"End it ({self._scheduler.cancel} {job}), then run the same command again."
                )
            time.sleep(_WAIT_S)

    def _get_result(self, job: int) -> Any:
        if self._queue.holds(job):
            # Also one that a listing missed before: a controller that starts anew lists none.
            self._ended_s.pop(job, None)
            self._tell_obstacle(job)
            return None
        ended_s = self._ended_s.setdefault(job, time.monotonic())
        folder = Path(self._pending[job])
        if self._queue.state(job) not in CUT_SHORT and not self._dumps[job].exists():
            if any(folder.glob("result_*.pklz")):
                _note(folder).unlink(missing_ok=True)
                return super()._get_result(job)
            if time.monotonic() - ended_s < _DISK_S:
                return None
        # The note stays: a later run sees to it that the job has left.
        self._queue.cancel(job)
        return {"result": None, "traceback": self._lost(job, folder.name)}

    def _is_pending(self, job: int) -> bool:
        return job not in self._ended_s

    def _tell_obstacle(self, job: int) -> None:
        obstacle = self._queue.obstacle(job)
        if obstacle:
            self._say(
                f"{Path(self._pending[job]).name}: job {job} stands in the queue ({obstacle}) and "
                "will not begin of itself. Release it, or cancel it "
                f"({self._scheduler.cancel} {job}): then its step is given up."
            )

    def _lost(self, job: int, step: str) -> list[str]:
        """Say what ended a job without a result: the lines of its traceback, and one of our own."""
        names = re.compile(rf"(?:slurm-{job}\.out|.*\.o{job})")
        logs = [f" What it said: {p}" for p in self._scripts.iterdir() if names.fullmatch(p.name)]
        state, trace = self._queue.state(job), read_traceback(self._dumps[job])
        if trace:
            why = f", for it could not begin: {trace[-1].strip()}. {_SAME_EVERYWHERE}"
        elif state in CUT_SHORT:
            why = (
                ". It was cancelled, or met a limit of time or memory: raise that in the plugin "
                "file, and run the same command again."
            )
        else:
            why = f". The queue does not say why; its output may. {_SAME_EVERYWHERE}"
        ending = f" as {state}" if state else ""
        text = f"{step}: job {job} left the queue{ending} without a result{why}{''.join(logs)}"
        return [*trace, f"AppError: {text}\n"]

    def _clear_task(self, job: int) -> None:
        self._ended_s.pop(job, None)
        self._dumps.pop(job, None)
        super()._clear_task(job)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def _note(folder: Path) -> Path:
    """Name the file that holds the number of a node's job, for a run after one that was killed."""
    return folder.with_name(f"{folder.name}.job")


def _noted(folder: Path) -> int | None:
    try:
        return int(_note(folder).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _dump(script: Path) -> Path:
    """Name the file in which nipype keeps the error of a job that could not load its node."""
    return script.with_name(f"crashdump_{script.stem.removeprefix('batchscript_pyscript_')}.pklz")

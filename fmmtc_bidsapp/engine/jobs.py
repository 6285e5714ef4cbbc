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
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.base import SGELikeBatchManagerBase

from fmmtc_bidsapp.engine.schedulers import SCHEDULERS, answer, words
from fmmtc_bidsapp.errors import AppError, UsageError

__all__ = ["JobPlugin"]


_FRESH_S = 1.0
"""For so long what the queue answered holds."""
_DISK_S = 30.0
"""Until a file that another machine wrote is seen here, at the latest."""
_LEAVE_S = 120.0
"""Within this time a cancelled job leaves the queue; SLURM's default is half a minute."""
_PROGRAM_GB = 1.0
"""Interpreter and libraries, which a node's own estimate leaves out."""
_ROW = re.compile(r"^\s*(\d+)\s+(\S+)", re.MULTILINE)
# SLURM's states of jobs that will not run on; any other is on its way.
_DONE = "COMPLETED"
_CUT_SHORT = (
    *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
_GONE = re.compile("Unknown Job|Job has finished|job_state = [CF]", re.IGNORECASE)
"""What PBS says of a job that has left."""
_ASKED_FOR: Mapping[str, str] = {
    "--mem": "--mem|--exclusive",
    "--cpus-per-task": r"--cpus-per-|--exclusive|(?:^|\s)-c",
}
"""By option of sbatch, how a plugin file that decides upon it spells that."""


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
        self._scripts = Path()
        self._ended_s: dict[int, float] = {}
        self._states: dict[str, str] | None = None
        self._looked_s = -_FRESH_S

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph; whatever ends it early also takes its jobs out of the queue."""
        try:
            super().run(graph, config, updatehash)
        finally:
            for job in list(self._pending):
                self._cancel(job)

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        folder = Path(node.output_dir())
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._take_back(folder)
        for result in folder.glob("result_*.pklz"):
            # Else a job that never began would seem to have written it.
            result.unlink()
        job: int = super()._submit_job(node, updatehash)
        _note(folder).write_text(str(job), encoding="utf-8")
        return job

    def _submit_batchtask(self, scriptfile: str, node: Any) -> int:
        self._scripts = Path(scriptfile).parent
        given = [*shlex.split(self._told), *self._left_out(node), *self._log_words()]
        name = ".".join(reversed([_user(), *node._hierarchy.split("."), node._id]))
        given += [self._scheduler.name_flag, name[: self._name_length], scriptfile]
        for left in reversed(range(self._tries + 1)):
            try:
                said = answer(self._scheduler.submit, *given)
                break
            except (OSError, subprocess.SubprocessError) as error:
                if not left:
                    raise UsageError(
                        f"{self._scheduler.submit} did not take the step {node.fullname}: "
                        f"{words(error)}. Change the arguments in the plugin file, or its "
                        "max_jobs, and run the same command again."
                    ) from error
                time.sleep(self._pause_s)
        # What the queue said before knows nothing of it.
        self._looked_s = -_FRESH_S
        job = self._read_number(said)
        self._pending[job] = node.output_dir()
        return job

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
        if not _note(folder).is_file():
            return
        job = int(_note(folder).read_text(encoding="utf-8"))
        if self._in_queue(job):
            self._say(f"Job {job} of an earlier run is still in the queue; it is cancelled.")
            self._cancel(job)
        until_s = time.monotonic() + _LEAVE_S
        while self._in_queue(job):
            if time.monotonic() > until_s:
                raise AppError(
                    f"Job {job} of an earlier run computes in {folder} and cannot be cancelled. "
                    f"End it ({self._scheduler.cancel} {job}), then run the same command again."
                )
            time.sleep(_FRESH_S)

    def _cancel(self, job: int) -> None:
        # A job that is gone is what was wanted.
        with suppress(OSError, subprocess.SubprocessError):
            answer(self._scheduler.cancel, str(job))

    def _in_queue(self, job: int) -> bool:
        if not self._scheduler.listing:
            return self._answers_for(job)
        self._look()
        ended = (_DONE, *_CUT_SHORT, "")
        return self._states is None or self._states.get(str(job), "") not in ended

    def _answers_for(self, job: int) -> bool:
        try:
            return _GONE.search(answer("qstat", "-f", str(job))) is None
        except (OSError, subprocess.SubprocessError) as error:
            return _GONE.search(words(error)) is None

    def _look(self) -> None:
        """Ask once for all jobs; a queue that does not answer is waited for."""
        if time.monotonic() - self._looked_s < _FRESH_S:
            return
        try:
            self._states = dict(_ROW.findall(answer(*self._scheduler.listing)))
        except (OSError, subprocess.SubprocessError) as error:
            self._say(f"{self._scheduler.listing[0]} does not answer ({words(error)}); waiting.")
            self._states = None
        self._looked_s = time.monotonic()

    def _get_result(self, job: int) -> Any:
        if job not in self._ended_s:
            if self._in_queue(job):
                return None
            self._ended_s[job] = time.monotonic()
        state = (self._states or {}).get(str(job), "")
        if state in _CUT_SHORT:
            return {"result": None, "traceback": [self._lost(job, f" as {state}")]}
        if any(Path(self._pending[job]).glob("result_*.pklz")):
            return super()._get_result(job)
        if time.monotonic() - self._ended_s[job] < _DISK_S:
            return None
        return {"result": None, "traceback": [self._lost(job, "")]}

    def _is_pending(self, job: int) -> bool:
        return job not in self._ended_s

    def _lost(self, job: int, ending: str) -> str:
        step = Path(self._pending[job]).name
        names = re.compile(rf"(?:slurm-{job}\.out|.*\.o{job})")
        said = [f" What it said: {p}" for p in self._scripts.iterdir() if names.fullmatch(p.name)]
        return (
            f"AppError: {step}: job {job} left the queue{ending} without a result. It was "
            "cancelled, or met a limit of time or memory: raise that in the plugin file, and run "
            f"the same command again.{''.join(said)}\n"
        )

    def _clear_task(self, job: int) -> None:
        _note(Path(self._pending[job])).unlink(missing_ok=True)
        super()._clear_task(job)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def _note(folder: Path) -> Path:
    """Name the file that holds the number of a node's job, for a run after one that was killed."""
    return folder.with_name(f"{folder.name}.job")

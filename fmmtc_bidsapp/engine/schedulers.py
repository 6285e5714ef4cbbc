"""The queues of clusters: their commands, and what they need to be asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmmtc_bidsapp.errors import UsageError

__all__ = ["SCHEDULERS", "Scheduler", "answer", "is_in_doubt", "require_queue", "words"]


@dataclass(frozen=True)
class Scheduler:
    """The commands of a queue, and how they are spoken to."""

    submit: str
    arguments: str
    """nipype's name of what is handed to it."""
    header: str
    """Of a job's script."""
    name_flag: str
    log: tuple[str, ...]
    """Words that say where a job's output goes; ``{folder}`` is that of the scripts."""
    cancel: str
    row: re.Pattern[str]
    """What is said of a job: its groups may be ``job``, ``state``, ``name`` where that is whole,
    and ``why`` it waits."""
    stuck: re.Pattern[str]
    """Found in state and why of a job that will never begin of itself."""
    listing: tuple[str, ...] = ()
    """Lists the user's jobs, a row each; else each is asked for."""
    asks_per_step: bool = False
    """Whether a step asks for the memory and processors that the plugin file leaves out."""

    @property
    def lists_names(self) -> bool:
        """Whether a job can be found by its name."""
        return "name" in self.row.groupindex


_QSUB_LOG = ("-o", "{folder}", "-e", "{folder}")
SCHEDULERS: Mapping[str, Scheduler] = {
    "SLURM": Scheduler(
        submit="sbatch",
        arguments="sbatch_args",
        header="#!/bin/bash",
        name_flag="-J",
        log=("-o", "{folder}/slurm-%j.out"),
        cancel="scancel",
        row=re.compile(
            r"^\s*(?P<job>\d+)[ \t]+(?P<state>\S+)(?:[ \t]+(?P<name>\S+))?[ \t]*(?P<why>.*)$",
            re.MULTILINE,
        ),
        # squeue(1), "Job reason codes".
        stuck=re.compile(
            "[Hh]eld|HOLD|JobHold|NeverSatisfied|BadConstraints|Invalid|NotAllowed|SPECIAL_EXIT"
            "|PartitionTimeLimit|PartitionNodeLimit"
        ),
        listing=("squeue", f"--user={os.getuid()}", "--states=all", "-h", "--format=%A %T %j %r"),
        asks_per_step=True,
    ),
    "SGE": Scheduler(
        submit="qsub",
        arguments="qsub_args",
        header="#$ -V\n#$ -S /bin/sh",
        name_flag="-N",
        log=_QSUB_LOG,
        cancel="qdel",
        # Number, priority, name (its first letters), user, state.
        row=re.compile(
            r"^\s*(?P<job>\d+)\b(?:(?:[ \t]+\S+){3}[ \t]+(?P<state>\S+))?", re.MULTILINE
        ),
        # In error, or held.
        stuck=re.compile("E|hqw"),
        listing=("qstat",),
    ),
    "PBS": Scheduler(
        submit="qsub",
        arguments="qsub_args",
        header="#PBS -V",
        name_flag="-N",
        log=_QSUB_LOG,
        cancel="qdel",
        row=re.compile(r"job_state = (?P<state>\S)"),
        stuck=re.compile("H"),
    ),
}
"""By nipype's name of the plugin."""

_READ = ("template", "max_jobs", "max_tries", "retry_timeout", "max_jobname_len", "jobid_re")
_ANSWER_S = 60.0
_NO_ANSWER = re.compile("timed out on send|zero bytes|receive timeout", re.IGNORECASE)
"""Words of a client whose request may have arrived; one that could not connect has other words."""


def require_queue(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse, before any image is opened, a queue that no job can be handed to.

    Parameters
    ----------
    name
        Of the plugin; those without a queue pass.
    arguments
        Those that the plugin file gives, as in `JobPlugin`.

    Raises
    ------
    UsageError
        For an argument that would be ignored, or without the command that submits.
    """
    if name not in SCHEDULERS:
        return
    submit, own = SCHEDULERS[name].submit, SCHEDULERS[name].arguments
    ignored = sorted(set(arguments) - {own, *_READ})
    if ignored:
        raise UsageError(
            f"--use-plugin {name} does not read {', '.join(ignored)} in plugin_args; it reads "
            f"{own}, {', '.join(_READ)}."
        )
    if shutil.which(submit) is None:
        raise UsageError(
            f"--use-plugin {name} submits jobs with {submit}, which is not on the PATH here. Run "
            "where jobs can be submitted, which is not inside a container, or leave --use-plugin "
            "out and run the command itself in a job."
        )


def answer(*command: str) -> str:
    """Run a command of a queue, -> what it says; `words` tells what went wrong."""
    done = subprocess.run(  # noqa: S603 -- our own arguments
        command,
        capture_output=True,
        check=True,
        encoding="utf-8",
        errors="replace",
        timeout=_ANSWER_S,
    )
    return done.stdout


def words(error: Exception) -> str:
    """Tell what a command said of its failure."""
    return " ".join(str(getattr(error, "stderr", None) or error).split())


def is_in_doubt(error: Exception) -> bool:
    """Tell whether what was asked of a queue may have been done all the same."""
    timed_out = isinstance(error, subprocess.TimeoutExpired)
    return timed_out or _NO_ANSWER.search(words(error)) is not None

"""The words of ``sbatch_args`` and ``qsub_args`` as arguments of dask-jobqueue."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from fmmtc_bidsapp.errors import UsageError

__all__ = ["translate"]

_EXTRA, _DROP, _MEMORY, _PER_CPU, _LIST = "extra", "drop", "memory", "memory per core", "list"
"""Passed to the scheduler unchanged; written by dask-jobqueue; sizes; a list of ``-l``."""
_SLURM: Mapping[str, str] = {
    **dict.fromkeys(("-p", "--partition"), "queue"),
    **dict.fromkeys(("-A", "--account"), "account"),
    **dict.fromkeys(("-t", "--time"), "walltime"),
    **dict.fromkeys(("-c", "--cpus-per-task"), "cores"),
    **dict.fromkeys(("-J", "--job-name"), "job_name"),
    "--mem": _MEMORY,
    "--mem-per-cpu": _PER_CPU,
    **dict.fromkeys(
        ("--gres", "--gpus", "-G", "--gpus-per-node", "--gpus-per-task", "--qos", "-q"), _EXTRA
    ),
    **dict.fromkeys(
        ("--constraint", "-C", "--exclude", "-x", "--nodelist", "-w", "--reservation"), _EXTRA
    ),
    **dict.fromkeys(
        ("--licenses", "-L", "--clusters", "-M", "--export", "--mail-type", "--mail-user"), _EXTRA
    ),
    **dict.fromkeys(("--nice", "--comment", "--tmp", "--wckey", "--prefer", "--hint"), _EXTRA),
    **dict.fromkeys(("--exclusive", "--requeue", "--no-requeue", "--hold", "-H"), _EXTRA),
}
_SGE: Mapping[str, str] = {
    "-q": "queue",
    "-P": "project",
    "-N": "job_name",
    "-l": _LIST,
    "-pe": _EXTRA,
    **dict.fromkeys(("-V", "-cwd", "-S", "-j"), _DROP),
    **dict.fromkeys(("-p", "-m", "-M", "-hard", "-soft", "-r", "-R", "-js"), _EXTRA),
}
_PBS: Mapping[str, str] = {
    "-q": "queue",
    "-A": "account",
    "-N": "job_name",
    "-l": _LIST,
    **dict.fromkeys(("-V", "-S", "-j"), _DROP),
    **dict.fromkeys(("-P", "-p", "-m", "-M", "-r", "-W"), _EXTRA),
}
_OPTIONS: Mapping[str, Mapping[str, str]] = {"SLURM": _SLURM, "SGE": _SGE, "PBS": _PBS}
_BARE = frozenset(
    ("--exclusive", "--requeue", "--no-requeue", "--hold", "-H", "-V", "-cwd", "-hard", "-soft")
)
"""Options without a separate value."""
_IN_LISTS: Mapping[str, Mapping[str, str]] = {
    "SGE": {"h_rt": "walltime", "h_vmem": "memory", "mem_free": "memory"},
    "PBS": {"walltime": "walltime", "mem": "memory", "ncpus": "cores", "ppn": "cores"},
}


def translate(scheduler: str, text: str, where: str) -> dict[str, Any]:
    """Translate options of ``sbatch`` or ``qsub`` to dask-jobqueue's; UsageError for unknown ones.

    `where` is the name of the place for errors.
    """
    found: dict[str, Any] = {}
    extra: list[str] = []
    per_core = ""
    for option, value in _pairs(scheduler, shlex.split(text), where):
        kind = _OPTIONS[scheduler][option]
        if kind == _EXTRA:
            joint = "=" if option.startswith("--") else " "
            extra.append(f"{option}{joint}{value}" if value else option)
        elif kind == _LIST:
            found |= _of_list(scheduler, value)
            extra += _left_of_list(scheduler, value)
        elif kind == _PER_CPU:
            per_core = value
        elif kind == _MEMORY:
            found["memory"] = _bytes(scheduler, value)
        elif kind != _DROP:
            found[kind] = _whole(value, where) if kind == "cores" else value
    if option_of_cores := re.search(r"^-pe \S+ (\d+)$", "\n".join(extra), re.MULTILINE):
        found.setdefault("cores", int(option_of_cores[1]))
    if per_core:
        found["memory"] = _bytes(scheduler, per_core, found.get("cores", 1))
    if extra:
        found["job_extra_directives"] = extra
    return found


def _pairs(scheduler: str, words: list[str], where: str) -> Iterator[tuple[str, str]]:
    """Split words into options and their values."""
    rest = iter(words)
    for word in rest:
        option, joint, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if scheduler == "SLURM" and re.match(r"-[a-zA-Z].", option):
            option, joint, value = word[:2], "=", word[2:]
        if option not in _OPTIONS[scheduler]:
            raise UsageError(
                f"{where}: {word} has no counterpart in the arguments of dask-jobqueue and would "
                "be ignored. Leave it out, or give plugin_args as docs/hpc.md shows (cores, "
                "memory, walltime, queue, job_extra_directives)."
            )
        if not joint and option not in _BARE:
            value = next(rest, "")
            if option == "-pe":
                value = f"{value} {next(rest, '')}"
            if not value:
                raise UsageError(f"{where}: {option} lacks its value.")
        yield option, value


def _of_list(scheduler: str, text: str) -> dict[str, Any]:
    """Return the entries of a list of ``-l`` that dask-jobqueue has arguments for."""
    found: dict[str, Any] = {}
    for name, value in _entries(text):
        kind = _IN_LISTS[scheduler].get(name)
        if kind == "memory":
            found["memory"] = _bytes(scheduler, value)
        elif kind is not None:
            found[kind] = int(value) if kind == "cores" else value
    if scheduler == "PBS" or any(name in ("h_vmem", "mem_free") for name, _ in _entries(text)):
        spec = [e for e in text.split(",") if not e.startswith(("walltime=", "h_rt="))]
        if spec:
            found["resource_spec"] = ",".join(spec)
    return found


def _left_of_list(scheduler: str, text: str) -> list[str]:
    """Return the rest of a list of ``-l``, which is passed on unchanged."""
    if scheduler == "PBS" or any(name in ("h_vmem", "mem_free") for name, _ in _entries(text)):
        return []
    left = [each for each in text.split(",") if not each.startswith("h_rt=")]
    return [f"-l {','.join(left)}"] if left else []


def _entries(text: str) -> list[tuple[str, str]]:
    pairs = (each.partition("=") for each in re.split("[,:]", _times_aside(text)))
    return [(name, value.replace("|", ":")) for name, _, value in pairs]


def _times_aside(text: str) -> str:
    """Replace the colons of times, to tell them from those between entries."""
    return re.sub(r"(?<=\d):(?=\d\d)", "|", text)


def _whole(value: str, where: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise UsageError(f"{where}: {value!r} is not a number of cores.")
    return int(value)


_DEFAULT_UNIT = {"SLURM": "M", "SGE": "", "PBS": ""}


def _bytes(scheduler: str, text: str, times: int = 1) -> str:
    """Return a size as dask-jobqueue reads it; queues count in powers of 1,024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)[bBw]?", text)
    if found is None:
        raise UsageError(f"{text!r} is not a size of memory, such as 4G.")
    unit = found[2].upper() or _DEFAULT_UNIT[scheduler]
    size = float(found[1]) * times
    return f"{size:g}{unit}iB" if unit else f"{size:.0f}B"

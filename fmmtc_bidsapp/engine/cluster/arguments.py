"""The jobs of a plugin file as arguments of dask-jobqueue; older files are translated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmmtc_bidsapp.engine.cluster.directives import translate
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.plan import Resources

__all__ = ["SCHEDULERS", "job_arguments"]

SCHEDULERS: Mapping[str, str] = {
    "SLURM": "sbatch",
    "SGE": "qsub",
    "PBS": "qsub",
    "LSF": "bsub",
    "HTCondor": "condor_submit",
    "OAR": "oarsub",
}
"""By the name in a plugin file, the command that submits a job."""

_COMMON = (
    *("cores", "memory", "processes", "interface", "max_jobs", "job_name"),
    *("job_extra_directives", "job_directives_skip", "job_script_prologue", "worker_extra_args"),
    *("local_directory", "log_directory", "death_timeout", "python", "shebang", "config_name"),
    "scheduler_options",
)
_OWN: Mapping[str, tuple[str, ...]] = {
    "SLURM": ("queue", "walltime", "account", "job_cpu", "job_mem"),
    "SGE": ("queue", "walltime", "project", "resource_spec"),
    "PBS": ("queue", "walltime", "account", "resource_spec"),
    "LSF": ("queue", "walltime", "project", "ncpus", "mem", "lsf_units", "use_stdin"),
    "HTCondor": ("disk", "submit_command_extra", "cancel_command_extra"),
    "OAR": ("queue", "walltime", "project", "resource_spec", "memory_per_core_property_name"),
}
"""By scheduler, further arguments of dask-jobqueue."""
_OLD_ARGUMENTS = {"SLURM": "sbatch_args", "SGE": "qsub_args", "PBS": "qsub_args"}
_WITHOUT_MEANING = ("max_tries", "retry_timeout", "max_jobname_len")
"""Arguments of older files that are ignored."""
_MAX_JOBS = 20
_CONDOR = "HTCondor"
_ENVIRONMENT = {"SGE": ["-V", "-S /bin/bash"], "PBS": ["-V"]}
"""Directives that pass the environment on, where the queue does not by default."""


def job_arguments(
    scheduler: str, given: Mapping[str, Any], resources: Resources, where: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Complete ``plugin_args``; return arguments of dask-jobqueue and a line for each translation.

    An argument that would be ignored, is missing or has a wrong type is a UsageError.
    """
    found, notes = _translated(scheduler, given, where)
    known = {*_COMMON, *_OWN[scheduler]}
    unknown = sorted(map(str, set(found) - known))
    if unknown:
        raise UsageError(
            f"{where}: unknown in plugin_args of {scheduler}: {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}."
        )
    found.setdefault("cores", resources.omp_nthreads)
    if "memory" not in found and resources.memory_gb is not None:
        found["memory"] = f"{resources.memory_gb:g}GB"
    if "memory" not in found:
        raise UsageError(
            f"{where}: plugin_args needs memory, what one job asks for, such as 16GB: a step takes "
            "0.3 to some GB, and the program 1 GB."
        )
    if scheduler == _CONDOR and "disk" not in found:
        raise UsageError(f"{where}: plugin_args needs disk, what one job asks for, such as 1GB.")
    found.setdefault("max_jobs", _MAX_JOBS)
    for name in ("job_script_prologue", "worker_extra_args"):
        _require_list(found.setdefault(name, []), name, where)
    found["job_extra_directives"] = _directives(scheduler, found, where)
    found.setdefault("scheduler_options", {})
    on_gpu = any("gpu" in str(each) for each in found["job_extra_directives"])
    n_processes = 1 if on_gpu else max(1, _number(found, "cores", where) // resources.omp_nthreads)
    found.setdefault("processes", n_processes)
    _number(found, "processes", where)
    _number(found, "max_jobs", where)
    found.setdefault("job_name", "fmmtc")
    # The pages of a worker are for this machine alone.
    found["worker_extra_args"] = [
        *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
        *found["worker_extra_args"],
    ]
    return found, notes


def _translated(
    scheduler: str, given: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Translate a file that was written for nipype's own plugins."""
    old = _OLD_ARGUMENTS.get(scheduler, "")
    found = {name: value for name, value in given.items() if name not in (old, *_WITHOUT_MEANING)}
    notes = [
        f"{where}: {name} has no effect any more." for name in _WITHOUT_MEANING if name in given
    ]
    if old in given:
        new = translate(scheduler, str(given[old] or ""), f"{where}: {old}")
        both = sorted(set(new) & set(found))
        if both:
            raise UsageError(f"{where}: {', '.join(both)} is given twice, once in {old}.")
        told = ", ".join(f"{name}: {value}" for name, value in new.items()) or "nothing"
        notes.append(f"{where}: {old} is read as {told}.")
        found |= new
    return found, tuple(notes)


def _directives(scheduler: str, found: Mapping[str, Any], where: str) -> Any:
    """Return the extra directives, and those that pass the environment on."""
    name = "job_extra_directives"
    if scheduler != _CONDOR:
        given = found.get(name, [])
        _require_list(given, name, where)
        return [*_ENVIRONMENT.get(scheduler, []), *given]
    given = found.get(name, {})
    if not isinstance(given, dict):
        raise UsageError(f"{where}: {name} is {given!r}; it must be {{NAME: VALUE, …}}.")
    return {"getenv": "true", **given}


def _require_list(value: Any, name: str, where: str) -> None:
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise UsageError(f"{where}: {name} is {value!r}; it must be a list of words: [WORD, …].")


def _number(found: Mapping[str, Any], name: str, where: str) -> int:
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where}: {name} is {value!r}; it must be a whole number above 0.")
    return value

"""The plugin that runs the nodes: processes of this machine, or the workers of a Dask cluster.

Without a plugin file or a scheduler's address nodes run in worker processes, also when there is
only one: the memory and threads of a node then end with it, and the number of processes cannot
change a result. Dask is imported only if it is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from nipype.pipeline import plugins

from fmmtc_bidsapp.bidsio.files.plain_yaml import read_plain_yaml
from fmmtc_bidsapp.engine.cluster.address import read_address
from fmmtc_bidsapp.engine.cluster.arguments import SCHEDULERS, job_arguments
from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.engine.workers import Workers
from fmmtc_bidsapp.engine.workspace import make_folder
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.machine import memory_bytes
from fmmtc_bidsapp.plan import Resources

__all__ = ["Plugin", "check_resources", "read_plugin", "release_workers"]

_LOCAL, _DASK = "MultiProc", "Dask"
_HERE = (_LOCAL, "LegacyMultiProc", "Linear")
"""nipype's plugins of one machine."""
_POLL_S = {_LOCAL: 0.01, _DASK: 0.005, "LegacyMultiProc": 0.05}
"""Seconds between two looks for finished nodes; workers also wake the run up."""
_SLOW_POLL_S = 2.0
_JOB_LOGS = "jobs"
_MANY = 32
"""Stands for the number of workers that others start, so that batches are large."""
_KEYS = ("plugin", "plugin_args")
_SHARE = 0.9
"""Share of the memory that this process may take, where no flag says how much."""


@dataclass(frozen=True)
class Plugin:
    """A plugin of nipype by name, with its arguments."""

    name: str = _LOCAL
    """``Dask`` where others start the workers, the scheduler's name where they are its jobs."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources | None = None
    notes: tuple[str, ...] = ()
    """A line for every argument of the plugin file that was translated."""

    @property
    def poll_s(self) -> float:
        """Seconds between two looks for finished nodes."""
        return _POLL_S.get(_DASK if self.is_cluster else self.name, _SLOW_POLL_S)

    @property
    def is_cluster(self) -> bool:
        """Whether nodes run on workers of Dask."""
        return self.name == _DASK or self.name in SCHEDULERS

    def runner(self, progress: NodeProgress) -> Any:
        """Return a fresh plugin object; one runs one workflow."""
        arguments = {**self.arguments, "status_callback": progress}
        if self.name == _LOCAL:
            return Workers(arguments, progress)
        if self.is_cluster:
            from fmmtc_bidsapp.engine.cluster.plugin import DaskPlugin

            assert self.resources is not None  # noqa: S101 - for mypy
            return DaskPlugin(_connect(self.resources), progress)
        if self.name == "Linear":
            arguments["status_callback"] = _Begun(progress)
        return getattr(plugins, f"{self.name}Plugin")(plugin_args=arguments)


@cache
def _connect(resources: Resources) -> Any:
    """Connect to the workers once for all graphs of a run, until `release_workers`."""
    from fmmtc_bidsapp.engine.cluster.connection import DaskWorkers

    plugin = read_plugin(resources)
    make_folder(resources.work_dir)
    target: Any = plugin.arguments.get("address")
    if plugin.name in SCHEDULERS:
        from fmmtc_bidsapp.engine.cluster.jobs import Jobs

        given = {k: v for k, v in plugin.arguments.items() if k != "n_procs"}
        logs = resources.work_dir / _JOB_LOGS
        make_folder(logs)
        target = Jobs(plugin.name, given, logs)
    workers = DaskWorkers(
        target,
        threads=resources.omp_nthreads,
        folder=resources.work_dir,
        verbose=resources.verbose,
    )
    _connections.append(workers)
    print(workers.about, flush=True)
    return workers


_connections: list[Any] = []


def release_workers() -> None:
    """End the jobs of our workers at the end of a command; leave workers that others started."""
    while _connections:
        _connections.pop().close()
    _connect.cache_clear()


def check_resources(resources: Resources) -> None:
    """Refuse, before any image is opened, a plugin or monitor that cannot be used here."""
    plugin = read_plugin(resources)
    for note in plugin.notes:
        print(note, flush=True)
    if plugin.name in SCHEDULERS:
        _require_submit(plugin.name)
    if resources.resource_monitor and plugin.is_cluster:
        raise UsageError(
            "--resource-monitor samples processes of this machine only. Leave it out, and look at "
            "the dashboard of the Dask scheduler (docs/hpc.md)."
        )
    if resources.resource_monitor and find_spec("psutil") is None:
        raise UsageError(
            "--resource-monitor needs the package psutil, which is not installed: "
            "pip install psutil, or leave the flag out."
        )


def _require_submit(name: str) -> None:
    submit = SCHEDULERS[name]
    if shutil.which(submit) is None:
        raise UsageError(
            f"--use-plugin {name} submits jobs with {submit}, which is not on the PATH here. Run "
            "on a machine that submits jobs, outside a container; or start workers yourself and "
            "give the address of their scheduler with --scheduler-address (docs/hpc.md)."
        )


def read_plugin(resources: Resources) -> Plugin:
    """Read the plugin file or the scheduler's address; UsageError if it cannot be used as it is."""
    here: dict[str, Any] = {
        "n_procs": resources.n_procs,
        "n_gpu_procs": 1,
        "raise_insufficient": False,
        # The default of nipype is the memory of the whole machine, also inside a smaller job.
        "memory_gb": resources.memory_gb or _SHARE * memory_bytes() / 1e9,
    }
    path = resources.plugin_file
    if resources.scheduler_address is not None:
        if path is not None:
            raise UsageError("Give either --scheduler-address or --use-plugin, not both.")
        address = read_address(resources.scheduler_address)
        return Plugin(_DASK, {"address": address, "n_procs": _MANY}, resources)
    content = {} if path is None else _content(path)
    name = str(content.get("plugin", _LOCAL))
    given = content.get("plugin_args") or {}
    if path is not None:
        _require_usable(name, path)
    if name in SCHEDULERS:
        arguments, notes = job_arguments(name, given, resources, f"--use-plugin {path}")
        n_procs = arguments["processes"] * arguments["max_jobs"]
        return Plugin(name, {**arguments, "n_procs": n_procs}, resources, notes)
    return Plugin(name, here | given)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_plain_yaml(path)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"--use-plugin {path} cannot be read as YAML: {error}.") from error
    if not isinstance(content, dict) or set(content) - set(_KEYS):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else repr(content)
        raise UsageError(
            f"--use-plugin {path} holds {found}; it needs plugin: NAME and, if any, plugin_args: "
            "with the arguments below it, and nothing else."
        )
    if not isinstance(content.get("plugin_args") or {}, dict):
        raise UsageError(f"--use-plugin {path}: plugin_args must be a list of NAME: VALUE.")
    _require_number(path, content, "n_procs", whole=True)
    _require_number(path, content, "memory_gb", whole=False)
    return content


def _require_number(path: Path, content: dict[str, Any], name: str, *, whole: bool) -> None:
    value = (content.get("plugin_args") or {}).get(name, 1)
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"--use-plugin {path}: {name} is {value!r}; it must be {kind} above 0.")


def _require_usable(name: str, path: Path) -> None:
    usable = (*SCHEDULERS, *_HERE)
    if name.removesuffix("Graph") in SCHEDULERS and name not in usable:
        raise UsageError(
            f"--use-plugin {path}: {name} hands the whole graph to the cluster and cannot say "
            f"which steps failed. Use {name.removesuffix('Graph')}."
        )
    if name not in usable:
        raise UsageError(
            f"--use-plugin {path}: unknown plugin {name!r}; known are {', '.join(usable)}. For "
            "Dask workers that already run, use --scheduler-address."
        )


class _Begun:
    """Passes on the end of nodes that began: Linear also reports the end of nodes it left out."""

    def __init__(self, progress: NodeProgress) -> None:
        self._progress = progress
        self._node: Any = None

    def __call__(self, node: Any, status: str) -> None:
        if status == "start":
            self._node = node
        if node is self._node:
            self._progress(node, status)

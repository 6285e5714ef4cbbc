"""What carries the nodes out: processes of this machine, or the plugin of a plugin file.

Without a plugin file nodes run in worker processes, also when there is one: a node's memory and
threads then never outlive it, and the number of processes cannot change a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import GraphPluginBase

from fmmtc_bidsapp.bidsio.files.plain_yaml import read_plain_yaml
from fmmtc_bidsapp.engine.jobs import JobPlugin
from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.engine.schedulers import SCHEDULERS, require_queue
from fmmtc_bidsapp.engine.workers import Workers
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.machine import memory_bytes
from fmmtc_bidsapp.plan import Resources

__all__ = ["Plugin", "check_resources", "read_plugin"]

_LOCAL = "MultiProc"
_POLL_S = {_LOCAL: 0.01, "LegacyMultiProc": 0.05}
"""Seconds between two looks at what has finished; `Workers` also wakes up by itself."""
_QUEUE_POLL_S = 2.0
"""Each look asks the queue of a cluster."""
_KEYS = ("plugin", "plugin_args")
_SHARE = 0.9
"""Of the memory that this process may take, where no flag says how much."""


@dataclass(frozen=True)
class Plugin:
    """A plugin of nipype by name, with what it is told."""

    name: str = _LOCAL
    arguments: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    """Those of them that the plugin file gives."""

    @property
    def poll_s(self) -> float:
        """Seconds between two looks at what has finished."""
        return _POLL_S.get(self.name, _QUEUE_POLL_S)

    def runner(self, progress: NodeProgress) -> Any:
        """Return a fresh plugin object; one runs one workflow."""
        arguments = {**self.arguments, "status_callback": progress}
        if self.name == _LOCAL:
            return Workers(arguments, progress)
        if self.name == "Linear":
            arguments["status_callback"] = _Begun(progress)
        if self.name in SCHEDULERS:
            return JobPlugin(self.name, arguments, progress.say)
        return getattr(plugins, f"{self.name}Plugin")(plugin_args=arguments)


def check_resources(resources: Resources) -> None:
    """Refuse, before any image is opened, what the workflow could not be run with.

    Raises
    ------
    UsageError
        See `read_plugin` and `require_queue`; or a resource monitor without psutil.
    """
    plugin = read_plugin(resources)
    require_queue(plugin.name, plugin.given)
    if resources.resource_monitor and find_spec("psutil") is None:
        raise UsageError(
            "--resource-monitor needs the package psutil, which is not installed: "
            "pip install psutil, or leave the flag out."
        )


def read_plugin(resources: Resources) -> Plugin:
    """Read the plugin file, if there is one; the flags fill in what it leaves out.

    Parameters
    ----------
    resources
        ``n_procs`` and ``memory_gb`` stand in for arguments that the file does not give.

    Raises
    ------
    UsageError
        When the file cannot be read, has a key that is not ``plugin`` or ``plugin_args``, or names
        a plugin that nipype has not, or one that cannot say which nodes failed.
    """
    arguments: dict[str, Any] = {
        "n_procs": resources.n_procs,
        "n_gpu_procs": 1,
        "raise_insufficient": False,
        # nipype's own default is of the whole machine, whatever a job may take of it.
        "memory_gb": resources.memory_gb or _SHARE * memory_bytes() / 1e9,
    }
    path = resources.plugin_file
    content = {} if path is None else _content(path)
    name = str(content.get("plugin", _LOCAL))
    if path is not None:
        _require_usable(name, path)
    given = content.get("plugin_args") or {}
    return Plugin(name, arguments | given, given)


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
        raise UsageError(f"--use-plugin {path}: plugin_args is no list of NAME: VALUE.")
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
    kinds = {
        each.removesuffix("Plugin"): kind
        for each, kind in sorted(vars(plugins).items())
        if each.endswith("Plugin") and kind is not plugins.DebugPlugin
    }
    usable = [each for each, kind in kinds.items() if not issubclass(kind, GraphPluginBase)]
    if name not in kinds:
        raise UsageError(
            f"--use-plugin {path}: nipype has no plugin {name!r}; it has {', '.join(usable)}."
        )
    if name not in usable:
        raise UsageError(
            f"--use-plugin {path}: {name} hands the whole graph to the cluster and cannot say "
            f"which steps failed. Use {name.removesuffix('Graph').removesuffix('DAGMan')}."
        )


class _Begun:
    """Passes on the end of nodes that began: Linear reports it also of those it left out."""

    def __init__(self, progress: NodeProgress) -> None:
        self._progress = progress
        self._node: Any = None

    def __call__(self, node: Any, status: str) -> None:
        if status == "start":
            self._node = node
        if node is self._node:
            self._progress(node, status)

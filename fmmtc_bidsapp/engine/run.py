"""Run a nipype workflow to its end; one failure does not stop the others."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nipype
from nipype.pipeline.engine.utils import write_workflow_resources

from fmmtc_bidsapp.engine.crashes import NodeFailure, read_crash
from fmmtc_bidsapp.engine.plugins import Plugin, read_plugin
from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.engine.stored import discard_damaged
from fmmtc_bidsapp.engine.workspace import alone, make_folder
from fmmtc_bidsapp.errors import AppError, OutputError
from fmmtc_bidsapp.plan import Resources

__all__ = ["NodeResults", "run_in_batches", "run_workflow"]

Item = TypeVar("Item")

_SMALLEST_BATCH = 100
_ITEMS_PER_PROCESS = 16
"""At the end of a batch processes wait for the slowest item, a small share of this many."""
_LARGEST_BATCH = 500
"""An item holds a lock, which is an open file, and many systems allow a process 1,024."""


@dataclass(frozen=True)
class NodeResults:
    """The nodes of a workflow that finished, and those that failed."""

    done: frozenset[str]
    """Names without that of the workflow: ``sub_01.write``."""
    failures: tuple[NodeFailure, ...]


def run_workflow(
    workflow: Any,
    resources: Resources,
    *,
    title: str,
    kinds: Mapping[str, str] | None = None,
) -> NodeResults:
    """Run every node that can be run; nodes that depend on a failed one are in neither list."""
    return run_in_batches([workflow], lambda batch: batch[0], resources, title=title, kinds=kinds)


def run_in_batches(
    items: Sequence[Item],
    build: Callable[[Sequence[Item]], Any],
    resources: Resources,
    *,
    title: str,
    size: int | None = None,
    then: Callable[[Sequence[Item], NodeResults], None] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> NodeResults:
    """Run a workflow for one batch of items after another, and return the results of all.

    nipype looks at every node of a graph whenever one ends, so the cost of a graph grows with the
    square of its size, that of batches with their number. No node of an item may depend on one of
    another item, and all workflows have one name. `size` is that of a batch, by default 100, or 16
    items a process if that is more, up to 500. `then` is called after every batch, so that its
    results outlive a later interruption. After ``--stop-on-first-crash`` no batch follows a
    failure.
    """
    plugin = read_plugin(resources)
    most = max(_SMALLEST_BATCH, _ITEMS_PER_PROCESS * plugin.arguments["n_procs"])
    size = size or min(most, _LARGEST_BATCH)
    failures: list[NodeFailure] = []
    with NodeProgress(title, kinds) as progress:
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            workflow = build(batch)
            # Items that are not built yet are assumed to have as many nodes as these.
            progress.expect(workflow.list_node_names(), (len(items) - start) / len(batch))
            if resources.write_graph and start == 0:
                _write_graph(workflow, progress)
            broken = _run(workflow, plugin, resources, progress)
            failures += broken
            if then is not None:
                then(batch, NodeResults(frozenset(progress.finished), tuple(broken)))
            if failures and resources.stop_on_first_crash:
                break
    return NodeResults(frozenset(progress.finished), tuple(failures))


def _run(
    workflow: Any, plugin: Plugin, resources: Resources, progress: NodeProgress
) -> list[NodeFailure]:
    execution = workflow.config["execution"]
    execution["poll_sleep_duration"] = plugin.poll_s
    crash_dir = Path(execution["crashdump_dir"])
    make_folder(crash_dir)
    before = set(crash_dir.glob("crash-*.txt"))
    _quiet_nipype(resources.verbose)
    with alone(workflow), _monitor(workflow, resources):
        discard_damaged(workflow, progress.say)
        runner = plugin.runner(progress)
        try:
            workflow.run(plugin=runner)
        except AppError:
            # Of our plugins: no node can run after it.
            raise
        except Exception as error:
            # At the end nipype raises again what it has written as crash files.
            if not set(crash_dir.glob("crash-*.txt")) - before or _without_room(error):
                raise _ended_early(workflow, error) from error
            _write_resources(workflow, runner, resources)
    return [read_crash(path) for path in sorted(set(crash_dir.glob("crash-*.txt")) - before)]


def _without_room(error: Exception) -> bool:
    """Return whether nipype itself could not write, which concerns all nodes."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _ended_early(workflow: Any, error: Exception) -> AppError:
    text = f"The workflow {workflow.name} ended early: {error}"
    if not isinstance(error, OSError):
        return AppError(text)
    return OutputError(
        f"{text}. Its work directory is {workflow.base_dir}: make room there, or choose another "
        "--work-dir, then run again; completed steps are reused."
    )


def _quiet_nipype(verbose: int) -> None:
    """Leave the log of nipype to ``-v``: the progress and the closing table replace it."""
    level = ("CRITICAL", "WARNING", "INFO", "DEBUG")[min(verbose, 3)]
    names = ("workflow_level", "interface_level", "utils_level")
    nipype.config.update_config({"logging": dict.fromkeys(names, level)})
    nipype.logging.update_logging(nipype.config)


@contextmanager
def _monitor(workflow: Any, resources: Resources) -> Iterator[None]:
    """Let nipype sample the memory and time of nodes, for ``--resource-monitor``."""
    if not resources.resource_monitor:
        yield
        return
    nipype.config.enable_resource_monitor()
    try:
        # nipype writes its samples to the current folder of a worker.
        with chdir(workflow.base_dir):
            yield
    finally:
        nipype.config.disable_resource_monitor()
    print(f"Memory and time of the nodes: {_resources_file(workflow)}", flush=True)


def _resources_file(workflow: Any) -> Path:
    return Path(workflow.base_dir, workflow.name, "resource_monitor.json")


def _write_resources(workflow: Any, runner: Any, resources: Resources) -> None:
    """Write the samples of a workflow that had a failure, which nipype leaves out."""
    graph = getattr(runner, "graph", None)
    if resources.resource_monitor and graph is not None:
        write_workflow_resources(graph, filename=str(_resources_file(workflow)))


def _write_graph(workflow: Any, progress: NodeProgress) -> None:
    """Draw the first batch; the others have the same nodes for other items."""
    dot = Path(workflow.base_dir, workflow.name, "graph.dot")
    dot.parent.mkdir(parents=True, exist_ok=True)
    drawn = shutil.which("dot") is not None
    if drawn:
        workflow.write_graph(dotfilename=str(dot), graph2use="hierarchical", format="svg")
    else:
        workflow.write_hierarchical_dotfile(dotfilename=str(dot))
    progress.say(f"Graph: {dot.with_suffix('.svg') if drawn else dot}")

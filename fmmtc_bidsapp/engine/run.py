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
"""At the end of a batch processes wait for the slowest item: a small share of this many."""
_LARGEST_BATCH = 500
"""Each item holds a lock, an open file, and many systems allow a process 1,024."""


@dataclass(frozen=True)
class NodeResults:
    """Which nodes of a workflow are known to have finished, and which broke."""

    done: frozenset[str]
    """Names without the workflow's own: ``sub_01.write``."""
    failures: tuple[NodeFailure, ...]


def run_workflow(
    workflow: Any,
    resources: Resources,
    *,
    title: str,
    kinds: Mapping[str, str] | None = None,
) -> NodeResults:
    """Run every node that can be run; one run at a time in a workspace.

    Parameters
    ----------
    workflow
        From `new_workflow`.
    resources
        Processes, memory and plugin.
    title
        Shown beside the progress.
    kinds
        By name, which nodes take about equally long (`NodeProgress`).

    Returns
    -------
    NodeResults
        What depended on a failed node, or came after it with ``--stop-on-first-crash``, is in
        neither of its lists.

    Raises
    ------
    UsageError
        For a plugin file that cannot be used.
    """
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
    """Run one workflow after another, each built when its turn comes.

    nipype looks at every node of a graph whenever one ends, so a graph's cost grows with the square
    of its size; that of batches grows with their number.

    Parameters
    ----------
    items
        What is worked on, such as the runs; no node of one may depend on another's.
    build
        The workflow, from `new_workflow`, of some of them. Give all of them the same name.
    resources
        Processes, memory and plugin.
    title
        Shown beside the progress.
    size
        Items in a batch; by default 100, or 16 for every process where that is more, up to 500.
    then
        Called after every batch, so that what it finished outlives a later interruption.
    kinds
        As in `run_workflow`.

    Returns
    -------
    NodeResults
        Of all batches together. With ``--stop-on-first-crash`` no batch follows one with a failure.

    Raises
    ------
    UsageError
        For a plugin file that cannot be used.
    """
    plugin = read_plugin(resources)
    most = max(_SMALLEST_BATCH, _ITEMS_PER_PROCESS * plugin.arguments["n_procs"])
    size = size or min(most, _LARGEST_BATCH)
    failures: list[NodeFailure] = []
    with NodeProgress(title, kinds) as progress:
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            workflow = build(batch)
            # The nodes of those that are not built yet are taken to be as many as these have.
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
            # Of our own plugins, which no node can go on after.
            raise
        except Exception as error:
            # nipype raises once more at the end what it has written as crash files.
            if not set(crash_dir.glob("crash-*.txt")) - before or _without_room(error):
                raise _ended_early(workflow, error) from error
            _write_resources(workflow, runner, resources)
    return [read_crash(path) for path in sorted(set(crash_dir.glob("crash-*.txt")) - before)]


def _without_room(error: Exception) -> bool:
    """Tell what nipype could not write for all nodes from the error of one."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _ended_early(workflow: Any, error: Exception) -> AppError:
    text = f"The workflow {workflow.name} ended early: {error}"
    if not isinstance(error, OSError):
        return AppError(text)
    return OutputError(
        f"{text}. It computes in {workflow.base_dir}: make room there, or choose another "
        "--work-dir, then run again; what is finished is kept."
    )


def _quiet_nipype(verbose: int) -> None:
    """Leave nipype's own lines to ``-v``: the progress and the closing table say it in ours."""
    level = ("CRITICAL", "WARNING", "INFO", "DEBUG")[min(verbose, 3)]
    names = ("workflow_level", "interface_level", "utils_level")
    nipype.config.update_config({"logging": dict.fromkeys(names, level)})
    nipype.logging.update_logging(nipype.config)


@contextmanager
def _monitor(workflow: Any, resources: Resources) -> Iterator[None]:
    """Let nipype sample what nodes take, for ``--resource-monitor``."""
    if not resources.resource_monitor:
        yield
        return
    nipype.config.enable_resource_monitor()
    try:
        # nipype leaves its samples wherever a worker was started.
        with chdir(workflow.base_dir):
            yield
    finally:
        nipype.config.disable_resource_monitor()
    print(f"What the nodes took: {_resources_file(workflow)}", flush=True)


def _resources_file(workflow: Any) -> Path:
    return Path(workflow.base_dir, workflow.name, "resource_monitor.json")


def _write_resources(workflow: Any, runner: Any, resources: Resources) -> None:
    """Write the samples of a workflow with a failure, which nipype leaves out."""
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

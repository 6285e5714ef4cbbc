"""A nipype workflow run to its end: one failure isolated, crash files read, one table at the close.

The cache of a node hashes its inputs, not our code, so the work directory's name carries the
version. Nodes are always run in worker processes, also when there is one: a node's memory and
threads then never outlive it, and the number of processes cannot change a result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nipype
from nipype.pipeline import engine as pe
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fmmtc_bidsapp import errors
from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.plan import Resources

__all__ = [
    "NodeFailure",
    "Outcome",
    "error_code",
    "exit_code",
    "new_workflow",
    "node_file",
    "print_outcomes",
    "run_workflow",
]

_POLL_S = 0.05
"""nipype's own poll of 2 s costs a second a node."""

_DONE, _SKIPPED, _FAILED = "done", "skipped", "failed"
_ERROR_LINE = re.compile(r"^\s*(?:\w+\.)*(\w+(?:Error|Exception|Interrupt|Warning)): ?(.*)$")


@dataclass(frozen=True)
class NodeFailure:
    """What a crash file says."""

    node: str
    """Name of the node with the workflows it is in, ``fmmtc.sub_01.parcellate``."""
    error: str
    """Class of the exception, ``InputError``."""
    message: str
    crash_file: Path


@dataclass(frozen=True)
class Outcome:
    """How one participant, or one part of the group level, ended."""

    name: str
    status: str
    """``done``, ``skipped`` (never started) or ``failed`` (started and broke)."""
    detail: str = ""
    code: int = 0
    """Exit code of the error behind it."""


def new_workflow(name: str, resources: Resources, crash_dir: Path) -> Any:
    """Return an empty workflow in the work directory of this version, set up to run to its end."""
    base = resources.work_dir / f"fmmtc_{__version__}"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    workflow = pe.Workflow(name=name, base_dir=str(base))
    workflow.config["execution"] = {
        **workflow.config["execution"],
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "hash_method": "content",
        "poll_sleep_duration": _POLL_S,
        "stop_on_first_crash": str(resources.stop_on_first_crash).lower(),
        "check_version": "false",
    }
    return workflow


def run_workflow(workflow: Any, resources: Resources, *, title: str) -> list[NodeFailure]:
    """Run every node that can be run.

    Parameters
    ----------
    workflow
        From `new_workflow`.
    resources
        Processes and memory.
    title
        Shown beside the progress.

    Returns
    -------
    list of NodeFailure
        One for each node that broke; what depended on it did not run.
    """
    crash_dir = Path(workflow.config["execution"]["crashdump_dir"])
    crash_dir.mkdir(parents=True, exist_ok=True)
    before = set(crash_dir.glob("crash-*.txt"))
    _quiet_nipype(resources.verbose)
    n_nodes = len(workflow.list_node_names())
    arguments: dict[str, Any] = {"n_procs": resources.n_procs, "raise_insufficient": False}
    if resources.memory_gb is not None:
        arguments["memory_gb"] = resources.memory_gb
    with _NodeProgress(title, n_nodes) as progress:
        try:
            workflow.run(plugin="MultiProc", plugin_args=arguments | {"status_callback": progress})
        except RuntimeError as error:
            # nipype raises once more at the end what it has written as crash files.
            if not set(crash_dir.glob("crash-*.txt")) - before:
                raise errors.AppError(f"The workflow {title} ended early: {error}") from error
    return [_read_crash(path) for path in sorted(set(crash_dir.glob("crash-*.txt")) - before)]


def _quiet_nipype(verbose: int) -> None:
    """Leave nipype's own lines to ``-v``: the progress and the closing table say it in ours."""
    level = ("CRITICAL", "WARNING", "INFO", "DEBUG")[min(verbose, 3)]
    names = ("workflow_level", "interface_level", "utils_level")
    nipype.config.update_config({"logging": dict.fromkeys(names, level)})
    nipype.logging.update_logging(nipype.config)


def node_file(workflow: Any, node: str, name: str) -> Path:
    """Name a file that a node of a flat workflow wrote in its own folder."""
    return Path(workflow.base_dir, workflow.name, node, name)


class _NodeProgress:
    """Count finished nodes: a bar on a terminal, a line now and then in a log."""

    def __init__(self, title: str, n_nodes: int) -> None:
        self._title, self._n_nodes, self._n_done = title, n_nodes, 0
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=n_nodes)

    def __enter__(self) -> _NodeProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, node: Any, status: str) -> None:
        if status == "start":
            return
        self._n_done += 1
        self._bar.advance(self._task)
        tenth = max(1, self._n_nodes // 10)
        if not self._console.is_terminal and self._n_done % tenth == 0:
            print(f"{self._title}: {self._n_done} of {self._n_nodes} steps", flush=True)


def _read_crash(path: Path) -> NodeFailure:
    """Read the node, and the last exception with its message, from a crash file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    node = next((line[6:].strip() for line in lines if line.startswith("Node: ")), path.stem)
    found = [(i, match) for i, line in enumerate(lines) if (match := _ERROR_LINE.match(line))]
    if not found:
        return NodeFailure(node, "Error", "no message; see the crash file", path)
    start, match = found[-1]
    rest = [line.strip() for line in lines[start + 1 :]]
    tail = rest[: rest.index("")] if "" in rest else rest
    return NodeFailure(node, match[1], " ".join([match[2], *tail]).strip(), path)


def error_code(error: str) -> int:
    """Exit code of an exception class by its name; 70 for one that is not ours to expect."""
    kind = getattr(errors, error, None)
    return int(kind.exit_code) if kind is not None else errors.AppError.exit_code


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all are done, 1 if some are, else the code of what stopped them all."""
    broken = [each for each in outcomes if each.status != _DONE]
    if not broken:
        return 0
    if len(broken) < len(outcomes):
        return 1
    codes = {each.code or errors.InputError.exit_code for each in broken}
    return codes.pop() if len(codes) == 1 else 1


def print_outcomes(outcomes: Sequence[Outcome], *, title: str) -> None:
    """Print the table that ends every run; plain lines where there is no terminal."""
    console = Console()
    if not console.is_terminal:
        print(title)
        for each in outcomes:
            print(f"  {each.name}: {each.status}{': ' * bool(each.detail)}{each.detail}")
        return
    table = Table(title=title, title_justify="left")
    table.add_column("who", no_wrap=True)
    table.add_column("how it ended", no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in outcomes:
        colour = {_DONE: "green", _SKIPPED: "yellow", _FAILED: "red"}[each.status]
        table.add_row(escape(each.name), f"[{colour}]{each.status}[/]", escape(each.detail))
    console.print(table)

"""A nipype workflow run to its end: one failure isolated, crash files read, one table at the close.

Nodes are always run in worker processes, also when there is one: a node's memory and
threads then never outlive it, and the number of processes cannot change a result.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import nipype
from filelock import FileLock, Timeout
from nipype.pipeline import engine as pe
from nipype.pipeline.plugins.multiproc import MultiProcPlugin
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fmmtc_bidsapp import errors
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan, Resources

__all__ = [
    "NodeFailure",
    "NodeResults",
    "Outcome",
    "error_code",
    "exit_code",
    "make_folder",
    "new_workflow",
    "node_file",
    "node_name",
    "outcome_columns",
    "print_outcomes",
    "raise_failure",
    "run_workflow",
]

_POLL_S = 0.05
"""nipype's own poll of 2 s costs a second a node."""

_KILLED = (
    "AppError: The process was killed from outside, or one beside it was; most often for memory. "
    "Use fewer --nprocs, or more memory, and run again.\n"
)
_DONE, _SKIPPED, _FAILED = "done", "skipped", "failed"
_ERROR_LINE = re.compile(r"^\s*(?:\w+\.)*(\w+(?:Error|Exception|Interrupt|Warning)): ?(.*)$")


@dataclass(frozen=True)
class NodeFailure:
    """What a crash file says."""

    node: str
    """Name of the node without the workflow's own, ``sub_01.parcellate``."""
    error: str
    """Class of the exception, ``InputError``."""
    message: str
    crash_file: Path


@dataclass(frozen=True)
class NodeResults:
    """Which nodes of a workflow are known to have finished, and which broke."""

    done: frozenset[str]
    """Names without the workflow's own: ``sub_01.write``."""
    failures: tuple[NodeFailure, ...]


@dataclass(frozen=True)
class Outcome:
    """How one participant, or one part of the group level, ended."""

    name: str
    status: str
    """``done``, ``skipped`` (never started) or ``failed`` (started and broke)."""
    detail: str = ""
    code: int = 0
    """Exit code of the error behind it; 0 where it is no failure."""


def node_name(text: str) -> str:
    """Spell a label or file name so that nipype takes it as the name of a node."""
    return text.replace("-", "_").replace("+", "_plus_")


def make_folder(folder: Path) -> None:
    """Make a private folder in the work directory.

    Raises
    ------
    OutputError
        When it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise errors.OutputError(
            f"The work directory {folder} cannot be made ({error.strerror}). Choose one that can "
            "be written with --work-dir."
        ) from error


def new_workflow(name: str, plan: ParticipantPlan | GroupPlan, crash_dir: Path) -> Any:
    """Return an empty workflow in the plan's workspace, set up to run to its end.

    Raises
    ------
    OutputError
        When the work directory cannot be made.
    """
    make_folder(plan.workspace)
    workflow = pe.Workflow(name=name, base_dir=str(plan.workspace))
    workflow.config["execution"] = {
        **workflow.config["execution"],
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "hash_method": "content",
        "poll_sleep_duration": _POLL_S,
        "stop_on_first_crash": str(plan.resources.stop_on_first_crash).lower(),
        "check_version": "false",
    }
    return workflow


def run_workflow(workflow: Any, resources: Resources, *, title: str) -> NodeResults:
    """Run every node that can be run; one run at a time in a workspace.

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
    NodeResults
        What depended on a failed node, or came after it with ``--stop-on-first-crash``, is in
        neither of its lists.
    """
    crash_dir = Path(workflow.config["execution"]["crashdump_dir"])
    make_folder(crash_dir)
    before = set(crash_dir.glob("crash-*.txt"))
    _quiet_nipype(resources.verbose)
    arguments: dict[str, Any] = {
        "n_procs": resources.n_procs,
        "n_gpu_procs": 1,
        "raise_insufficient": False,
    }
    if resources.memory_gb is not None:
        arguments["memory_gb"] = resources.memory_gb
    n_nodes = len(workflow.list_node_names())
    with _alone(workflow), _NodeProgress(title, n_nodes) as progress:
        try:
            workflow.run(plugin=_Workers(arguments | {"status_callback": progress}))
        except RuntimeError as error:
            # nipype raises once more at the end what it has written as crash files.
            if not set(crash_dir.glob("crash-*.txt")) - before:
                raise errors.AppError(f"The workflow {title} ended early: {error}") from error
    crashes = sorted(set(crash_dir.glob("crash-*.txt")) - before)
    return NodeResults(frozenset(progress.finished), tuple(_read_crash(path) for path in crashes))


@contextmanager
def _alone(workflow: Any) -> Iterator[None]:
    """Wait until no other run works on nodes of the same names in the same workspace."""
    lock = FileLock(Path(workflow.base_dir, f"{workflow.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"Another run works in {workflow.base_dir}; waiting for it to finish.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _quiet_nipype(verbose: int) -> None:
    """Leave nipype's own lines to ``-v``: the progress and the closing table say it in ours."""
    level = ("CRITICAL", "WARNING", "INFO", "DEBUG")[min(verbose, 3)]
    names = ("workflow_level", "interface_level", "utils_level")
    nipype.config.update_config({"logging": dict.fromkeys(names, level)})
    nipype.logging.update_logging(nipype.config)


def node_file(workflow: Any, node: str, name: str) -> Path:
    """Name a file that a node of a flat workflow wrote in its own folder."""
    return Path(workflow.base_dir, workflow.name, node, name)


class _Workers(MultiProcPlugin):
    """MultiProc that goes on when the kernel kills a worker; nipype's own waits for it for ever."""

    def _async_callback(self, future: Any) -> None:
        if future.exception() is None:
            super()._async_callback(future)

    def _get_result(self, taskid: int) -> Any:
        future = self._task_obj[taskid]
        if future.done() and isinstance(future.exception(), BrokenProcessPool):
            return {"result": None, "taskid": taskid, "traceback": [_KILLED]}
        return super()._get_result(taskid)

    def _submit_job(self, node: Any, updatehash: bool = False) -> Any:
        try:
            return super()._submit_job(node, updatehash)
        except BrokenProcessPool:
            self.pool = ProcessPoolExecutor(
                max_workers=self.processors, initializer=os.chdir, initargs=(self._cwd,)
            )
            return super()._submit_job(node, updatehash)


class _NodeProgress:
    """Count finished nodes: a bar on a terminal, a line now and then in a log."""

    def __init__(self, title: str, n_nodes: int) -> None:
        self.finished: set[str] = set()
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
        if status == "end":
            self.finished.add(_short(node.fullname))
        self._n_done += 1
        self._bar.advance(self._task)
        tenth = max(1, self._n_nodes // 10)
        if not self._console.is_terminal and self._n_done % tenth == 0:
            print(f"{self._title}: {self._n_done} of {self._n_nodes} steps", flush=True)


def _short(fullname: str) -> str:
    """Take the name of the workflow off the name of a node."""
    return fullname.partition(".")[2]


def _read_crash(path: Path) -> NodeFailure:
    """Read the node, and the last exception with its message, from a crash file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    named = (_short(line[6:].strip()) for line in lines if line.startswith("Node: "))
    node = next(named, path.stem)
    found = [(i, match) for i, line in enumerate(lines) if (match := _ERROR_LINE.match(line))]
    if not found:
        return NodeFailure(node, "Error", "no message; see the crash file", path)
    start, match = found[-1]
    rest = [line.strip() for line in lines[start + 1 :]]
    tail = rest[: rest.index("")] if "" in rest else rest
    return NodeFailure(node, match[1], " ".join([match[2], *tail]).strip(), path)


def raise_failure(failure: NodeFailure, text: str) -> NoReturn:
    """Raise what broke a node as an error of the same class, and so of the same exit code."""
    kind = getattr(errors, failure.error, errors.AppError)
    raise kind(f"{text}: {failure.message}")


def error_code(error: str) -> int:
    """Exit code of an exception class by its name; 70 for one that is not ours to expect."""
    kind = getattr(errors, error, None)
    if kind is not None:
        return int(kind.exit_code)
    # What a node reads is checked with errors of ours: what is left is a place to write.
    is_place = issubclass(getattr(builtins, error, Exception), OSError)
    return errors.OutputError.exit_code if is_place else errors.AppError.exit_code


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all are done, 1 if some are, else the gravest code of what stopped them."""
    codes = [each.code for each in outcomes if each.code]
    if not codes:
        return 0
    return 1 if any(each.status == _DONE for each in outcomes) else max(codes)


def outcome_columns(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """Lay the closing table out for a file."""
    return {
        "who": [each.name for each in outcomes],
        "how_it_ended": [each.status for each in outcomes],
        "why": [each.detail or "n/a" for each in outcomes],
    }


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

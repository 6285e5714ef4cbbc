"""The work folder of one dataset and output: made, locked for one run, removed."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from nipype.pipeline import engine as pe
from nipype.pipeline.engine import nodes, utils
from nipype.pipeline.plugins import base

from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan

__all__ = [
    "alone",
    "clean_workspace",
    "make_folder",
    "new_workflow",
    "node_file",
    "node_name",
    "take_folders_literally",
]

_HELD, _MARKED = ".lock", ".held"
"""Ends of files that the system locks, and of files whose presence is the lock; a file of the first
kind stays after its lock is released."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_ROOT = 0
_UNKNOWN = 65534
"""In a container, the number of users of the host, such as root."""
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def take_folders_literally() -> None:
    """Let nipype find its files also in a folder called ``Study [2024]``."""
    for module in (nodes, utils, base):
        # All patterns of nipype are in the last part of the path.
        module.glob = lambda pattern: list(map(str, Path(pattern).parent.glob(Path(pattern).name)))


def node_name(text: str) -> str:
    """Return a label or file name as a valid name of a node."""
    return text.replace("-", "_").replace("+", "_plus_")


def node_file(workflow: Any, node: str, name: str) -> Path:
    """Return the path of a file that a node of a flat workflow wrote into its folder."""
    return Path(workflow.base_dir, workflow.name, node, name)


def make_folder(folder: Path) -> None:
    """Make a private folder in the work directory, or make an existing one private.

    nipype keeps pickled objects there, which run code of their author when they are read, and it
    records the environment, which may hold passwords. A folder of another user is an OutputError.
    """
    try:
        absent = [each for each in (folder, *folder.parents) if not each.exists()]
        # The new folders above it too: a user who may write there could exchange this one.
        for each in reversed(absent):
            each.mkdir(exist_ok=True, mode=0o700)
        owner, ours = folder.stat().st_uid, _owner_here(folder)
        if owner not in (ours, _ROOT):
            raise OutputError(
                f"{folder} belongs to another user (number {owner}), who could make this "
                "program run any code. Choose a --work-dir that belongs to you."
            )
        if folder.stat().st_mode & _OPEN_TO_OTHERS and owner == ours:
            # A file system without permissions refuses or ignores it.
            with suppress(OSError):
                folder.chmod(0o700)
        _warn_of_others(folder, ours)
    except OSError as error:
        raise OutputError(
            f"The work directory {folder} cannot be made or written to ({error.strerror}). Choose "
            "one that can be written with --work-dir."
        ) from error


def _owner_here(folder: Path) -> int:
    """Return the number of the user to whom new files in a folder belong.

    It is another number where the file system assigns all files to one user (NFS with
    ``all_squash``, CIFS, sshfs).
    """
    with TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_uid


def _warn_of_others(folder: Path, ours: int) -> None:
    """Warn of other users who could exchange this folder for one of theirs.

    Folders that a group or everybody may write to are common on clusters and as volumes of
    containers, so they are no error.
    """
    about = folder.stat()
    open_anyway = about.st_uid == ours and about.st_mode & _OPEN_TO_OTHERS
    # Also by the path with links, as a link can be exchanged too.
    for above in sorted({*folder.absolute().parents, *folder.resolve().parents}):
        found = above.stat()
        # Permissions that chmod could not remove are made up by the file system.
        if open_anyway and found.st_dev == about.st_dev:
            continue
        kept_apart = found.st_mode & stat.S_ISVTX
        if found.st_mode & stat.S_IWOTH and not kept_apart:
            return _warn_of(above, "every user")
        if found.st_mode & stat.S_IWGRP and not kept_apart and not _is_our_own(found.st_gid):
            return _warn_of(above, f"the members of its group (number {found.st_gid})")
        if found.st_uid not in (ours, os.geteuid(), _ROOT, _UNKNOWN):
            return _warn_of(above, f"its owner (user number {found.st_uid})")
    return None


def _is_our_own(group: int) -> bool:
    """Return whether a group has this user as its only member, by its name, or is root's."""
    try:
        return grp.getgrgid(group).gr_name in ("root", pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        return False


@cache
def _warn_of(folder: Path, who: str) -> None:
    """Warn once of a user who could exchange the content of a folder."""
    print(
        f"WARNING: the work directory is below {folder}: {who} could exchange it for another "
        "folder and make this program run any code. Unless you trust them, choose a --work-dir "
        "that only you may write to.",
        flush=True,
    )


def new_workflow(name: str, plan: ParticipantPlan | GroupPlan, crash_dir: Path) -> Any:
    """Return an empty workflow in the workspace of a plan, set up to run to its end.

    Give all batches of one level the same name, so that a later run finds their nodes.
    """
    make_folder(plan.workspace)
    workflow = pe.Workflow(name=name, base_dir=str(plan.workspace))
    workflow.config["execution"] = {
        **workflow.config["execution"],
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "create_report": "false",
        "hash_method": "content",
        "stop_on_first_crash": str(plan.resources.stop_on_first_crash).lower(),
        "check_version": "false",
    }
    return workflow


@contextmanager
def alone(workflow: Any) -> Iterator[None]:
    """Wait until no other run works on nodes of the same names in the same workspace.

    Jobs of an array, which have different participants, do not wait for each other.
    """
    with ExitStack() as locks:
        # In one order, so that two runs never wait for each other.
        for name in _locked(workflow):
            locks.callback(_hold(Path(workflow.base_dir), name).release)
        yield


def _hold(folder: Path, name: str) -> BaseFileLock:
    """Wait for the lock of a name and take it."""
    try:
        lock = _lock(folder, name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(
                f"Another run works on {name}; waiting for it to finish.{_way_out(lock)}",
                flush=True,
            )
            lock.acquire()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to ({error.strerror}). Make room there, or choose another "
            "--work-dir, then run again; completed steps are reused."
        ) from error
    return lock


def _lock(folder: Path, name: str) -> BaseFileLock:
    """Return the lock of a name: one of the system, which ends with its process, else a file."""
    if _has_locks(folder):
        return FileLock(folder / f"{name}{_HELD}")
    return SoftFileLock(folder / f"{name}{_MARKED}")


@cache
def _has_locks(folder: Path) -> bool:
    """Return whether the file system of a folder has locks; warn once if not."""
    try:
        with TemporaryFile(dir=folder) as probe:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"WARNING: {folder} is on a file system without locks ({error.strerror}). Marking "
            "files keep runs on the same participants apart. After a run was killed, the next one "
            "may wait, and prints which file to delete.",
            flush=True,
        )
        return False
    return True


def _locks_in(folder: Path) -> list[BaseFileLock]:
    """Return the locks of all workflows that ever ran in a folder."""
    found = [_lock(folder, path.stem) for path in folder.glob(f"*{_HELD}")]
    found += [SoftFileLock(path) for path in folder.glob(f"*{_MARKED}")]
    return list({lock.lock_file: lock for lock in found}.values())


def _way_out(lock: BaseFileLock) -> str:
    """Return which file to delete after a killed run; empty where the system has locks."""
    if not isinstance(lock, SoftFileLock):
        return ""
    return f" If there is none, one that was killed left {lock.lock_file}: delete it."


def _locked(workflow: Any) -> list[str]:
    """Return the names to lock: the parts of a workflow, or itself if it has none."""
    parts = [node.name for node in workflow._graph.nodes() if isinstance(node, pe.Workflow)]
    return [f"{workflow.name}.{name}" for name in sorted(parts)] or [workflow.name]


def clean_workspace(plan: ParticipantPlan | GroupPlan) -> None:
    """Remove the workspace of a plan, unless it is in use or holds the index of pybids."""
    folder, database = plan.workspace, plan.resources.bids_database_dir
    if not folder.is_dir():
        return
    if database is not None and database.resolve().is_relative_to(folder.resolve()):
        print(f"{folder} is kept: it holds the --bids-database-dir.")
        return
    try:
        with ExitStack() as locks:
            for lock in _locks_in(folder):
                locks.enter_context(lock.acquire(blocking=False))
            shutil.rmtree(folder)
    except Timeout:
        print(f"{folder} is kept: another run works in it.")
    except OSError as error:
        print(f"{folder} could not be removed ({error.strerror}); delete it by hand.")

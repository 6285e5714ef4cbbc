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

from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan

__all__ = ["alone", "clean_workspace", "make_folder", "new_workflow", "node_file", "node_name"]

_HELD, _MARKED = ".lock", ".held"
"""Ends of the files that the system locks, and of those whose being there is the lock: a file of
the first kind stays after its lock is given back."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_ROOT = 0
_UNKNOWN = 65534
"""Stands in a container for users of outside, root among them."""
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def node_name(text: str) -> str:
    """Spell a label or file name so that nipype takes it as the name of a node."""
    return text.replace("-", "_").replace("+", "_plus_")


def node_file(workflow: Any, node: str, name: str) -> Path:
    """Name a file that a node of a flat workflow wrote in its own folder."""
    return Path(workflow.base_dir, workflow.name, node, name)


def make_folder(folder: Path) -> None:
    """Make a private folder in the work directory, or make the one that is there private.

    nipype keeps pickled objects there, and reading one runs what whoever wrote it put in; and it
    notes the environment, which may hold passwords.

    Raises
    ------
    OutputError
        When it cannot be made or written to, or is another user's.
    """
    try:
        absent = [each for each in (folder, *folder.parents) if not each.exists()]
        # Those above it too, as who may write there could put a folder of theirs in its place.
        for each in reversed(absent):
            each.mkdir(exist_ok=True, mode=0o700)
        owner, ours = folder.stat().st_uid, _owner_here(folder)
        if owner not in (ours, _ROOT):
            raise OutputError(
                f"{folder} belongs to another user (number {owner}), who could have our "
                "program do anything. Choose a --work-dir of your own."
            )
        if folder.stat().st_mode & _OPEN_TO_OTHERS and owner == ours:
            # A file system without permissions refuses, or does as if.
            with suppress(OSError):
                folder.chmod(0o700)
        _warn_of_others(folder, ours)
    except OSError as error:
        raise OutputError(
            f"The work directory {folder} cannot be made or written to ({error.strerror}). Choose "
            "one that can be written with --work-dir."
        ) from error


def _owner_here(folder: Path) -> int:
    """Return the number of the user to whom what we write in a folder belongs.

    It is not our own where a file system gives all files to one user (NFS with ``all_squash``,
    CIFS, sshfs).
    """
    with TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_uid


def _warn_of_others(folder: Path, ours: int) -> None:
    """Say who else could put a folder of theirs in the place of this one.

    Project folders whose group may write, or everybody, are common on clusters and as volumes of
    containers, so nobody is refused for them.
    """
    about = folder.stat()
    open_anyway = about.st_uid == ours and about.st_mode & _OPEN_TO_OTHERS
    # By both names, as a link can be exchanged too.
    for above in sorted({*folder.absolute().parents, *folder.resolve().parents}):
        found = above.stat()
        # Permissions that cannot be taken away are none: the system makes them up.
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
    """Tell a group that many systems make for each user alone, or root's."""
    try:
        return grp.getgrgid(group).gr_name in ("root", pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        return False


@cache
def _warn_of(folder: Path, who: str) -> None:
    """Say once who else could exchange what is in a folder."""
    print(
        f"WARNING: the work directory is below {folder}: {who} could put a folder of theirs in "
        "its place and have our program do anything. Unless you trust them, choose a --work-dir "
        "that only you may write to.",
        flush=True,
    )


def new_workflow(name: str, plan: ParticipantPlan | GroupPlan, crash_dir: Path) -> Any:
    """Return an empty workflow in the plan's workspace, set up to run to its end.

    A file that a trait names is known by its content, which nipype reads twice for that: where it
    is an image, give a node its size and date instead, and its path with ``hash_files=False``.

    Parameters
    ----------
    name
        The same for all batches of one level, so that a later run finds its nodes again.
    plan
        Where to compute.
    crash_dir
        Where crash files go.

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
        "create_report": "false",
        "hash_method": "content",
        "stop_on_first_crash": str(plan.resources.stop_on_first_crash).lower(),
        "check_version": "false",
    }
    return workflow


@contextmanager
def alone(workflow: Any) -> Iterator[None]:
    """Wait until no other run works on nodes of the same names in the same workspace.

    Jobs of an array, each with participants of its own, do not wait for each other.

    Raises
    ------
    OutputError
        Where the workspace takes no lock.
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
            "--work-dir, then run again; what is finished is kept."
        ) from error
    return lock


def _lock(folder: Path, name: str) -> BaseFileLock:
    """Return the lock of a name: the system's, which ends with its process, else a marking file."""
    if _has_locks(folder):
        return FileLock(folder / f"{name}{_HELD}")
    return SoftFileLock(folder / f"{name}{_MARKED}")


@cache
def _has_locks(folder: Path) -> bool:
    """Try whether the file system of a folder has locks; where not, warn once."""
    try:
        with TemporaryFile(dir=folder) as probe:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"WARNING: {folder} is on a file system without locks ({error.strerror}). Marking "
            "files keep runs on the same participants apart; should a run be killed, one started "
            "afterwards may wait, and says which file to delete.",
            flush=True,
        )
        return False
    return True


def _locks_in(folder: Path) -> list[BaseFileLock]:
    """Return the locks of everything that was ever worked on in a folder."""
    found = [_lock(folder, path.stem) for path in folder.glob(f"*{_HELD}")]
    found += [SoftFileLock(path) for path in folder.glob(f"*{_MARKED}")]
    return list({lock.lock_file: lock for lock in found}.values())


def _way_out(lock: BaseFileLock) -> str:
    """Name the file that a killed run may leave, where the file system does not take it over."""
    if not isinstance(lock, SoftFileLock):
        return ""
    return f" If there is none, one that was killed left {lock.lock_file}: delete it."


def _locked(workflow: Any) -> list[str]:
    """Name what a workflow works on: its parts where it has any, else itself as a whole."""
    parts = [node.name for node in workflow._graph.nodes() if isinstance(node, pe.Workflow)]
    return [f"{workflow.name}.{name}" for name in sorted(parts)] or [workflow.name]


def clean_workspace(plan: ParticipantPlan | GroupPlan) -> None:
    """Remove the plan's workspace: nothing else of the work directory, and no one else's index.

    What cannot be removed is said and left; the results stand without it.
    """
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

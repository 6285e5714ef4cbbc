"""Check what libraries expect of the machine: a home folder, ``/proc``, shared memory."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from fmmtc_bidsapp.errors import MissingResourceError, OutputError

__all__ = ["give_home", "require_system"]


_OF_THIS_PROCESS = Path("/proc/self/stat")


def give_home() -> None:
    """Let a folder for temporary files stand in for the home of a user without one.

    Such are users of containers whose number no list of users names.
    """
    if os.environ.get("HOME") is not None or _named_home():
        return
    home = _private_folder()
    if home is None:
        return
    os.environ["HOME"] = str(home)
    os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")
    print(
        f"Note: this user has no home folder; {home} stands in for one. Set HOME, or "
        "FMMTC_CACHE_DIR and TEMPLATEFLOW_HOME, to keep what is fetched elsewhere.",
        file=sys.stderr,
    )


def _named_home() -> bool:
    try:
        Path("~").expanduser()
    except RuntimeError:
        return False
    return True


def _private_folder() -> Path | None:
    """Make the same folder every time, unless somebody else got there first."""
    try:
        folder = Path(tempfile.gettempdir(), f"fmmtc-home-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_ours = folder.is_dir() and not folder.is_symlink() and found.st_uid == os.getuid()
        return folder if is_ours else Path(tempfile.mkdtemp(prefix="fmmtc-home-"))
    except OSError:
        # `require_system` tells that there is no folder for temporary files.
        return None


def require_system() -> None:
    """Refuse a machine on which libraries would fail without saying why.

    Raises
    ------
    OutputError
        If there is no folder for temporary files, or no place for what processes share.
    MissingResourceError
        If the system does not tell of itself.
    """
    _require_temporary_folder()
    if sys.platform == "linux" and not _OF_THIS_PROCESS.exists():
        raise MissingResourceError(
            "There is no /proc here, which tells of memory and processes. Mount it "
            "(mount -t proc proc /proc; containers do so unless they are told not to)."
        )
    _require_shared_memory()


def _require_temporary_folder() -> None:
    """Refuse a root that is wholly read-only before a library meets it."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise OutputError(
            f"{error.strerror}. Libraries need one: name a folder that is there with TMPDIR, or "
            "give the container one (docker run --tmpfs /tmp)."
        ) from error


def _require_shared_memory() -> None:
    """Refuse a machine whose processes cannot tell each other anything."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise OutputError(
            f"/dev/shm, which processes share, cannot be written ({error.strerror or error}). Make "  # noqa: S108
            "it writable (docker run --shm-size 1g, or mount -t tmpfs tmpfs /dev/shm)."
        ) from error

"""What libraries need of the machine: a home folder, ``/proc``, shared memory."""

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
    """Give a user without a home folder a temporary one, as in containers with unknown users."""
    if os.environ.get("HOME") is not None or _named_home():
        return
    home = _private_folder()
    if home is None:
        return
    os.environ["HOME"] = str(home)
    os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")
    print(
        f"Note: this user has no home folder; {home} is used instead. Set HOME, or "
        "FMMTC_CACHE_DIR and TEMPLATEFLOW_HOME, to keep fetched files elsewhere.",
        file=sys.stderr,
    )


def _named_home() -> bool:
    try:
        Path("~").expanduser()
    except RuntimeError:
        return False
    return True


def _private_folder() -> Path | None:
    """Return the same private folder every time, or a new one if another user owns it."""
    try:
        folder = Path(tempfile.gettempdir(), f"fmmtc-home-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_ours = folder.is_dir() and not folder.is_symlink() and found.st_uid == os.getuid()
        return folder if is_ours else Path(tempfile.mkdtemp(prefix="fmmtc-home-"))
    except OSError:
        # `require_system` reports that there is no folder for temporary files.
        return None


def require_system() -> None:
    """Refuse a machine without temporary files, ``/proc`` or shared memory."""
    _require_temporary_folder()
    if sys.platform == "linux" and not _OF_THIS_PROCESS.exists():
        raise MissingResourceError(
            "/proc is not mounted; it is needed to read memory and processes. Mount it "
            "(mount -t proc proc /proc; containers do so by default)."
        )
    _require_shared_memory()


def _require_temporary_folder() -> None:
    """Refuse a machine on which no temporary file can be written."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise OutputError(
            f"{error.strerror}. Libraries need one: set TMPDIR to a folder that exists, or "
            "add one to the container (docker run --tmpfs /tmp)."
        ) from error


def _require_shared_memory() -> None:
    """Refuse a machine without shared memory between processes."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise OutputError(
            f"/dev/shm (shared memory) cannot be written ({error.strerror or error}). Make "  # noqa: S108
            "it writable (docker run --shm-size 1g, or mount -t tmpfs tmpfs /dev/shm)."
        ) from error

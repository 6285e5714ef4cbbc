"""Write files atomically, and keep files with the same content."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import uuid4

from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.visible import visible, visible_json

__all__ = [
    "atomic_path",
    "noting_written",
    "refuse_unwritable",
    "write_bytes",
    "write_json",
    "write_text",
]

_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-([0-9]{1,9})_[0-9a-f]{8}_")
"""Start of a temporary name: machine and process."""
_SURELY_LEFT_S = 24 * 3600
"""Age of an abandoned temporary file of any machine: no file takes a day to write."""
_FULL = (errno.ENOSPC, errno.EDQUOT)

_written: ContextVar[set[Path] | None] = ContextVar("written", default=None)


@contextmanager
def atomic_path(final: Path, *, n_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``final``, which is moved to ``final`` on success.

    A file with the same bytes keeps its date. Temporary files of killed runs are removed.
    ``n_bytes`` is for the message of a full disk. A folder or file that cannot be written raises
    OutputError.
    """
    # Hidden, so that a file of a killed run never matches a BIDS name.
    temporary = final.with_name(f".{_machine()}-{os.getpid()}_{uuid4().hex[:8]}_{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final.parent)
        yield temporary
        if not (final.is_file() and filecmp.cmp(temporary, final, shallow=False)):
            temporary.replace(final)
        written = _written.get()
        if written is not None:
            written.add(final)
    except OSError as error:
        _discard(temporary)
        raise OutputError(
            f"Cannot write {final}: {error.strerror or error}{_room(error, final, n_bytes)}. "
            "Free disk space or choose a writable output folder, then run again."
        ) from error
    finally:
        _discard(temporary)


@contextmanager
def noting_written() -> Iterator[set[Path]]:
    """Collect the path of every file that this process writes."""
    paths: set[Path] = set()
    token = _written.set(paths)
    try:
        yield paths
    finally:
        _written.reset(token)


def _room(error: OSError, final: Path, n_bytes: int | None) -> str:
    """Describe the space that is needed and free, if the disk is full."""
    if error.errno not in _FULL or n_bytes is None:
        return ""
    try:
        free = shutil.disk_usage(final.parent).free
    except OSError:
        return ""
    return f" ({n_bytes:,} bytes are needed, {free:,} free)"


def _machine() -> str:
    """Return 8 hexadecimal digits for the machine and its process namespace (container)."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    text = f"{socket.gethostname()} {namespace}"
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=4).hexdigest()


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that have ended."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.match(entry.name)
            if found is None:
                continue
            gone = found[1] == _machine() and _is_gone(int(found[2]))
            # Another run may have removed it meanwhile.
            with suppress(OSError):
                if gone or time.time() - entry.stat().st_mtime > _SURELY_LEFT_S:
                    Path(entry.path).unlink()


def _is_gone(pid: int) -> bool:
    """Return whether no process has this id, by a signal: /proc may hide those of other users."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        # The folder cannot be reached; that error is already being raised.
        return


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path, n_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write text atomically as UTF-8, with control characters made `visible`."""
    write_bytes(path, visible(text).encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of plain values as JSON, in its order; NaN is an error."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, visible_json(text) + "\n")


def refuse_unwritable(folder: Path, name: str) -> None:
    """Raise OutputError if a folder cannot be written or made; ``name`` is for the message."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        why = f"{there} is not a folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        why = f"no permission to write to {there}"
    else:
        return
    raise OutputError(f"Cannot write to {folder}: {why}. Choose another {name}.")

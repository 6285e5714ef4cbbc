"""Write files that are whole or absent, and leave unchanged files alone."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.visible import visible, visible_json

__all__ = [
    "atomic_path",
    "noting_written",
    "write_bytes",
    "write_json",
    "write_text",
    "write_tsv",
]

MISSING = "n/a"

_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-([0-9]{1,9})_[0-9a-f]{8}_")
"""How a temporary name begins: the machine and the process that writes it."""
_SURELY_LEFT_S = 24 * 3600
"""No file takes a day to write: what is older was left, by whatever machine."""
_FULL = (errno.ENOSPC, errno.EDQUOT)

_written: ContextVar[set[Path] | None] = ContextVar("written", default=None)


@contextmanager
def atomic_path(final: Path, *, n_bytes: int | None = None) -> Iterator[Path]:
    """Lend a temporary name beside a file that becomes the file if all goes well.

    A file that already has the same bytes is left as it is, with its date. What a killed run left
    half written in the folder is removed.

    Parameters
    ----------
    final
        Where the file belongs; its folder is created.
    n_bytes
        What it will take, where that is known, for the message of a full disk.

    Yields
    ------
    Path
        A hidden name in the same folder with the same extension; it is gone afterwards.

    Raises
    ------
    OutputError
        If the folder or the file cannot be written, with the system's reason.
    """
    # Hidden, so that what a killed run leaves behind never matches a BIDS name.
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
            "Make room or choose an output folder that can be written, then run again."
        ) from error
    finally:
        _discard(temporary)


@contextmanager
def noting_written() -> Iterator[set[Path]]:
    """Note every file that this process writes, so that its being there can be looked at later."""
    paths: set[Path] = set()
    token = _written.set(paths)
    try:
        yield paths
    finally:
        _written.reset(token)


def _room(error: OSError, final: Path, n_bytes: int | None) -> str:
    """Say how much a file needs and how much there is, where the disk is full."""
    if error.errno not in _FULL or n_bytes is None:
        return ""
    try:
        free = shutil.disk_usage(final.parent).free
    except OSError:
        return ""
    return f" ({n_bytes:,} bytes are needed, {free:,} free)"


def _machine() -> str:
    """Tell machines apart, and on one machine containers whose processes have numbers of their own.

    Eight hexadecimal digits, as a name of the host may be too long for a file's.
    """
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    text = f"{socket.gethostname()} {namespace}"
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=4).hexdigest()


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that are gone."""
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
    """Say whether no process has a number, by the kernel: /proc may hide those of other users."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        # The folder itself is out of reach; the error that says so is already on its way.
        return


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path, n_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8 with the line ends it has; `visible` of it."""
    write_bytes(path, visible(text).encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, in its own order.

    Parameters
    ----------
    path
        Where to write.
    content
        Plain values, arrays excluded; NaN has no place in JSON.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, visible_json(text) + "\n")


def write_tsv(path: Path, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """Write columns of equal length as a BIDS table.

    Floats read back as the same numbers; NaN, None and empty text become ``n/a``; booleans are
    ``true`` and ``false``.

    Parameters
    ----------
    path
        Where to write.
    columns
        Values by column name, in the order of the table.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_bytes(path, tsv_bytes(columns))


def tsv_bytes(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> bytes:
    """Lay columns of equal length out as `write_tsv` writes them."""
    cells = [_cells(values) for values in columns.values()]
    lines = [
        "\t".join(map(visible, columns)),
        *("\t".join(row) for row in zip(*cells, strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _cells(values: Sequence[Any] | NDArray[Any]) -> Iterable[str]:
    if isinstance(values, np.ndarray) and values.dtype == np.float64:
        # A whole series at once: the general path is several times slower.
        return [MISSING if value != value else repr(value) for value in values.tolist()]
    return [_cell(value) for value in values]


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating):
        return MISSING if math.isnan(value) else str(value)
    return visible(" ".join(str(value).split())) or MISSING

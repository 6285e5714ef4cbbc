"""Arrays between nodes, as files in the work directory.

What one node passes to the next is a file of `numpy.savez`: the arrays, and everything else as one
JSON text. Arrays that many nodes read are a file each, which the nodes map into memory instead of
loading a copy each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.engine.stored import is_whole
from fmmtc_bidsapp.errors import OutputError

__all__ = ["load_arrays", "load_shared", "save_array", "save_arrays", "save_shared"]

_LEAST_MAPPED = 2**20
"""Bytes from which a file is mapped; smaller ones, and empty arrays, are read."""


def save_arrays(path: Path, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Write arrays and a description; return the path as text."""
    content: dict[str, Any] = {**arrays, "about": np.array(json.dumps(dict(about)))}
    with _naming(path):
        np.savez(path, **content)
    return str(path)


def save_array(path: Path, array: NDArray[Any]) -> str:
    """Write one array as ``.npy``; return the path as text."""
    with _naming(path):
        np.save(path, array)
    return str(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file that could not be written, which the errors of numpy and the system do not."""
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error} ({free:,} bytes are free). Make room, "
            "or choose another --work-dir, then run again."
        ) from error


def load_arrays(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "about"}
        about: dict[str, Any] = json.loads(str(file["about"]))
    return arrays, about


def save_shared(path: Path, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Write arrays that many nodes read, by name, and a description; return the path.

    `path` is a ``.json``, written last: the description, and the names of the files of the arrays,
    which hold a digest of their content. So its digest is that of everything. Files of older
    arrays are removed; processes that have mapped one keep it.
    """
    files = {name: _save_named(path, name, np.asarray(array)) for name, array in arrays.items()}
    text = json.dumps({"arrays": files, "about": dict(about)}, sort_keys=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with _naming(path):
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    for old in path.parent.glob(f"{path.stem}_*.npy"):
        if old.name not in files.values():
            old.unlink(missing_ok=True)
    return str(path)


def _save_named(path: Path, name: str, array: NDArray[Any]) -> str:
    """Write an array under a name with a digest of its content, unless that file exists."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(array.data if array.size else b"")
    file = path.with_name(f"{path.stem}_{name}_{digest.hexdigest()[:16]}.npy")
    # It may have been cut by a loss of power.
    if not (file.is_file() and is_whole(file)):
        partial = file.with_suffix(f".{os.getpid()}.partial")
        with _naming(file):
            with partial.open("wb") as stream:
                np.save(stream, array)
            partial.replace(file)
    return file.name


def load_shared(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_shared` wrote; arrays of a megabyte or more are mapped, and read-only."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    arrays = {name: _load(Path(path).with_name(file)) for name, file in content["arrays"].items()}
    return arrays, content["about"]


def _load(file: Path) -> NDArray[Any]:
    if file.stat().st_size < _LEAST_MAPPED:
        return np.asarray(np.load(file, allow_pickle=False))
    # As a plain array: some functions would return memmaps.
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))

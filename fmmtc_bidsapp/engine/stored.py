"""Files of nodes in the work directory: read back, and discarded if a file was cut.

nipype takes a node for finished if its result file exists. After a loss of power that file or an
array may be cut, and every later run would end there.
"""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitError
from nipype.pipeline.engine.utils import load_resultfile

from fmmtc_bidsapp.errors import OutputError

__all__ = ["discard_damaged", "is_whole", "outputs_of"]

_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, ImportError),
    *(zlib.error, struct.error, zipfile.BadZipFile, pickle.UnpicklingError, TraitError),
)
"""Errors of reading a damaged file."""


def outputs_of(workflow: Any, name: str) -> Mapping[str, Any]:
    """Read the outputs of a finished node, such as ``sub_01.write``; empty if unreadable."""
    folder = _folder(workflow, name)
    try:
        outputs: dict[str, Any] = load_resultfile(_result(folder)).outputs.get()
    except _UNREADABLE:
        return {}
    return outputs


def discard_damaged(workflow: Any, say: Callable[[str], None]) -> None:
    """Remove the folders of finished nodes in which a file is damaged; call it `alone`."""
    for name in workflow.list_node_names():
        folder = _folder(workflow, name)
        if not folder.is_dir() or workflow.get_node(name).overwrite:
            continue
        damaged = next(_damaged(folder), None)
        if damaged is None:
            continue
        say(f"{damaged} is damaged: its step is computed again.")
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(
                f"{folder} is damaged and cannot be removed ({error.strerror}). Delete it, or "
                "choose another --work-dir, then run again."
            ) from error


def _damaged(folder: Path) -> Iterator[Path]:
    """Return the files of a finished node that are damaged or gone."""
    result = _result(folder)
    if not result.is_file():
        return
    for path in folder.rglob("*"):
        if path.is_file() and not is_whole(path):
            yield path
    yield from _gone(folder, result)


def _gone(folder: Path, result: Path) -> Iterator[Path]:
    """Return the files in the folder of a node that its result names and that are gone."""
    try:
        # Not resolved: nipype would also refuse files that are gone from the output folder.
        outputs = load_resultfile(result, resolve=False).outputs
        values = {} if outputs is None else outputs.get()
    except _UNREADABLE:
        yield result
        return
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            is_file = isinstance(each, str) and (
                each.startswith(f"{folder}/") or outputs.trait(name).is_trait_type(File)
            )
            if is_file and (folder / each).is_relative_to(folder) and not (folder / each).exists():
                yield folder / each


def is_whole(path: Path) -> bool:
    """Return whether a file of a node is complete; one of an unknown kind is, unless empty."""
    try:
        return _CHECKS.get(path.suffix, _is_anything)(path)
    except _UNREADABLE:
        return False


def _is_anything(path: Path) -> bool:
    return path.stat().st_size > 0


def _is_pickle(path: Path) -> bool:
    # The checksum at its end covers all of it.
    return len(gzip.decompress(path.read_bytes())) > 0


def _is_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


def _is_array(path: Path) -> bool:
    # An empty one cannot be mapped.
    array = np.load(path, mmap_mode="r" if path.stat().st_size > _EMPTY_ARRAY else None)
    return isinstance(array, np.ndarray)


_EMPTY_ARRAY = 4096


def _is_json(path: Path) -> bool:
    json.loads(path.read_bytes())
    return True


def _is_tensors(path: Path) -> bool:
    """Compare the size of a safetensors file with the one in its header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        size = path.stat().st_size
        if length > size:
            return False
        header = json.loads(file.read(length))
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends, default=0))


_CHECKS: Mapping[str, Callable[[Path], bool]] = {
    ".pklz": _is_pickle,
    ".npz": _is_archive,
    ".npy": _is_array,
    ".json": _is_json,
    ".safetensors": _is_tensors,
}


def _folder(workflow: Any, name: str) -> Path:
    return Path(workflow.base_dir, workflow.name, *name.split("."))


def _result(folder: Path) -> Path:
    return folder / f"result_{folder.name}.pklz"

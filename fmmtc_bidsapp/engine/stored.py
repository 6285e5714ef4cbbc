"""What nodes left in the work directory: read back, and thrown away where a file of it was cut.

nipype takes a node for finished by the name of a file. After a loss of power its result or its
arrays may be cut all the same, and every later run would end there.
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
"""What reading a damaged file raises."""


def outputs_of(workflow: Any, name: str) -> Mapping[str, Any]:
    """Read the outputs of a finished node.

    Parameters
    ----------
    workflow
        From `new_workflow`.
    name
        Of the node, without the workflow's own: ``sub_01.write``.

    Returns
    -------
    dict
        Values by name; empty where they cannot be read.
    """
    folder = _folder(workflow, name)
    try:
        outputs: dict[str, Any] = load_resultfile(_result(folder)).outputs.get()
    except _UNREADABLE:
        return {}
    return outputs


def discard_damaged(workflow: Any, say: Callable[[str], None]) -> None:
    """Throw away what finished nodes left wherever a file of it is not whole; call it `alone`.

    Parameters
    ----------
    workflow
        From `new_workflow`.
    say
        Prints a line.

    Raises
    ------
    OutputError
        When a damaged folder cannot be removed.
    """
    for name in workflow.list_node_names():
        folder = _folder(workflow, name)
        if not folder.is_dir() or workflow.get_node(name).overwrite:
            continue
        damaged = next(_damaged(folder), None)
        if damaged is None:
            continue
        say(f"{damaged} is not whole: what it belongs to is computed anew.")
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(
                f"{folder} is damaged and cannot be removed ({error.strerror}). Delete it, or "
                "choose another --work-dir, then run again."
            ) from error


def _damaged(folder: Path) -> Iterator[Path]:
    """List the files of a node that are not whole, or gone; none where it did not finish."""
    result = _result(folder)
    if not result.is_file():
        return
    for path in folder.rglob("*"):
        if path.is_file() and not is_whole(path):
            yield path
    yield from _gone(folder, result)


def _gone(folder: Path, result: Path) -> Iterator[Path]:
    """List the files in a node's own folder that its result names and that are not there."""
    try:
        # Not resolved, as nipype then refuses what is gone from the output folder too.
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
    """Say whether a file that a node wrote is as long as it says itself, and can be read.

    Parameters
    ----------
    path
        A file. Of an unknown kind it is whole if there is anything in it.
    """
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
    """Compare the size of a safetensors file with that which its header gives."""
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

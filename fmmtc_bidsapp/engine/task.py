"""The one interface of all nodes: a function by its name, with its arguments as text.

nipype hashes objects by their repr, which numpy truncates, so two different arrays can hash alike:
a node is given paths, numbers and JSON. A text that names a file is hashed by the content of the
file. A *place* is a path of which the text alone is hashed, such as an image that must not be read
for it; a digest or a stamp of it stands among the options.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from nipype.interfaces.base import (
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine.arrays import save_array
from fmmtc_bidsapp.engine.codec import decode, encode, load_record, save_record
from fmmtc_bidsapp.errors import InputError

__all__ = ["Task", "module_of", "task"]

_FOLDER = "folder"
"""The argument of a function that writes its files itself: the folder of the node."""


class _TaskInput(DynamicTraitedSpec):
    function = traits.Str(mandatory=True, desc="module:name")
    options = traits.Str("{}", usedefault=True, desc="arguments as JSON, by name")
    places = traits.Dict(
        traits.Str, traits.Str, hash_files=False, desc="paths that are not read to be hashed"
    )
    elsewhere = traits.Dict(
        traits.Str, traits.Str, nohash=True, desc="paths that do not change the result"
    )
    use_gpu = traits.Bool(False, usedefault=True, desc="nipype runs one such node at a time")
    stamp = traits.Str(desc="what else decides the result, such as size and date of an image")
    after = traits.Any(desc="what another node must have written before")


class _TaskOutput(TraitedSpec):
    file = File(exists=True, desc="the first file written")
    files = traits.List(traits.Str, desc="all files written")


class Task(SimpleInterface):
    """Call a function by its name and write its result to a file.

    Arguments are decoded by their types: a path stays a path, a record or an array is read from its
    file. A returned record is written as ``.npz``, an array as ``.npy``.

    Parameters
    ----------
    function
        At the top level of its module, with all arguments annotated. An argument ``folder`` is the
        folder of the node, for functions that write their files themselves and return the paths.
    options
        Arguments that are plain values or records without arrays.
    files
        Arguments that are files, hashed by content; None for an absent one.
    places
        Arguments that are paths, of which the text alone is hashed.
    elsewhere
        Arguments that are paths and not hashed at all: `stamp` identifies their content.
    upstream
        Names of the arguments that other nodes write and that are connected to this one.
    stamp
        What else decides the result.
    gpu
        Whether it computes on a GPU.
    """

    input_spec = _TaskInput
    output_spec = _TaskOutput

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        options: Mapping[str, Any] | None = None,
        files: Mapping[str, Path | Sequence[Path] | None] | None = None,
        places: Mapping[str, Path | None] | None = None,
        elsewhere: Mapping[str, Path] | None = None,
        upstream: Sequence[str] = (),
        stamp: str = "",
        gpu: bool = False,
    ) -> None:
        super().__init__()
        self.inputs.function = f"{function.__module__}:{function.__qualname__}"
        self.inputs.options = json.dumps(encode(options or {}))
        known = {name: each for name, each in (places or {}).items() if each is not None}
        self.inputs.places = {name: str(path) for name, path in known.items()}
        self.inputs.elsewhere = {name: str(path) for name, path in (elsewhere or {}).items()}
        self.inputs.stamp = stamp
        self.inputs.use_gpu = gpu
        for name in (*(files or {}), *upstream):
            self.inputs.add_trait(name, traits.Any)
        for name, each in (files or {}).items():
            if each is not None:
                _require_there(each)
                path = str(each) if isinstance(each, Path) else [str(one) for one in each]
                setattr(self.inputs, name, path)

    def _run_interface(self, runtime: Any) -> Any:
        module, _, name = self.inputs.function.partition(":")
        function = getattr(import_module(module), name)
        folder = Path(runtime.cwd)
        result = function(**_arguments(function, self.inputs, folder))
        files = _written(result, folder / name)
        self._results["files"] = files
        if files:
            self._results["file"] = files[0]
        return runtime


def module_of(interface: Any) -> str:
    """Return the name of the module that a worker imports to run an interface."""
    if isinstance(interface, Task):
        return str(interface.inputs.function).partition(":")[0]
    return type(interface).__module__


def _require_there(files: Path | Sequence[Path]) -> None:
    """Refuse a missing file: nipype would hash its name instead of its content."""
    for each in [files] if isinstance(files, Path) else files:
        if not each.is_file():
            raise InputError(f"{each} no longer exists. Restore it, then run again.")


def task(
    name: str,
    interface: Task,
    *,
    memory_gb: float,
    threads: int = 1,
    writes_output: bool = False,
) -> pe.Node:
    """Return a node of a task; one that writes into the output always runs again.

    The cache cannot see that files of the output were deleted, and writing the same bytes leaves a
    file unchanged.
    """
    return pe.Node(interface, name=name, mem_gb=memory_gb, n_procs=threads, overwrite=writes_output)


def _arguments(function: Callable[..., Any], inputs: Any, folder: Path) -> dict[str, Any]:
    """Decode the arguments of a function by the types of its parameters."""
    kinds = get_type_hints(function)
    plain = {name: decode(kinds[name], each) for name, each in json.loads(inputs.options).items()}
    places = {name: Path(each) for name, each in (inputs.places | inputs.elsewhere).items()}
    static = set(_TaskInput().trait_names())
    files = {
        name: _read(kinds[name], each)
        for name, each in inputs.trait_get().items()
        if name not in static and isdefined(each) and each is not None
    }
    own = {_FOLDER: folder} if _FOLDER in kinds else {}
    return {**plain, **places, **files, **own}


def _read(kind: Any, path: str | list[str]) -> Any:
    """Read a file by the type of the parameter: as a record, as an array or not at all."""
    if isinstance(path, list):
        return [Path(each) for each in path]
    # ``Record | None`` is read as a record.
    kind = next((each for each in get_args(kind) if is_dataclass(each)), kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return load_record(path, kind)
    if get_origin(kind) is np.ndarray:
        return np.load(path, allow_pickle=False)
    return Path(path)


def _written(result: Any, stem: Path) -> list[str]:
    """Return the paths that a function returned, or write its result and return the path."""
    if is_dataclass(result):
        return [save_record(stem.with_suffix(".npz"), result)]
    if isinstance(result, np.ndarray):
        return [save_array(stem.with_suffix(".npy"), result)]
    if isinstance(result, Path):
        return [str(result)]
    return [str(each) for each in result or ()]

"""A record as JSON and arrays, and back: generated from the fields of its dataclass.

A record that one node writes is read by the next. Nothing in a file is executed: the type that is
read decides how the JSON is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from fmmtc_bidsapp.engine.arrays import load_arrays, save_arrays

__all__ = ["decode", "encode", "load_record", "save_record"]

Record = TypeVar("Record")

_ARRAY, _TYPE = "array", "array's type"
"""Keys in the JSON in place of an array: its number among the arrays, or its values and type."""


def save_record(path: Path, record: Any) -> str:
    """Write a dataclass as an ``.npz`` and return the path as text."""
    arrays: dict[str, Any] = {}
    content = encode(record, arrays)
    return save_arrays(path, arrays, content)


def load_record(path: str | Path, kind: type[Record]) -> Record:
    """Read the record of a class that `save_record` wrote."""
    arrays, content = load_arrays(path)
    found: Record = decode(kind, content, arrays)
    return found


def encode(value: Any, arrays: dict[str, Any] | None = None) -> Any:
    """Encode a value for JSON; arrays go into `arrays`, or without it into the JSON itself."""
    if isinstance(value, np.ndarray):
        if arrays is None:
            return {_ARRAY: value.tolist(), _TYPE: value.dtype.str}
        name = str(len(arrays))
        arrays[name] = value
        return {_ARRAY: name}
    if is_dataclass(value):
        return {each.name: encode(getattr(value, each.name), arrays) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode(each, arrays) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str | int | float | NoneType):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")


def decode(kind: Any, content: Any, arrays: Mapping[str, Any] | None = None) -> Any:
    """Decode a value of a type that `encode` encoded."""
    if isinstance(content, dict) and _ARRAY in content and set(content) <= {_ARRAY, _TYPE}:
        if arrays is None:
            return np.array(content[_ARRAY], dtype=content[_TYPE])
        return arrays[content[_ARRAY]]
    origin, members = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kind = next(each for each in members if each is not NoneType)
        return None if content is None else decode(kind, content, arrays)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        values = {name: decode(hints[name], each, arrays) for name, each in content.items()}
        return kind(**values)
    if kind is Path:
        return Path(content)
    if isinstance(content, dict):
        value = members[1] if len(members) == 2 else Any
        return {key: decode(value, each, arrays) for key, each in content.items()}
    if isinstance(content, list):
        kinds = _members(origin, members, len(content))
        found = [decode(own, each, arrays) for own, each in zip(kinds, content, strict=True)]
        return found if list in (kind, origin) or kind is Any else tuple(found)
    return content


def _members(origin: Any, members: Sequence[Any], n: int) -> Sequence[Any]:
    """Types of the n members of a list, a tuple or another sequence."""
    if origin is tuple and Ellipsis not in members and members:
        return members
    return [members[0] if members else Any] * n


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)

"""Read BIDS filter files, in the format of fMRIPrep's ``--bids-filter-file``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.errors import InputError, UsageError

__all__ = ["ANY", "read_filter"]

ANY = "*"
"""Any value, but the entity must be there."""

_BOLD = "bold"
_OF_OTHERS = ("fmap", "sbref", "flair", "t1w", "t2w", "roi", "dwi", "asl", "m0scan", "pet")
"""Other image types in filter files of fMRIPrep and related programs."""
_ENTITIES: Mapping[str, str] = MappingProxyType(
    {
        "datatype": "datatype",
        "suffix": "suffix",
        "subject": "sub",
        "session": "ses",
        "task": "task",
        "acquisition": "acq",
        "ceagent": "ce",
        "reconstruction": "rec",
        "direction": "dir",
        "run": "run",
        "echo": "echo",
        "part": "part",
        "space": "space",
        "extension": "extension",
    }
)
"""Entities of raw runs: pybids' name, and short key."""
_MAGNITUDE = "mag"
"""The part that fMRIPrep preprocesses, without part- in the names of its files."""


def read_filter(path: Path) -> dict[str, tuple[str | None, ...]]:
    """Read a BIDS filter file: allowed values by entity (``ses``), None for absent.

    In JSON null is an absent entity, ``"*"`` any value, a list alternatives. Keys for other images
    are ignored with a message. UsageError for unknown keys, entities or values.
    """
    try:
        content = read_json(path)
    except InputError as error:
        raise UsageError(f"--bids-filter-file: {error}") from error
    _refuse_unknown(path, "key", content, (_BOLD, *_OF_OTHERS))
    bold = content.get(_BOLD, {})
    if not isinstance(bold, dict):
        raise UsageError(f'{path}: "bold" is {bold!r}; it must be an object of entities.')
    _refuse_unknown(path, "entity", bold, _ENTITIES)
    asked = {_ENTITIES[name]: _values(path, name, value) for name, value in bold.items()}
    kept, ignored = _of_derivatives(path, asked)
    ignored = [*(each for each in content if each != _BOLD), *ignored]
    if ignored:
        print(
            f"{path}: {', '.join(ignored)} ignored, as they do not select BOLD runs.",
            file=sys.stderr,
        )
    return kept


def _of_derivatives(
    path: Path, asked: Mapping[str, tuple[str | None, ...]]
) -> tuple[dict[str, tuple[str | None, ...]], list[str]]:
    """Split entities into those of preprocessed runs and those of raw files only."""
    if "space" in asked and None not in asked["space"]:
        raise UsageError(
            f"{path} filters by space, which raw BOLD images do not have. Choose the space of the "
            "preprocessed images with --space."
        )
    # Echoes are combined, and every run has images of several formats.
    ignored = {"space", "extension"} if set(asked.get("echo", ())) == {None} else _OF_RAW_FILES
    kept = {key: values for key, values in asked.items() if key not in ignored}
    if _MAGNITUDE in kept.get("part", ()):
        kept["part"] = (*kept["part"], None)
    notes = [f"bold's {key}" for key in asked if key in ignored and key != "space"]
    return kept, notes


_OF_RAW_FILES = {"space", "extension", "echo"}


def _refuse_unknown(
    path: Path, what: str, found: Mapping[str, Any], known: Mapping[str, str] | tuple[str, ...]
) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        listed = ", ".join(each or '""' for each in unknown)
        raise UsageError(
            f"{path} has the unknown {what} {listed}; those allowed are {', '.join(known)}."
        )


def _values(path: Path, name: str, value: Any) -> tuple[str | None, ...]:
    values = value if isinstance(value, list) else [value]
    wrong = [each for each in values if isinstance(each, bool | float | dict | list) or each == ""]
    if wrong or not values:
        raise UsageError(
            f'{path}: {name} is {value!r}; it must be a label, null, "*", or a list of them.'
        )
    return tuple(None if each is None else str(each) for each in values)

"""Read JSON, and JSON sidecars with BIDS inheritance."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.names import ParsedName, parse_name
from fmmtc_bidsapp.errors import InputError

__all__ = [
    "Listing",
    "finite_number",
    "json_names",
    "read_json",
    "read_sidecar",
    "repetition_time_s",
]

_SHORTEST_TR_S, _LONGEST_TR_S = 0.001, 100.0
"""The BIDS validator also takes larger numbers for milliseconds."""
_EVEN = 0.01
"""Share of a step by which times between volumes may differ, as some are rounded."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; InputError if the file has no content or holds something else."""
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"JSON {problem}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
        if r"\ud" in text.lower():
            # A lone surrogate, valid in JSON, cannot be written to a file.
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}). Correct it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object. Correct it.")
    return content


Listing = Callable[[Path], tuple[str, ...]]
"""Folder -> names of the JSON files in it."""


def json_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the JSON files in a folder; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return tuple(entry.name for entry in entries if entry.name.endswith(".json"))
    except OSError:
        return ()


def read_sidecar(path: Path, root: Path, listed: Listing = json_names) -> dict[str, Any]:
    """Collect the metadata of a file from all JSON files that apply to it; the closest one wins.

    Readers of many files pass ``functools.cache(json_names)`` as ``listed``.
    """
    target = parse_name(path)
    found: dict[str, Any] = {}
    for folder in reversed([parent for parent in path.parents if parent.is_relative_to(root)]):
        for sidecar in _applicable(folder, listed(folder), target):
            found |= read_json(sidecar)
    return found


def _applicable(folder: Path, names: Sequence[str], target: ParsedName) -> list[Path]:
    """Return the JSON files of a folder that apply to a file, from general to specific."""
    # Beside a .dtseries.nii fMRIPrep has put a .json, a .dtseries.json or both.
    endings = ("json", "dtseries.json") if target.extension == ".dtseries.nii" else ("json",)
    ends = [f"{target.suffix}.{ending}" for ending in endings]
    candidates = [
        folder / name
        for name in names
        if any(name == end or name.endswith(f"_{end}") for end in ends)
    ]
    parsed = ((len(_entities(path)), path) for path in candidates if _applies(path, target))
    return [path for _, path in sorted(parsed)]


def _applies(path: Path, target: ParsedName) -> bool:
    try:
        return _entities(path).items() <= dict(target.entities).items()
    except InputError:
        # Not a BIDS name, so not a sidecar of anything.
        return False


def _entities(path: Path) -> dict[str, str]:
    return dict(parse_name(path).entities)


def repetition_time_s(sidecar: dict[str, Any], path: Path) -> float | None:
    """Return the repetition time in s from a sidecar of ``path``; None without any.

    From ``RepetitionTime``, even ``VolumeTiming`` or ``SamplingFrequency``. InputError if it is not
    0.001 to 100 s, volumes are not evenly spaced, or two keys disagree.
    """
    value = sidecar.get("RepetitionTime")
    step_s = _even_step_s(sidecar.get("VolumeTiming"), path)
    if value is None and step_s is None:
        frequency_hz = finite_number(sidecar.get("SamplingFrequency"))
        # XCP-D writes the word "TR" here, which has no value.
        if frequency_hz is None or frequency_hz <= 0:
            return None
        value = 1 / frequency_hz
    tr_s = finite_number(step_s if value is None else value)
    if tr_s is None or not _SHORTEST_TR_S <= tr_s <= _LONGEST_TR_S:
        raise InputError(
            f"RepetitionTime of {path} is {value!r}; it must be a number of seconds, "
            f"{_SHORTEST_TR_S:g} to {_LONGEST_TR_S:g}."
        )
    if step_s is not None and abs(step_s - tr_s) > _EVEN * tr_s:
        raise InputError(
            f"The sidecar of {path} has a RepetitionTime of {tr_s:g} s, but a VolumeTiming with "
            f"{step_s:g} s between volumes. BIDS allows only one of them: remove the wrong one."
        )
    return tr_s


def _even_step_s(onsets: Any, path: Path) -> float | None:
    """Return the time in s between volumes, which must be evenly spaced."""
    if onsets is None:
        return None
    known = onsets if isinstance(onsets, list) else []
    times_s = [finite_number(each) for each in known]
    steps_s = [
        later - earlier
        for earlier, later in pairwise(times_s)
        if earlier is not None and later is not None
    ]
    if not steps_s or len(steps_s) != len(times_s) - 1 or min(steps_s) <= 0:
        raise InputError(
            f"VolumeTiming of {path} must be the start of each volume in seconds, ascending. "
            "Correct the sidecar."
        )
    mean_s = sum(steps_s) / len(steps_s)
    if max(abs(step_s - mean_s) for step_s in steps_s) > _EVEN * mean_s:
        raise InputError(
            f"The volumes of {path} are not evenly spaced in time: VolumeTiming has steps of "
            f"{min(steps_s):g} to {max(steps_s):g} s. Filters, trends and models need one "
            "repetition time. Exclude this run."
        )
    return mean_s


def finite_number(value: Any) -> float | None:
    """Return a JSON value as a finite float; None for booleans, other types and overflow."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None

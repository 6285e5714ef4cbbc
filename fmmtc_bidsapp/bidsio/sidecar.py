"""JSON metadata of a file, with BIDS inheritance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.names import ParsedName, parse_name
from fmmtc_bidsapp.errors import InputError

__all__ = ["read_json", "read_sidecar", "repetition_time_s"]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    InputError
        If the file has no content, is not JSON, or holds something else than an object.
    """
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"JSON {problem}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}). Repair it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object. Repair it.")
    return content


def read_sidecar(path: Path, root: Path) -> dict[str, Any]:
    """Collect the metadata of a file from every JSON that applies to it.

    Parameters
    ----------
    path
        A data file below ``root``.
    root
        Root of its dataset, where inheritance starts.

    Returns
    -------
    dict
        Keys of all that apply; of two with the same key the one closest to the file wins.

    Raises
    ------
    InputError
        If one of them cannot be read.
    """
    target = parse_name(path)
    found: dict[str, Any] = {}
    for folder in reversed([parent for parent in path.parents if parent.is_relative_to(root)]):
        for sidecar in _applicable(folder, target):
            found |= read_json(sidecar)
    return found


def _applicable(folder: Path, target: ParsedName) -> list[Path]:
    """Sort the JSONs of a folder that apply to a file from the general to the specific."""
    candidates = [*folder.glob(f"{target.suffix}.json"), *folder.glob(f"*_{target.suffix}.json")]
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
    """Take the repetition time from a sidecar.

    Parameters
    ----------
    sidecar
        Metadata of a BOLD image or of a series.
    path
        The file it belongs to, for the message.

    Returns
    -------
    float or None
        Seconds, from ``RepetitionTime`` or a numeric ``SamplingFrequency``; None without either.

    Raises
    ------
    InputError
        If it is there but no positive number.
    """
    value = sidecar.get("RepetitionTime")
    if value is None:
        frequency_hz = sidecar.get("SamplingFrequency")
        # XCP-D writes the word "TR" here, which tells nothing.
        numeric = isinstance(frequency_hz, int | float) and frequency_hz > 0
        return 1 / frequency_hz if numeric and frequency_hz else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"RepetitionTime of {path} is {value!r}; it must be seconds above 0.")
    return float(value)

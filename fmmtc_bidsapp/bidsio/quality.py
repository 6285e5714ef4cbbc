"""Quality tables of single runs: read, and brought together for the group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.atomic import MISSING, write_json, write_tsv
from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.names import (
    ENTITY_ORDER,
    QUALITY_PATTERN,
    STATISTICS,
    group_quality,
    parse_name,
)
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import RunQuality

__all__ = [
    "RatedRun",
    "find_quality",
    "has_quality",
    "matrices_of",
    "quality_table",
    "read_quality",
    "write_group_quality",
]

_OF_CLEANING = ("space", "atlas", "desc")
_OF_FILE = frozenset({"res", "den", "stat"})
"""Entities that a matrix has besides those of its quality table."""
_ALWAYS = frozenset({"sub", "ses"})

_IDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sub": ("participant_id", "Participant."),
        "ses": ("session_id", "Session, n/a where the run has none."),
    }
)
_CLEANING = {
    "space": "Template the series is in.",
    "atlas": "Atlas the parcels are of.",
    "desc": "Cleaning the figures are of.",
}
_UNITS = {"": {}, "%": {"Units": "proportion"}}
"""Reports print shares as per cent; the tables hold them as they are."""


@dataclass(frozen=True)
class RatedRun:
    """One run under one cleaning, in one space and atlas, with its quality."""

    path: Path
    """Its quality table."""
    entities: Mapping[str, str]
    """Those of the raw run."""
    space: str
    atlas: str
    desc: str
    quality: RunQuality

    @property
    def participant_id(self) -> str:
        """The label with its prefix, ``sub-01``."""
        return f"sub-{self.entities['sub']}"


def read_quality(path: Path) -> RunQuality:
    """Read the quality table of one run.

    Parameters
    ----------
    path
        A table with a header and one row.

    Returns
    -------
    RunQuality
        Its columns that `RunQuality` has; None for ``n/a``.

    Raises
    ------
    InputError
        If it is damaged, lacks a column, or a cell holds something else than is due.
    """
    row = _read_row(path)
    absent = [each.name for each in fields(RunQuality) if each.name not in row]
    if absent:
        raise InputError(
            f"{path} has no column {', '.join(absent)}; another version of this program wrote it. "
            "Run the participant level again"
        )
    return RunQuality(**{each.name: _parse(path, each, row) for each in fields(RunQuality)})


def _read_row(path: Path) -> dict[str, str]:
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"Quality table {problem}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no table of text ({error}). Write it anew.") from error
    cells = [line.split("\t") for line in lines]
    if len(cells) != 2 or len(cells[0]) != len(cells[1]):
        raise InputError(
            f"{path} is damaged: it has rows of {', '.join(str(len(each)) for each in cells)} "
            "cells; due are a header and one row of equal length. Run the participant level again"
        )
    return dict(zip(*cells, strict=True))


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _number(text: str) -> float | None:
    return None if text == MISSING else float(text)


_PARSERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {"int": int, "float | None": _number, "bool": _truth, "str": str}
)


def _parse(path: Path, column: Field[Any], row: Mapping[str, str]) -> Any:
    try:
        return _PARSERS[str(column.type)](row[column.name])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path} is damaged: {column.name} is {row[column.name]!r}, which is no "
            f"{str(column.type).split()[0]}. Run the participant level again"
        ) from error


def has_quality(output_dir: Path) -> bool:
    """Say whether the participant level has left any quality table in a folder."""
    return next(output_dir.glob(QUALITY_PATTERN), None) is not None


def find_quality(output_dir: Path) -> list[RatedRun]:
    """Read the quality tables of all runs of our derivative dataset.

    Parameters
    ----------
    output_dir
        Root of the dataset.

    Returns
    -------
    list of RatedRun
        Sorted by path; empty where the participant level has not been run.

    Raises
    ------
    InputError
        If a table is damaged or its name lacks space, atlas or desc; the message names it.
    """
    return [_rated(path) for path in sorted(output_dir.glob(QUALITY_PATTERN))]


def _rated(path: Path) -> RatedRun:
    entities = dict(parse_name(path).entities)
    absent = [f"{key}-" for key in _OF_CLEANING if key not in entities]
    if absent:
        raise InputError(
            f"{path} lacks {', '.join(absent)} in its name, so it is no quality table of this "
            "program. Move it out of the output folder."
        )
    space, atlas, desc = (entities.pop(key) for key in _OF_CLEANING)
    return RatedRun(path, entities, space, atlas, desc, read_quality(path))


def matrices_of(run: RatedRun) -> dict[str, Path]:
    """List the connectivity matrices of a run under its cleaning, by measure.

    A matrix over all runs of a task belongs to none of them.

    Raises
    ------
    InputError
        If one is there in two resolutions: it would count twice.
    """
    own = {**run.entities, "space": run.space, "atlas": run.atlas, "desc": run.desc}
    measures = {statistic: measure for measure, statistic in STATISTICS.items()}
    found: dict[str, Path] = {}
    for path in sorted(run.path.parent.glob("sub-*_relmat.tsv")):
        entities = parse_name(path).entities
        measure = measures.get(entities.get("stat", ""))
        rest = {key: value for key, value in entities.items() if key not in _OF_FILE}
        if measure is None or rest != own:
            continue
        if measure in found:
            raise InputError(
                f"{found[measure]} and {path.name} are one run in two resolutions; keep one of "
                "them in the folder."
            )
        found[measure] = path
    return found


def quality_table(runs: Sequence[RatedRun], output_dir: Path) -> pd.DataFrame:
    """Lay runs out in a table."""
    if not runs:
        raise InputError(
            f"{output_dir} holds no quality table of a run. Run the participant level into it "
            "first."
        )
    keys = [
        key for key in ENTITY_ORDER if key in _ALWAYS or any(key in run.entities for run in runs)
    ]
    table = pd.DataFrame([_row(run, keys) for run in runs])
    numbers = [each.name for each in fields(RunQuality) if each.type == "float | None"]
    return table.astype(dict.fromkeys(numbers, float))


def _row(run: RatedRun, keys: Sequence[str]) -> dict[str, Any]:
    labels = {
        _id_column(key): f"{key}-{run.entities[key]}" if key in run.entities else None
        for key in keys
    }
    cleaning = {"space": run.space, "atlas": run.atlas, "desc": run.desc}
    return labels | cleaning | asdict(run.quality)


def _id_column(key: str) -> str:
    return _IDS[key][0] if key in _IDS else f"{key}_id"


def write_group_quality(output_dir: Path, table: pd.DataFrame) -> Path:
    """Write the quality of all runs, and what its columns mean.

    Parameters
    ----------
    output_dir
        Root of our derivative dataset.
    table
        From `quality_table`.

    Returns
    -------
    Path
        The table; its sidecar ends in ``.json``.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    path = group_quality(output_dir)
    write_tsv(path, {str(name): column.to_numpy() for name, column in table.items()})
    labels = {
        _id_column(key): _IDS[key][1] if key in _IDS else f"The entity {key}- of the run."
        for key in ENTITY_ORDER
        if _id_column(key) in table
    }
    about: dict[str, Any] = {
        name: {"Description": text} for name, text in (labels | _CLEANING).items()
    }
    write_json(path.with_suffix(".json"), about | {f.name: _about(f) for f in fields(RunQuality)})
    return path


def _about(column: Field[Any]) -> dict[str, Any]:
    facts = column.metadata
    units = _UNITS.get(facts["unit"], {"Units": facts["unit"]})
    return {"LongName": facts["title"], "Description": facts["meaning"], **units}

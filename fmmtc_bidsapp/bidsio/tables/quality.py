"""Read the quality tables of runs, and join them for the group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import (
    ENTITY_ORDER,
    QUALITY_PATTERN,
    STATISTICS,
    ParsedName,
    group_quality,
    space_entities,
    space_of,
)
from fmmtc_bidsapp.bidsio.files.strays import Stray, split_by_name
from fmmtc_bidsapp.bidsio.files.tsv import MISSING, read_cells, write_tsv
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import RunQuality

__all__ = [
    "RatedRun",
    "absent_columns",
    "find_quality",
    "has_quality",
    "matrices_of",
    "quality_table",
    "read_quality",
    "stray_tables",
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
"""Reports show shares in per cent; tables have them as proportions."""


@dataclass(frozen=True)
class RatedRun:
    """One run under one cleaning, space and atlas, with its quality."""

    path: Path
    """Its quality table."""
    entities: Mapping[str, str]
    """Those of the raw run."""
    space: str
    atlas: str
    desc: str
    quality: RunQuality
    absent: tuple[str, ...] = ()
    """Columns that the version which wrote the table did not have; n/a here."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Columns that this version does not know, as they stand in the table."""

    @property
    def all_entities(self) -> dict[str, str]:
        """Entities of the run, with space, atlas and desc."""
        kind = {"atlas": self.atlas, "desc": self.desc}
        return {**self.entities, **space_entities(self.space), **kind}

    @property
    def participant_id(self) -> str:
        """Label with prefix, ``sub-01``."""
        return f"sub-{self.entities['sub']}"


def read_quality(path: Path) -> RunQuality:
    """Read the quality table of one run, of any version; None for ``n/a`` and absent columns.

    InputError if it is damaged or lacks a column that the group level needs.
    """
    return _quality_of(path, _read_row(path))


_NEEDED = frozenset({"n_volumes", "num_retained_volumes", "usable"})
"""What runs are chosen and weighted by at the group level."""


def _quality_of(path: Path, row: Mapping[str, str]) -> RunQuality:
    absent = sorted(_NEEDED - set(row))
    if absent:
        raise InputError(
            f"{path} has no column {', '.join(absent)}, which the group level needs. Run the "
            "participant level again."
        )
    whole = dict.fromkeys((each.name for each in fields(RunQuality)), MISSING) | dict(row)
    return RunQuality(**{each.name: _parse(path, each, whole) for each in fields(RunQuality)})


def _read_row(path: Path) -> dict[str, str]:
    header, rows = read_cells(path)
    if len(rows) != 1 or "" in header:
        raise InputError(
            f"{path} is damaged: it has {len(rows)} rows and columns {', '.join(header)}; one row "
            "and a name for every column are needed. Run the participant level again."
        )
    return dict(zip(header, rows[0].split("\t"), strict=True))


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _count(text: str) -> int | None:
    return None if text == MISSING else int(text)


def _number(text: str) -> float | None:
    return None if text == MISSING else float(text)


_PARSERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {"int": int, "int | None": _count, "float | None": _number, "bool": _truth, "str": str}
)


def _parse(path: Path, column: Field[Any], row: Mapping[str, str]) -> Any:
    try:
        return _PARSERS[str(column.type)](row[column.name])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path} is damaged: {column.name} is {row[column.name]!r}, not "
            f"{str(column.type).split()[0]}. Run the participant level again."
        ) from error


def has_quality(output_dir: Path) -> bool:
    """Return whether a folder has a quality table of the participant level."""
    return next(output_dir.glob(QUALITY_PATTERN), None) is not None


def find_quality(output_dir: Path) -> list[RatedRun]:
    """Read the quality tables of all runs of our derivative dataset, sorted by path."""
    return [_rated(path, dict(name.entities)) for path, name in _tables(output_dir)[0].items()]


def stray_tables(output_dir: Path) -> list[Stray]:
    """Return files among the quality tables whose names are not ours."""
    return _tables(output_dir)[1]


def _tables(output_dir: Path) -> tuple[dict[Path, ParsedName], list[Stray]]:
    named, strays = split_by_name(sorted(output_dir.glob(QUALITY_PATTERN)))
    absent = {
        path: [f"{key}-" for key in _OF_CLEANING if key not in name.entities]
        for path, name in named.items()
    }
    strays += [
        Stray(path, f"its name has no {', '.join(keys)}, so it is none of this program")
        for path, keys in absent.items()
        if keys
    ]
    return {path: name for path, name in named.items() if not absent[path]}, strays


def _rated(path: Path, entities: dict[str, str]) -> RatedRun:
    space = str(space_of(entities))
    _, atlas, desc = (entities.pop(key) for key in _OF_CLEANING)
    entities.pop("cohort", None)
    row = _read_row(path)
    return RatedRun(
        path,
        entities,
        space,
        atlas,
        desc,
        _quality_of(path, row),
        absent=tuple(each.name for each in fields(RunQuality) if each.name not in row),
        others={name: text for name, text in row.items() if name not in _KNOWN},
    )


def matrices_of(run: RatedRun) -> dict[str, Path]:
    """Return the connectivity matrices of a run under its cleaning, by measure.

    Matrices over several runs are left out. InputError if one exists in two resolutions.
    """
    own = run.all_entities
    measures = {statistic: measure for measure, statistic in STATISTICS.items()}
    found: dict[str, Path] = {}
    named, _ = split_by_name(sorted(run.path.parent.glob("sub-*_relmat.tsv")))
    for path, name in named.items():
        entities = name.entities
        measure = measures.get(entities.get("stat", ""))
        rest = {key: value for key, value in entities.items() if key not in _OF_FILE}
        if measure is None or rest != own:
            continue
        if measure in found:
            raise InputError(
                f"{found[measure]} and {path.name} are the same run in two resolutions. Keep only "
                "one of them in the folder."
            )
        found[measure] = path
    return found


def quality_table(runs: Sequence[RatedRun], output_dir: Path) -> pd.DataFrame:
    """Return the quality of runs as a table; InputError without runs."""
    if not runs:
        raise InputError(
            f"{output_dir} has no quality table of a run. Run the participant level with this "
            "output folder first."
        )
    keys = [
        key for key in ENTITY_ORDER if key in _ALWAYS or any(key in run.entities for run in runs)
    ]
    others = dict.fromkeys(name for run in runs for name in run.others)
    # As objects: whole numbers stay whole beside n/a.
    table = pd.DataFrame([_row(run, keys) | {**others, **run.others} for run in runs], dtype=object)
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


_KNOWN = frozenset(
    {
        *map(_id_column, ENTITY_ORDER),
        *_OF_CLEANING,
        *(each.name for each in fields(RunQuality)),
    }
)
"""Columns of a run's quality table."""


def absent_columns(runs: Sequence[RatedRun]) -> dict[str, int]:
    """Return the number of runs whose table lacks a column of this version, by column."""
    return dict(Counter(name for run in runs for name in run.absent))


def write_group_quality(output_dir: Path, runs: Sequence[RatedRun]) -> Path:
    """Write the quality of all runs with its sidecar; return the path of the table."""
    path, table = group_quality(output_dir), quality_table(runs, output_dir)
    write_tsv(path, {str(name): column.to_numpy() for name, column in table.items()})
    labels = {
        _id_column(key): _IDS[key][1] if key in _IDS else f"The entity {key}- of the run."
        for key in ENTITY_ORDER
        if _id_column(key) in table
    }
    about = {name: {"Description": text} for name, text in (labels | _CLEANING).items()}
    absent = absent_columns(runs)
    about |= {
        each.name: _about(each) | _note(absent.get(each.name, 0)) for each in fields(RunQuality)
    }
    about |= {str(name): {"Description": _CARRIED} for name in table if name not in _KNOWN}
    write_json(path.with_suffix(".json"), about)
    return path


_CARRIED = "Written by another version of this program; copied unchanged."


def _note(n_runs: int) -> dict[str, str]:
    """Return the note of a column that older versions did not write."""
    if n_runs == 0:
        return {}
    return {"Note": f"n/a in {n_runs} runs: tables of an older version lack this column."}


def _about(column: Field[Any]) -> dict[str, str]:
    facts = column.metadata
    units = _UNITS.get(facts["unit"], {"Units": facts["unit"]})
    return {"LongName": facts["title"], "Description": facts["meaning"], **units}

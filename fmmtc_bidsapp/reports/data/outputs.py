"""Read written files for a report."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.files import sidecar, tsv
from fmmtc_bidsapp.bidsio.files.names import (
    STATISTICS,
    GroupFiles,
    RunFiles,
    dataset_description,
    linked_file,
    parse_name,
    run_log_dir,
    space_of,
)
from fmmtc_bidsapp.bidsio.files.origin import join_origins, origin_of
from fmmtc_bidsapp.bidsio.files.strays import split_by_name
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Origin

__all__ = [
    "RESULTS_KEY",
    "RESULTS_NOTE",
    "Combined",
    "combined_matrices",
    "computed",
    "crash_files",
    "finished_runs",
    "last_plan",
    "origin_of_runs",
    "participants",
    "plans_in",
    "program_version",
    "read_json",
    "read_plan",
    "read_table",
    "results_digest",
]

RESULTS_NOTE, RESULTS_KEY = "results.json", "ResultsSHA256"
"""File in the log of a group call, and its key, that say which results the call left."""

_ALWAYS = ("space", "atlas", "desc")
_SOMETIMES = ("res", "den", "stat", "cohort")
"""Entities of our files that the raw run lacks."""
_COMPUTES = "run"
"""The mode of a plan that computed something; the others write reports anew."""
_LABELS = (
    "participant_id",
    "session_id",
    "fold",
    "repeat",
    "name",
    "Node",
    "network",
    "subnetwork",
)


@dataclass(frozen=True)
class Combined:
    """A written matrix that stands for all runs of a task."""

    files: RunFiles
    """Its matrix and picture; none of the other files is there."""
    runs: tuple[RunFiles, ...]
    """Those it was made from, in the order of its sidecar."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a TSV table, labels as text; an absent file is an empty table."""
    return tsv.read_table(path, text=_LABELS) if path.exists() else pd.DataFrame()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; an absent file is an empty mapping."""
    return sidecar.read_json(path) if path.exists() else {}


def participants(output_dir: Path) -> list[str]:
    """List the participants that have a folder in the dataset (``sub-01``), sorted."""
    return sorted(path.name for path in output_dir.glob("sub-*") if path.is_dir())


def finished_runs(output_dir: Path, participant_id: str) -> list[RunFiles]:
    """List a participant's runs by name, those with a quality table, which is written last."""
    series = sorted((output_dir / participant_id).glob("**/func/sub-*_stat-mean_*_timeseries.tsv"))
    runs = [_run_of(output_dir, path) for path in _ours(series)]
    return [run for run in runs if run.qc.exists()]


def combined_matrices(output_dir: Path, participant_id: str) -> list[Combined]:
    """List the matrices of a participant that were averaged over several runs, by name."""
    matrices = sorted((output_dir / participant_id).glob("**/func/sub-*_relmat.tsv"))
    found = [(path, _matrices_behind(output_dir, path)) for path in _ours(matrices)]
    return [
        Combined(
            _run_of(output_dir, path), tuple(_run_of(output_dir, each) for each in _ours(behind))
        )
        for path, behind in found
        if behind
    ]


def _matrices_behind(output_dir: Path, matrix: Path) -> list[Path]:
    """List what a matrix was combined from; the source of a run's own is a series."""
    sources = read_json(matrix.with_suffix(".json")).get("Sources", [])
    files = [linked_file(str(each), output_dir) for each in sources]
    return [path for path in files if path.match("*_relmat.tsv")]


def program_version(output_dir: Path) -> str | None:
    """Version of this program that wrote the dataset, None where it does not say."""
    made_by = read_json(dataset_description(output_dir)).get("GeneratedBy") or [{}]
    version: str | None = made_by[0].get("Version")
    return version


def last_plan(output_dir: Path, participant_id: str) -> Path | None:
    """Find the ``plan.toml`` of the last call that computed something for ``sub-01``."""
    plans = plans_in(_logs(output_dir, participant_id))
    return next((path for path in plans if computed(read_plan(path))), None)


def _logs(output_dir: Path, participant_id: str) -> Path:
    return run_log_dir(output_dir, participant_id, "any").parent


def plans_in(logs: Path) -> list[Path]:
    """List the plans of the runs of the program below a folder, the last first."""
    # A run's id begins with its date, so the last in order is the last in time.
    return sorted(logs.glob("*/plan.toml"), reverse=True)


def read_plan(path: Path) -> dict[str, Any]:
    """Read a ``plan.toml``; an InputError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not TOML ({error}). Delete it and run again.") from error


def computed(plan: Mapping[str, Any]) -> bool:
    """Whether a plan was one to compute something, and not to write reports anew."""
    return bool(plan.get("mode", _COMPUTES) == _COMPUTES)


def results_digest(files: GroupFiles) -> str:
    """Join the digests of predictions and metrics, ``absent`` for a missing table."""
    tables = (files.predictions, files.metrics)
    return " ".join(digest_of(each) if each.is_file() else "absent" for each in tables)


def crash_files(output_dir: Path, participant_id: str) -> list[Path]:
    """List the crash files of the last call, and of the last call that computed something."""
    last = [last_plan(output_dir, participant_id), *plans_in(_logs(output_dir, participant_id))[:1]]
    folders = dict.fromkeys(plan.parent for plan in last if plan is not None)
    return [path for folder in folders for path in sorted(folder.glob("crash-*.txt"))]


def _ours(paths: Sequence[Path]) -> list[Path]:
    """Keep the files whose names are this program's."""
    named, _ = split_by_name(paths)
    return [path for path, name in named.items() if set(_ALWAYS) <= set(name.entities)]


def _run_of(output_dir: Path, series: Path) -> RunFiles:
    entities = dict(parse_name(series).entities)
    space = str(space_of(entities))
    _, atlas, desc = (entities.pop(key) for key in _ALWAYS)
    res, den, *_ = (entities.pop(key, None) for key in _SOMETIMES)
    run = RunFiles(output_dir, entities, space=space, atlas=atlas, desc=desc, res=res, den=den)
    written = (replace(run, measure=measure) for measure in STATISTICS)
    return next((each for each in written if each.relmat.exists()), run)


def origin_of_runs(runs: Sequence[RunFiles]) -> Origin:
    """Join what the sidecars of runs say of the images they were made from."""
    return join_origins(origin_of(read_json(run.timeseries.with_suffix(".json"))) for run in runs)

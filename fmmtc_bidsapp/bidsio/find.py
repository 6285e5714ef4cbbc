"""fMRIPrep's derivatives -> the runs that can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.filters import read_filter
from fmmtc_bidsapp.bidsio.index import index_run_files
from fmmtc_bidsapp.bidsio.locate import find_fmriprep
from fmmtc_bidsapp.bidsio.names import ParsedName, parse_name
from fmmtc_bidsapp.bidsio.query import Query, absent_participants, identity, run_title
from fmmtc_bidsapp.bidsio.sidecar import read_sidecar, repetition_time_s
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import BoldRun, Exclusion

__all__ = ["content_problem", "find_bold_runs", "find_fmriprep"]

_NOT_OF_THE_RUN = ("space", "res", "den", "cohort", "label", "desc")
_RAW = {"datatype": "func", "suffix": "bold"}
_NATIVE = "native"

Grid = tuple[str, str | None]
"""Space and resolution."""


@dataclass
class _Files:
    """What fMRIPrep wrote for one run, by grid where there is one."""

    entities: Mapping[str, str]
    bold: dict[Grid, Path] = field(default_factory=dict)
    mask: dict[Grid, Path] = field(default_factory=dict)
    confounds: Path | None = None


def find_bold_runs(
    fmriprep_dir: Path,
    *,
    space: str,
    participants: Sequence[str],
    sessions: Sequence[str],
    tasks: Sequence[str],
    runs: Sequence[str],
    filter_file: Path | None = None,
    database_dir: Path | None = None,
) -> tuple[list[BoldRun], list[Exclusion]]:
    """List the preprocessed BOLD runs, each with its own mask and confounds.

    Parameters
    ----------
    fmriprep_dir
        Root of the derivatives of any fMRIPrep since 1.0.
    space
        TemplateFlow identifier of the space the images must be in: the atlas's.
    participants, sessions, tasks, runs
        Labels to keep, all when empty.
    filter_file
        BIDS filter file whose ``bold`` must hold as well.
    database_dir
        Folder that keeps pybids' index for a later call; None for none on disk.

    Returns
    -------
    list of BoldRun
        Sorted by participant, session, task and run.
    list of Exclusion
        Runs that cannot be used, and participants asked for of whom nothing was found.

    Raises
    ------
    InputError
        If no run is selected at all.
    UsageError
        If the filter file is not one.
    OutputError
        If the database cannot be kept.
    """
    filters = {} if filter_file is None else read_filter(filter_file)
    query = Query(participants, sessions, tasks, runs, filters)
    paths = index_run_files(fmriprep_dir, query.participant_ids(), database_dir)
    found = [files for files in _group(paths) if query.admits({**files.entities, **_RAW})]
    if not found:
        raise InputError(
            f"{fmriprep_dir} holds no BOLD run (asked for: {query}). Check the labels."
        )
    selected = []
    exclusions = absent_participants(fmriprep_dir, query, (files.entities for files in found))
    for files in found:
        try:
            selected.append(_select(files, space, fmriprep_dir))
        except InputError as error:
            exclusions.append(_exclude(files.entities, str(error)))
    return selected, exclusions


def _group(paths: Iterable[Path]) -> list[_Files]:
    """Gather the files of each run: those whose other entities are equal, absent ones too."""
    groups: dict[tuple[tuple[str, str], ...], _Files] = {}
    for path, name in _named(paths):
        run = {k: v for k, v in name.entities.items() if k not in _NOT_OF_THE_RUN}
        files = groups.setdefault(tuple(run.items()), _Files(run))
        grid = (name.entities.get("space", _NATIVE), name.entities.get("res"))
        match name.suffix, name.entities.get("desc") or name.entities.get("label"):
            case "bold", "preproc":
                files.bold[grid] = path
            case "mask", "brain":
                files.mask[grid] = path
            case (("timeseries" | "regressors"), "confounds"):
                files.confounds = path
            case "timeseries", None:
                # Before there was a desc; the name that has one comes first.
                files.confounds = files.confounds or path
    return [files for key, files in sorted(groups.items()) if not _is_echo(key, groups)]


def _named(paths: Iterable[Path]) -> Iterator[tuple[Path, ParsedName]]:
    for path in paths:
        try:
            yield path, parse_name(path)
        except InputError:
            # Left-overs of copies and older programs; a run they hide is reported as not found.
            continue


def _is_echo(
    key: tuple[tuple[str, str], ...], groups: Mapping[tuple[tuple[str, str], ...], _Files]
) -> bool:
    """Say whether a file is an echo of a run that is there as a whole."""
    whole = tuple(item for item in key if item[0] != "echo")
    return whole != key and whole in groups


def _select(files: _Files, space: str, root: Path) -> BoldRun:
    """Choose the image of a run, and check that its files hold something."""
    if "echo" in files.entities:
        raise InputError(
            "single echoes only, not combined: run fMRIPrep on all echoes of the run together"
        )
    grid = _choose_grid(files, space)
    bold, mask, confounds = files.bold[grid], files.mask.get(grid), files.confounds
    if mask is None:
        raise InputError(
            f"the mask of {bold.name} (desc-brain_mask in the same space and resolution) is "
            "missing: run fMRIPrep again"
        )
    for what, path in (("image", bold), ("mask", mask), ("confounds", confounds)):
        problem = None if path is None else content_problem(path)
        if problem is not None:
            raise InputError(f"{what} {problem}")
    sidecar = read_sidecar(bold, root)
    start_s = sidecar.get("StartTime")
    return BoldRun(
        files.entities,
        bold,
        mask,
        confounds,
        space,
        repetition_time_s(sidecar, bold),
        grid[1],
        float(start_s) if isinstance(start_s, int | float) else None,
    )


def _choose_grid(files: _Files, space: str) -> Grid:
    grids = [grid for grid in files.bold if grid[0] == space]
    if not grids:
        others = ", ".join(sorted({grid[0] for grid in files.bold}))
        there = f"only in {others}" if others else "nor in any other space"
        raise InputError(
            f"no desc-preproc BOLD in {space}, {there}: run fMRIPrep with "
            f"--output-spaces {space}:res-2"
        )
    # The atlas has 2 mm voxels, so that resolution is taken where there are several.
    return min(grids, key=lambda grid: (grid[1] not in ("2", "02"), grid[1] or ""))


def _exclude(entities: Mapping[str, str], reason: str) -> Exclusion:
    return Exclusion(*identity(entities), "find", f"{run_title(entities)}: {reason}")

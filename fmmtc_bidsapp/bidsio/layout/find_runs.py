"""Find the usable runs of an fMRIPrep dataset, with a reason for every excluded run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.names import ParsedName, space_of
from fmmtc_bidsapp.bidsio.files.sidecar import (
    Listing,
    finite_number,
    json_names,
    read_sidecar,
    repetition_time_s,
)
from fmmtc_bidsapp.bidsio.files.strays import Stray, excluded_strays, split_by_name
from fmmtc_bidsapp.bidsio.layout.anatomy import with_anat_masks
from fmmtc_bidsapp.bidsio.layout.find_fmriprep import find_fmriprep
from fmmtc_bidsapp.bidsio.layout.index import func_files, index_run_files
from fmmtc_bidsapp.bidsio.layout.query import Query, absent_participants, identity, run_title
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.records import BoldRun, Exclusion

__all__ = ["find_bold_runs", "find_fmriprep"]

_NOT_OF_THE_RUN = ("space", "res", "den", "cohort", "label", "desc")
_RAW = {"datatype": "func", "suffix": "bold"}
_NATIVE = "native"
_DENSE = ("fsLR", "91k")
"""Space and density of the grayordinates that an atlas has."""
_PREPROCESSED = re.compile(r"(_desc-preproc_bold|_bold_.*preproc)\.nii(\.gz)?|_bold\.dtseries\.nii")
"""How the image of a run ends, also under a name that is none."""
_BEFORE_1_2 = re.compile(r"_bold_(?!.*preproc)")
"""In the names of fMRIPrep 1.0 and 1.1, whose other tables and images are of no use here."""

Grid = tuple[str, str | None]
"""Space and resolution, of grayordinates space and density."""

Entity = tuple[str, str]
Key = tuple[Entity, ...]
"""Entities of the raw run."""


@dataclass
class _Files:
    """Files of fMRIPrep for one run, by grid."""

    entities: Mapping[str, str]
    bold: dict[Grid, Path] = field(default_factory=dict)
    mask: dict[Grid, Path] = field(default_factory=dict)
    boldref: dict[Grid, Path] = field(default_factory=dict)
    dense: dict[Grid, Path] = field(default_factory=dict)
    confounds: Path | None = None
    twice: dict[Grid, tuple[Path, Path]] = field(default_factory=dict)
    """Two images or masks of one grid, compressed and not."""

    def keep(self, store: dict[Grid, Path], grid: Grid, path: Path) -> None:
        """Store a file of a grid, and note a duplicate."""
        if grid in store:
            self.twice[grid] = store[grid], path
        store[grid] = path


def find_bold_runs(
    fmriprep_dir: Path,
    query: Query,
    *,
    spaces: Sequence[str],
    file_format: str,
    database_dir: Path | None = None,
    aroma_dir: Path | None = None,
) -> tuple[list[BoldRun], list[Exclusion], list[Stray]]:
    """Return the preprocessed BOLD runs sorted by name, exclusions, and files without a run name.

    Each run gets the image of the first of ``spaces`` that it has, fetched or not; ``file_format``
    is ``nifti``, ``cifti`` (fsLR 91k) or ``auto`` (NIfTI, else CIFTI). ``aroma_dir`` has
    fMRIPost-AROMA's derivatives. InputError if no run is selected.
    """
    named, strays = _named(fmriprep_dir, query, database_dir)
    found = [files for files in _group(named) if query.admits({**files.entities, **_RAW})]
    if not found:
        raise InputError(
            f"{fmriprep_dir} has no BOLD run (selected: {query}). Check the labels."
            + "".join(f"\n{stray}." for stray in strays)
        )
    lost, others = _apart(strays)
    aroma, of_aroma = ({}, []) if aroma_dir is None else _aroma(aroma_dir, query, database_dir)
    selected = []
    there = [*(files.entities for files in found), *(stray.entities for stray in lost)]
    exclusions = absent_participants(fmriprep_dir, query, there)
    exclusions += excluded_strays(lost, "find")
    listed = cache(json_names)
    for files in found:
        try:
            chosen = _choose(files, spaces, file_format)
            table = aroma.get(frozenset(files.entities.items()))
            _require_content(files, chosen, table, spaces)
            selected.append(_read_run(files, chosen, table, fmriprep_dir, listed))
        except InputError as error:
            reason = f"{run_title(files.entities)}: {error}"
            exclusions.append(Exclusion(*identity(files.entities), "find", reason))
    return with_anat_masks(selected, fmriprep_dir), exclusions, [*others, *of_aroma]


def _named(
    root: Path, query: Query, database_dir: Path | None
) -> tuple[dict[Path, ParsedName], list[Stray]]:
    """Return the indexed files with a run name, and files without one."""
    people = query.participant_ids()
    indexed = index_run_files(root, people, database_dir)
    # pybids lists files that it can parse; the others must not be ignored silently.
    named, strays = split_by_name(sorted({*indexed, *func_files(root, people)}))
    strays = [
        each
        for each in strays
        if not (query.rules_out(each.entities) or _BEFORE_1_2.search(each.path.name))
    ]
    return {path: named[path] for path in indexed if path in named}, strays


def _apart(strays: Iterable[Stray]) -> tuple[list[Stray], list[Stray]]:
    """Split strays into images of a participant and other files."""
    lost: list[Stray] = []
    others: list[Stray] = []
    for stray in strays:
        is_run = stray.participant_id and _PREPROCESSED.search(stray.path.name)
        (lost if is_run else others).append(stray)
    return lost, others


def _group(named: Mapping[Path, ParsedName]) -> list[_Files]:
    """Group files by run: all other entities are equal, absent ones too."""
    groups: dict[Key, _Files] = {}
    for path, name in named.items():
        key = _run_of(name)
        files = groups.setdefault(key, _Files(dict(key)))
        entities = name.entities
        grid = (space_of(entities) or _NATIVE, entities.get("res"))
        match name.suffix, name.extension, entities.get("desc") or entities.get("label"):
            case "bold", ".dtseries.nii", (None | "preproc"):
                files.dense[grid[0], entities.get("den")] = path
            case "bold", (".nii" | ".nii.gz"), "preproc":
                files.keep(files.bold, grid, path)
            case "mask", _, "brain":
                files.keep(files.mask, grid, path)
            case "boldref", _, None:
                files.boldref[grid] = path
            case (("timeseries" | "regressors"), _, "confounds"):
                files.confounds = path
            case "timeseries", _, None:
                # Older versions without desc; the name with desc comes first.
                files.confounds = files.confounds or path
    return [files for key, files in sorted(groups.items()) if not _is_echo(key, groups)]


def _run_of(name: ParsedName) -> Key:
    return tuple(item for item in name.entities.items() if item[0] not in _NOT_OF_THE_RUN)


def _is_echo(key: Key, groups: Mapping[Key, _Files]) -> bool:
    """Return whether a file is an echo of a run that also exists combined."""
    whole = tuple(item for item in key if item[0] != "echo")
    return whole != key and whole in groups


def _aroma(
    root: Path, query: Query, database_dir: Path | None
) -> tuple[dict[frozenset[Entity], Path], list[Stray]]:
    """Return fMRIPost-AROMA's table of components by run, and files without a run name."""
    if not root.is_dir():
        raise UsageError(f"Folder of fMRIPost-AROMA not found: {root}. Check --derivatives.")
    named, strays = _named(root, query, database_dir)
    tables = {
        frozenset(_run_of(name)): path
        for path, name in named.items()
        if (name.suffix, name.entities.get("desc")) == ("timeseries", "aroma")
    }
    return tables, strays


def _choose(files: _Files, spaces: Sequence[str], file_format: str) -> Grid:
    """Return the grid of the image to use."""
    if "echo" in files.entities:
        raise InputError("single echoes only, not combined: run fMRIPrep on all echoes of the run")
    grids = [] if file_format == "cifti" else _grids(files, spaces)
    if grids:
        return grids[0]
    if file_format != "nifti" and _DENSE in files.dense:
        return _DENSE
    raise InputError(_nothing(files, spaces, file_format))


def _grids(files: _Files, spaces: Sequence[str]) -> list[Grid]:
    """Return a run's grids in the wanted spaces, the best first."""
    # The atlas has 2 mm voxels, so that resolution is taken where there are several.
    wanted = [grid for grid in files.bold if grid[0] in spaces]
    return sorted(
        wanted,
        key=lambda grid: (spaces.index(grid[0]), grid[1] not in ("2", "02"), grid[1] or ""),
    )


def _nothing(files: _Files, spaces: Sequence[str], file_format: str) -> str:
    """Describe which images a run has, and which options of fMRIPrep make the wanted ones."""
    nifti = f"desc-preproc BOLD in {' or '.join(spaces)}"
    cifti = "CIFTI of fsLR 91k"
    wanted = {"nifti": nifti, "cifti": cifti}.get(file_format, f"{nifti}, nor {cifti}")
    there = sorted({grid[0] for grid in files.bold})
    there += sorted(f"CIFTI of {space} {den or 'unknown density'}" for space, den in files.dense)
    only = f"only in {', '.join(there)}" if there else "nor in any other space"
    flag = "--cifti-output 91k" if file_format == "cifti" else f"--output-spaces {spaces[0]}:res-2"
    return f"no {wanted}, {only}: run fMRIPrep with {flag}"


def _require_content(
    files: _Files, chosen: Grid, aroma: Path | None, spaces: Sequence[str]
) -> None:
    """Raise InputError for an absent mask, a duplicate image or a file without content."""
    if chosen in files.twice:
        one, other = files.twice[chosen]
        raise InputError(f"{one.name} and {other.name} both exist: keep only the right one")
    bold, mask = _image(files, chosen), files.mask.get(chosen)
    if mask is None and chosen != _DENSE:
        raise InputError(
            f"the mask of {bold.name} (desc-brain_mask in the same space and resolution) is "
            "missing: run fMRIPrep again"
        )
    problem = content_problem(bold)
    if problem is not None:
        raise InputError(f"image {problem}{_instead(files, chosen, spaces)}")
    others = {"mask": mask, "confounds": files.confounds, "AROMA components": aroma}
    for what, path in others.items():
        problem = None if path is None else content_problem(path)
        if problem is not None:
            raise InputError(f"{what} {problem}")


def _image(files: _Files, chosen: Grid) -> Path:
    return files.dense[chosen] if chosen == _DENSE else files.bold[chosen]


def _instead(files: _Files, chosen: Grid, spaces: Sequence[str]) -> str:
    """Suggest another wanted space whose image has content."""
    for grid in _grids(files, spaces):
        if grid[0] != chosen[0] and content_problem(files.bold[grid]) is None:
            return f" (the image in {grid[0]} exists: choose it with --space {grid[0]})"
    return ""


def _read_run(
    files: _Files,
    chosen: Grid,
    aroma: Path | None,
    root: Path,
    listed: Listing,
) -> BoldRun:
    """Return the run with its files and the values of its sidecars."""
    space, detail = chosen
    is_dense = chosen == _DENSE
    bold, boldref = _image(files, chosen), files.boldref.get(chosen)
    sidecar = read_sidecar(bold, root, listed)
    return BoldRun(
        entities=files.entities,
        bold=bold,
        mask=files.mask.get(chosen),
        confounds=files.confounds,
        space=space,
        tr_s=repetition_time_s(sidecar, bold),
        res=None if is_dense else detail,
        den=detail if is_dense else None,
        start_time_s=finite_number(sidecar.get("StartTime")),
        # It is for figures only, so it is optional.
        boldref=None if boldref is None or content_problem(boldref) else boldref,
        aroma=aroma,
    )

"""Find correlation matrices, for cohorts without parcel series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fmmtc_bidsapp.bidsio.cohort.derivative_files import (
    Candidate,
    choose,
    default_desc,
    describe,
    describe_all,
    find_candidates,
    is_of_parcels,
    of_one_atlas_and_space,
    select_files,
    separate_runs,
    stray_candidates,
)
from fmmtc_bidsapp.bidsio.files.names import MATRIX_PATTERNS
from fmmtc_bidsapp.bidsio.files.sidecar import Listing
from fmmtc_bidsapp.bidsio.layout.query import Query, absent_participants
from fmmtc_bidsapp.bidsio.tables.read_series import matrix_measure, read_matrix_names
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Exclusion, SeriesFile

__all__ = ["find_matrices", "holds_matrices"]

_MEASURE = "correlation"
"""The measure that models use."""


def find_matrices(
    folder: Path,
    query: Query,
    *,
    desc: str | None,
    atlas: str | None = None,
    space: str = "auto",
) -> tuple[list[SeriesFile], list[Exclusion]]:
    """Return the correlation matrices of a derivative dataset, as `find_series` does."""
    candidates = find_candidates(folder, MATRIX_PATTERNS, is_of_parcels)
    selected, passed_over = select_files(candidates, query)
    strays = stray_candidates(folder, MATRIX_PATTERNS, query)
    if not selected:
        instead = query.instead(passed_over)
        raise InputError(
            f"{folder} has no connectivity matrix (selected: {query}{instead}). Check "
            "the labels." + "".join(f"\n{each.reason}." for each in strays)
        )
    chosen = of_one_atlas_and_space(_correlations(selected, folder), atlas, space)
    chosen = choose(chosen, "desc", default_desc(chosen, desc), lambda each: each.desc)
    chosen, merged = separate_runs(chosen, query.tasks)
    matrices, unreadable = describe_all(chosen, folder, _describe_matrix)
    absent = absent_participants(
        folder, query, (each.name.entities for each in chosen), passed_over
    )
    return matrices, [*absent, *merged, *unreadable, *strays]


def holds_matrices(folder: Path) -> bool:
    """Return whether a dataset has connectivity matrices."""
    return bool(find_candidates(folder, MATRIX_PATTERNS, is_of_parcels))


def _correlations(found: list[Candidate], folder: Path) -> list[Candidate]:
    kept = [each for each in found if matrix_measure(each.path) == _MEASURE]
    if not kept:
        there = ", ".join(sorted({matrix_measure(each.path) for each in found}))
        raise InputError(
            f"The matrices in {folder} are {there}; models need correlations. Write those "
            "(stat-pearsoncorrelation or meas-PearsonCorrelation in the name), or give the series."
        )
    return kept


def _describe_matrix(candidate: Candidate, root: Path, listed: Listing) -> SeriesFile:
    matrix, _, sidecar = describe(candidate, root, read_matrix_names, listed)
    return replace(matrix, is_matrix=True, fisher_z=sidecar.get("FisherZ") is True)

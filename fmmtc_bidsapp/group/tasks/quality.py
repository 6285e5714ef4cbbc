"""Collect the quality of all runs, and compute QC-FC."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fmmtc_bidsapp.bidsio.atlases.parcel_table import read_atlas_table
from fmmtc_bidsapp.bidsio.cohort.distinct_runs import merged_runs
from fmmtc_bidsapp.bidsio.files.names import group_motion_connectivity
from fmmtc_bidsapp.bidsio.files.tsv import Column, write_table
from fmmtc_bidsapp.bidsio.tables.quality import (
    RatedRun,
    absent_columns,
    find_quality,
    matrices_of,
    stray_tables,
    write_group_quality,
)
from fmmtc_bidsapp.bidsio.tables.read_series import read_matrix_names, read_relmat
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Floats
from fmmtc_bidsapp.signals.connectivity import COEFFICIENTS, combine, fisher_z
from fmmtc_bidsapp.signals.motion_connectivity import (
    FEWEST_PEOPLE,
    EdgeSummary,
    MotionConnectivity,
    relate_motion,
)

__all__ = ["write_quality"]

_COLUMNS = {
    "desc": Column("Cleaning."),
    "atlas": Column("Atlas."),
    "space": Column("Space of the series."),
    "measure": Column(
        "What the matrices hold; correlations and partial correlations enter as Fisher's z."
    ),
    "bin": Column("all, or the number of a tenth of the edges by rising distance."),
    "n_participants": Column("People with a matrix of a usable run and known head motion."),
    "distance_low_mm": Column("Smallest Euclidean distance of two parcels.", "mm"),
    "distance_high_mm": Column("Largest Euclidean distance of two parcels.", "mm"),
    "n_edges": Column(f"Edges that {FEWEST_PEOPLE} people or more have."),
    "median_r": Column(
        "Median over edges of the correlation of connectivity with mean FD over people."
    ),
    "median_abs_r": Column("Median of its size."),
    "share_p_below_05": Column("Share of edges with p < 0.05."),
    "share_q_below_05": Column(
        "Share of edges with q < 0.05 (Benjamini and Hochberg, over all edges)."
    ),
    "distance_spearman": Column("Rank correlation of r with distance over all edges."),
    "chance_median_abs_r": Column(
        "Median size of r that this many people give without any effect."
    ),
    "note": Column("What was left out, or why nothing was computed."),
}


class _Kind(NamedTuple):
    """Entities and measure that compared matrices share."""

    desc: str
    atlas: str
    space: str
    measure: str


@dataclass(frozen=True)
class _Scan:
    """One run of a participant; sessions and tasks are merged."""

    matrix: Path
    mean_fd_mm: float
    n_volumes: int
    n_retained: int


def write_quality(output_dir: Path) -> str:
    """Write the quality of all runs and QC-FC of every kind of matrix; return lines about them.

    InputError without a quality table, or for a damaged table or matrix.
    """
    rated = find_quality(output_dir)
    merged = merged_runs([each.all_entities for each in rated])
    runs = [each for each, is_merged in zip(rated, merged, strict=True) if not is_merged]
    write_group_quality(output_dir, runs)
    usable = [(run, matrices_of(run)) for run in runs if run.quality.usable]
    kinds = sorted({_kind(run, measure) for run, found in usable for measure in found})
    results = {kind: _relate(output_dir, kind, usable) for kind in kinds}
    rows = [row for kind, (found, note) in results.items() for row in _rows(kind, found, note)]
    path = group_motion_connectivity(output_dir)
    table = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    write_table(path, table, _COLUMNS, {})
    told = _summary(runs, {kind: found for kind, (found, _) in results.items()})
    if any(merged):
        told += f"; left out {sum(merged)} tables that merge runs with their own tables"
    return "\n".join([told, *map(str, stray_tables(output_dir))])


def _kind(run: RatedRun, measure: str) -> _Kind:
    return _Kind(run.desc, run.atlas, run.space, measure)


_Usable = Sequence[tuple[RatedRun, Mapping[str, Path]]]


def _relate(output_dir: Path, kind: _Kind, usable: _Usable) -> tuple[MotionConnectivity, str]:
    """Compute QC-FC of one kind of matrix, and a note on what is left out."""
    own = [
        (run, found.get(kind.measure)) for run, found in usable if _kind(run, kind.measure) == kind
    ]
    there = [(run, path) for run, path in own if path is not None]
    people: defaultdict[str, list[_Scan]] = defaultdict(list)
    for run, path in there:
        of_run = run.quality
        if of_run.mean_fd is not None:
            scan = _Scan(path, of_run.mean_fd, of_run.n_volumes, of_run.num_retained_volumes)
            people[run.participant_id].append(scan)
    parcels = read_matrix_names(there[0][1])
    result = relate_motion(
        (_matrix(scans, kind.measure, parcels) for scans in people.values()),
        np.array([_mean_fd_mm(scans) for scans in people.values()]),
        _coordinates_mm(output_dir, kind.atlas, parcels),
    )
    left_out = {
        "without a matrix": len(own) - len(there),
        "of unknown head motion": sum(run.quality.mean_fd is None for run, _ in there),
    }
    told = [f"usable runs left out {what}: {count}" for what, count in left_out.items() if count]
    told += _averaged_over([run.entities for run, _ in there])
    return result, "; ".join(filter(None, [result.problem, *told]))


def _averaged_over(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Return notes on the tasks and sessions over which QC-FC averages within a person."""
    told = []
    for key, title in (("task", "tasks"), ("ses", "sessions")):
        own: defaultdict[str, set[str]] = defaultdict(set)
        for entities in runs:
            own[entities["sub"]].add(entities.get(key, "none"))
        mixed = [values for values in own.values() if len(values) > 1]
        if mixed:
            listed = ", ".join(sorted(set.union(*mixed)))
            told.append(f"{title} {listed} averaged within {len(mixed)} people")
    return told


def _mean_fd_mm(scans: Sequence[_Scan]) -> float:
    """Return the mean over the runs of one participant, weighted by their volumes."""
    weights = [scan.n_volumes for scan in scans]
    return float(np.average([scan.mean_fd_mm for scan in scans], weights=weights))


def _matrix(scans: Sequence[_Scan], measure: str, parcels: tuple[str, ...]) -> Floats:
    """Return the merged runs of one participant, Fisher's z for coefficients."""
    coefficients = [_coefficients(scan.matrix, parcels) for scan in scans]
    merged = combine(coefficients, [scan.n_retained for scan in scans], measure)
    return fisher_z(merged) if measure in COEFFICIENTS else merged


def _coefficients(path: Path, parcels: tuple[str, ...]) -> Floats:
    connectome = read_relmat(path)
    if connectome.parcels != parcels:
        raise InputError(
            f"{path} has other parcels than the matrices of other runs with the same atlas label. "
            "Make all of them with one atlas."
        )
    return np.tanh(connectome.matrix) if connectome.fisher_z else connectome.matrix


def _coordinates_mm(output_dir: Path, atlas: str, parcels: Sequence[str]) -> Floats | None:
    """Return the coordinates of the atlas's table, matched by parcel name."""
    table = read_atlas_table(output_dir, atlas)
    return None if table is None else table.of(parcels).complete_coordinates_mm


def _rows(kind: _Kind, found: MotionConnectivity, note: str) -> Iterator[dict[str, Any]]:
    """Return the rows of one result: all edges, then every bin."""
    empty = dict.fromkeys(_COLUMNS)
    shared = empty | kind._asdict() | {"n_participants": found.n_people}
    whole = {
        "bin": "all",
        "distance_spearman": found.distance_spearman,
        "chance_median_abs_r": found.chance_median_abs_r,
        "note": note,
    }
    yield shared | whole | _cells(found.overall)
    for number, edges in enumerate(found.bins, start=1):
        yield shared | {"bin": str(number)} | _cells(edges)


def _cells(edges: EdgeSummary | None) -> dict[str, Any]:
    if edges is None:
        return {}
    return {
        "distance_low_mm": edges.low_mm,
        "distance_high_mm": edges.high_mm,
        "n_edges": edges.n_edges,
        "median_r": edges.median_r,
        "median_abs_r": edges.median_abs_r,
        "share_p_below_05": edges.share_p_below_05,
        "share_q_below_05": edges.share_q_below_05,
    }


def _summary(runs: Sequence[RatedRun], results: Mapping[_Kind, MotionConnectivity]) -> str:
    n_runs = len({frozenset(run.entities.items()) for run in runs})
    usable = Counter(run.desc for run in runs if run.quality.usable)
    parts = [
        f"{desc} {usable[desc]} of {total} usable"
        for desc, total in sorted(Counter(run.desc for run in runs).items())
    ]
    kinds = Counter(kind.desc for kind in results)
    parts += [
        f"median |QC-FC| {kind.desc if kinds[kind.desc] == 1 else ' '.join(kind)} {_median(found)}"
        for kind, found in results.items()
    ]
    absent = absent_columns(runs)
    if absent:
        parts.append(
            f"columns that an older version did not write are n/a: {', '.join(absent)} "
            f"(up to {max(absent.values())} tables)"
        )
    return f"Quality of {n_runs} runs: {'; '.join(parts)}"


def _median(found: MotionConnectivity) -> str:
    if found.overall is None:
        return f"not computed ({found.problem})"
    chance = found.chance_median_abs_r
    return f"{found.overall.median_abs_r:.2f} ({chance:.2f} by chance)"

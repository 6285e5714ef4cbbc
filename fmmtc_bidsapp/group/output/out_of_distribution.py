"""Distance of the scans of new participants from those of the training participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.bidsio.tables.cells import as_number, is_missing
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.tasks.encoding import Encoded
from fmmtc_bidsapp.learning.evaluation.distance import ConnectivityRange
from fmmtc_bidsapp.records import Person, SeriesFile

__all__ = ["Position", "out_of_distribution", "positions"]


@dataclass(frozen=True)
class Position:
    """One measure of a scan beside those of the training; a row of ``_ranges.tsv``."""

    participant_id: str
    session_id: str | None
    run: str | None
    """File of the run; None where the measure is of all runs together."""
    measure: str
    """``tr_s``, ``n_volumes``, ``mean_fd_mm``; ``connectivity_distance``: RMS of Fisher's z from
    the mean connectome of the training people; or ``covariate_<name>``."""
    found: float | None
    """None if unknown, and for a covariate of text."""
    training_low: float | None
    training_high: float | None
    """Least and most among the training scans; None if unknown. For the distance 0 and the limit
    that 99 % of the training people keep."""
    outside: str | None
    """In words; None within, or if one of them is unknown."""


def positions(
    encoded: Encoded,
    ranges: TrainingRange,
    connectivity: ConnectivityRange | None,
    covariates: Sequence[CovariateLevels] = (),
) -> list[Position]:
    """Return the position of every scan: by person, runs, then connectome, then covariates.

    `connectivity` is None for training people without connectivity; `covariates` are of the
    training, in the order of these people's.
    """
    people = zip(encoded.people, encoded.n_volumes, encoded.examples.fc, strict=True)
    return [
        place
        for person, volumes, fc in people
        for place in (
            *_of_runs(person, volumes, ranges),
            *([] if connectivity is None else [_of_connectome(person, fc, connectivity)]),
            *_of_covariates(person, covariates),
        )
    ]


def _of_runs(
    person: Person, volumes: Sequence[int | None], ranges: TrainingRange
) -> list[Position]:
    return [
        place
        for run, n_volumes in zip(person.runs, volumes, strict=True)
        for place in _of_run(person, run, n_volumes, ranges)
    ]


def _of_run(
    person: Person, run: SeriesFile, n_volumes: int | None, ranges: TrainingRange
) -> list[Position]:
    measures = (
        ("tr_s", run.tr_s, ranges.tr_s, ranges.outside(run.tr_s, None, None)),
        ("n_volumes", n_volumes, ranges.n_volumes, ranges.outside(None, n_volumes, None)),
        (
            "mean_fd_mm",
            run.mean_fd_mm,
            ranges.mean_fd_mm,
            ranges.outside(None, None, run.mean_fd_mm),
        ),
    )
    return [
        Position(
            person.participant_id,
            person.session_id,
            run.path.name,
            measure,
            found,
            None if limits is None else limits[0],
            None if limits is None else limits[1],
            "; ".join(reasons) or None,
        )
        for measure, found, limits, reasons in measures
    ]


def _of_connectome(
    person: Person, fc: NDArray[np.float32], connectivity: ConnectivityRange
) -> Position:
    distance = connectivity.distance(fc)
    return Position(
        person.participant_id,
        person.session_id,
        None,
        "connectivity_distance",
        None if np.isnan(distance) else distance,
        0.0,
        connectivity.limit,
        "; ".join(connectivity.outside(fc)) or None,
    )


def _of_covariates(person: Person, covariates: Sequence[CovariateLevels]) -> list[Position]:
    """Return the positions of the covariates of a person, which are in the order of the bundle."""
    return [
        Position(
            person.participant_id,
            person.session_id,
            None,
            f"covariate_{each.name}",
            None if each.levels is not None or is_missing(value) else as_number(value),
            None if each.range is None else each.range[0],
            None if each.range is None else each.range[1],
            each.outside(value),
        )
        for each, value in zip(covariates, person.covariates, strict=True)
    ]


def out_of_distribution(places: Sequence[Position]) -> Mapping[str, str]:
    """Return, by key, in what people lie outside the training people."""
    reasons: dict[str, list[str]] = {}
    for each in places:
        if each.outside:
            key = "_".join(filter(None, (each.participant_id, each.session_id)))
            reasons.setdefault(key, []).append(each.outside)
    return {key: "; ".join(dict.fromkeys(found)) for key, found in reasons.items()}

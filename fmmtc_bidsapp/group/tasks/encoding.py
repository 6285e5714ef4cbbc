"""Encode every participant's files into `Examples`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.covariates import (
    CovariateColumns,
    CovariateLevels,
    covariate_columns,
)
from fmmtc_bidsapp.engine import (
    NodeFailure,
    NodeResults,
    Outcome,
    error_code,
    load_arrays,
    make_folder,
    node_file,
    raise_failure,
    run_workflow,
    save_array,
)
from fmmtc_bidsapp.group.encode.acquisition import acquisition_columns
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER, EncoderChoice
from fmmtc_bidsapp.group.encode.serialization import load_examples, save_examples, save_scale
from fmmtc_bidsapp.group.tasks.compute import check_encoder
from fmmtc_bidsapp.group.tasks.workflow import encode_name, encode_workflow, merge_workflow
from fmmtc_bidsapp.learning.evaluation.leakage import copies_together, find_duplicates
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import (
    Duplicate,
    Examples,
    Exclusion,
    Floats,
    Fold,
    ModalityValues,
    Person,
)

__all__ = [
    "Encoded",
    "OfFold",
    "all_known",
    "encode",
    "encoders_of",
    "keep_coordinates",
    "keep_scale",
    "stratum",
]


@dataclass(frozen=True)
class OfFold:
    """The cohort encoded with the scale of the training people of a fold."""

    examples_file: Path
    scale_file: Path


@dataclass(frozen=True, eq=False)
class Encoded:
    """The people and runs that could be read and encoded."""

    people: tuple[Person, ...]
    examples: Examples
    """Large arrays are mapped from `examples_file`."""
    examples_file: Path
    """File for `load_examples`; its digest covers all arrays."""
    about: tuple[Mapping[str, Any], ...]
    """For each person: volumes, windows, runs left out, spread over token orders."""
    exclusions: tuple[Exclusion, ...]
    outcomes: tuple[Outcome, ...]
    """Of people who could not be encoded."""
    covariate_levels: tuple[CovariateLevels, ...] = ()
    """Coding of the covariates, for new people."""
    notes: tuple[str, ...] = ()
    """Notes on the covariates for the reader."""
    duplicates: tuple[Duplicate, ...] = ()
    """Pairs of people whose connectomes seem to be of one scan."""
    of_fold: Mapping[Fold | None, OfFold] = field(default_factory=dict)
    """The cohort in each fold, None for everyone, with a scale of the training people; empty with a
    scale of each scan, which all folds share."""

    def examples_file_of(self, fold: Fold | None) -> Path:
        """Return the file of the examples in a fold; None for everyone."""
        return self.of_fold[fold].examples_file if self.of_fold else self.examples_file

    @property
    def n_volumes(self) -> list[list[int | None]]:
        """Return the volumes of each run by person; None for a matrix."""
        return [list(each["n_volumes"].values()) for each in self.about]

    def total(self, count: str) -> int:
        """Return the sum of a count over people."""
        return sum(each[count] for each in self.about)

    @property
    def order_spread(self) -> float | None:
        """Return the mean spread of the encoder's output over token orders; None with one order."""
        known = [each["order_spread"] for each in self.about if each["order_spread"] is not None]
        return float(np.mean(known)) if known else None


def stratum(person: Person) -> str:
    """Return the label that folds are balanced on: outcome and ``--stratify-by`` columns."""
    return "|".join((str(person.y), *person.strata))


def encode(
    plan: GroupPlan,
    cohort: Cohort,
    encoder: EncoderChoice,
    crash_dir: Path,
    levels: Sequence[CovariateLevels] | None = None,
) -> Encoded:
    """Encode every person in a node; leave out those who cannot be encoded, with the reason.

    `levels` are the covariates of the training (``apply``). If nobody can be encoded, the error of
    the first is raised.
    """
    encoders = encoders_of(encoder)
    workflow = _workflow(plan, cohort, encoders, crash_dir)
    title = "read" if encoder.digest == NO_ENCODER else "encode"
    results = run_workflow(workflow, plan.resources, title=title)
    names = {
        person.key: [encode_name(each, person) for each in encoders] for person in cohort.people
    }
    ended = set(results.done)
    done = [each for each in cohort.people if ended.issuperset(names[each.key])]
    if not done:
        raise_failure(results.failures[0], "No scan could be encoded")
    loaded = [
        [load_arrays(node_file(workflow, name, "encoded.npz")) for name in names[each.key]]
        for each in done
    ]
    about = [first for (_, first), *_ in loaded]
    people = [_with_kept_runs(person, each) for person, each in zip(done, about, strict=True)]
    covariates = covariate_columns(
        [person.covariates for person in people], cohort.covariate_names, levels, cohort.meanings
    )
    examples_file = plan.workspace / f"arrays_{plan.label}" / "examples.json"
    make_folder(examples_file.parent)
    arrays = [[own for own, _ in each] for each in loaded]
    joined = _join(people, arrays, about, covariates, encoder.coordinates_mm, cohort.modalities)
    duplicates = find_duplicates(joined)
    save_examples(examples_file, copies_together(joined, duplicates), cohort.packages)
    del joined
    examples = load_examples(examples_file)
    keys = {each.key for each in done}
    lost = [each for each in cohort.people if each.key not in keys]
    outcomes = [_outcome(each, names[each.key], results) for each in lost]
    return Encoded(
        people=tuple(people),
        examples=examples,
        examples_file=examples_file,
        about=tuple(about),
        exclusions=(
            *_excluded_people(lost, outcomes),
            *(each for p, a in zip(done, about, strict=True) for each in _excluded_runs(p, a)),
        ),
        outcomes=tuple(outcomes),
        covariate_levels=covariates.levels,
        notes=covariates.notes,
        duplicates=duplicates,
    )


def encoders_of(encoder: EncoderChoice) -> list[EncoderChoice]:
    """Return the encoder, and the untrained one if everyone goes through it too."""
    if not encoder.encodes_twice:
        return [encoder]
    random = replace(encoder.options, encoder="random")
    return [encoder, encoder.untrained(check_encoder(random, encoder.seed))]


def _workflow(
    plan: GroupPlan, cohort: Cohort, encoders: Sequence[EncoderChoice], crash_dir: Path
) -> Any:
    if not cohort.has_series:
        return merge_workflow(plan, cohort.people, encoders[0], cohort.parcels, crash_dir)
    xyz_file = keep_coordinates(plan, encoders[0], len(cohort.parcels))
    choices = [(each, person) for each in encoders for person in cohort.people]
    return encode_workflow(plan, choices, xyz_file, crash_dir)


def keep_coordinates(plan: GroupPlan, encoder: EncoderChoice, n_parcels: int) -> Path:
    """Write the coordinates under a name with their digest, as nipype hashes name and content."""
    given_mm = encoder.coordinates_mm
    # A node needs all of its inputs, also without an encoder.
    xyz_mm = np.zeros((n_parcels, 3)) if given_mm is None else given_mm
    digest = hashlib.sha256(xyz_mm.tobytes()).hexdigest()[:12]
    make_folder(plan.workspace)
    path = plan.workspace / f"coordinates_{digest}.npy"
    save_array(path, xyz_mm)
    return path


def keep_scale(plan: GroupPlan, scale: Scale) -> Path:
    """Write a scale under a name with its digest, as `keep_coordinates`."""
    digest = hashlib.sha256(scale.median.tobytes() + scale.iqr.tobytes()).hexdigest()[:12]
    make_folder(plan.workspace)
    path = plan.workspace / f"scale_{digest}.npy"
    save_scale(path, scale)
    return path


def _with_kept_runs(person: Person, about: Mapping[str, Any]) -> Person:
    return replace(
        person, runs=tuple(run for run in person.runs if run.path.name in about["n_volumes"])
    )


def _outcome(person: Person, nodes: Sequence[str], results: NodeResults) -> Outcome:
    own: list[NodeFailure] = [each for each in results.failures if each.node in nodes]
    if not own:
        return Outcome(person.key, "skipped", "not started: another failed first", code=1)
    return Outcome(person.key, "failed", own[0].message, error_code(own[0].error))


def _excluded_people(lost: Sequence[Person], outcomes: Sequence[Outcome]) -> list[Exclusion]:
    return [
        Exclusion(person.participant_id, person.session_id, "encode", outcome.detail)
        for person, outcome in zip(lost, outcomes, strict=True)
    ]


def _excluded_runs(person: Person, about: Mapping[str, Any]) -> list[Exclusion]:
    return [
        Exclusion(person.participant_id, person.session_id, "encode", f"{name}: {reason}")
        for name, reason in about["left_out"].items()
    ]


def _join(
    people: Sequence[Person],
    arrays: Sequence[Sequence[dict[str, Any]]],
    about: Sequence[Mapping[str, Any]],
    covariates: CovariateColumns,
    coordinates_mm: Floats | None,
    modalities: Mapping[str, ModalityValues],
) -> Examples:
    """Stack the arrays of all people: of the encoders and of other packages.

    They are removed from `arrays` one after the other, so that the cohort is in memory once.
    """
    first = [own[0] for own in arrays]
    acquisition, acquisition_names = acquisition_columns(people, about)

    def stack(each: Sequence[dict[str, Any]], name: str) -> Any:
        return np.stack([own.pop(name) for own in each])

    return Examples(
        keys=tuple(person.key for person in people),
        arrays={
            "cls": stack(first, "cls"),
            "fc": stack(first, "fc"),
            "series": stack(first, "series") if "series" in first[0] else None,
            "cls_random": stack([own[1] for own in arrays], "cls") if len(arrays[0]) > 1 else None,
            **{name: _in_rows(people, each) for name, each in modalities.items()},
        },
        present={
            name: np.array([person.key in each.arrays for person in people])
            for name, each in modalities.items()
        },
        y=np.array([-1 if person.y is None else person.y for person in people], dtype=np.int64),
        strata=tuple(stratum(each) for each in people),
        covariates=covariates.values if covariates.names else None,
        covariate_names=covariates.names,
        mean_fd_mm=_mean_fd_mm(people, about),
        acquisition=acquisition,
        acquisition_names=acquisition_names,
        groups=all_known([person.group for person in people]),
        arms=all_known([person.arm for person in people]),
        coordinates_mm=coordinates_mm,
    )


def _in_rows(people: Sequence[Person], values: ModalityValues) -> NDArray[np.float32]:
    """Return a modality (person, ...); NaN for people who lack it."""
    nothing = np.full_like(next(iter(values.arrays.values())), np.nan)
    return np.stack([values.arrays.get(person.key, nothing) for person in people])


def all_known(values: Sequence[str | None]) -> tuple[str, ...] | None:
    """Return the values if everyone has one, else None."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def _mean_fd_mm(people: Sequence[Person], about: Sequence[Mapping[str, Any]]) -> Floats | None:
    """Return (person,) mean over runs of known motion, weighted by volumes if all are known."""
    means = np.full(len(people), np.nan)
    for i, (person, own) in enumerate(zip(people, about, strict=True)):
        known = [run for run in person.runs if run.mean_fd_mm is not None]
        volumes = [own["n_volumes"][run.path.name] for run in known]
        weights = volumes if all(volumes) else None
        if known:
            means[i] = np.average([run.mean_fd_mm for run in known], weights=weights)
    return None if np.isnan(means).all() else means

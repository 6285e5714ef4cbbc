"""Every person's scans through the frozen encoder: a cohort to what the networks see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.engine import (
    NodeFailure,
    Outcome,
    error_code,
    load_arrays,
    make_folder,
    node_file,
    node_name,
    raise_failure,
    run_workflow,
)
from fmmtc_bidsapp.group.choice import EncoderChoice
from fmmtc_bidsapp.group.exchange import save_examples
from fmmtc_bidsapp.group.workflow import encode_workflow
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Examples, Exclusion, Floats, Person

__all__ = ["Encoded", "encode", "stratum"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The people whose scans the encoder could read, each with the runs that it could."""

    people: tuple[Person, ...]
    examples: Examples
    examples_file: Path
    about: tuple[Mapping[str, Any], ...]
    """Of each person: volumes, windows, what was left out, spread over token orders."""
    exclusions: tuple[Exclusion, ...]
    outcomes: tuple[Outcome, ...]
    """Of those who are not among the people."""

    @property
    def n_volumes(self) -> list[list[int]]:
        """By person, the volumes of each run."""
        return [list(each["n_volumes"].values()) for each in self.about]

    def total(self, count: str) -> int:
        """Sum a count over people."""
        return sum(each[count] for each in self.about)

    @property
    def order_spread(self) -> float | None:
        """Mean spread of the encoder's output over token orders; None with one order."""
        known = [each["order_spread"] for each in self.about if each["order_spread"] is not None]
        return float(np.mean(known)) if known else None


def stratum(person: Person) -> str:
    """Label that folds are balanced on: the outcome, then the ``--stratify-by`` columns."""
    return "|".join((str(person.y), *person.strata))


def encode(plan: GroupPlan, cohort: Cohort, encoder: EncoderChoice, crash_dir: Path) -> Encoded:
    """Encode everyone, a node a person; who cannot be encoded is left out with the reason.

    Raises
    ------
    AppError
        When nobody can be encoded: the first failure's.
    """
    xyz_file = _keep_coordinates(plan, encoder.coordinates_mm)
    workflow = encode_workflow(plan, cohort.people, encoder, xyz_file, crash_dir)
    results = run_workflow(workflow, plan.resources, title="encode")
    done = [each for each in cohort.people if node_name(each.key) in results.done]
    if not done:
        raise_failure(results.failures[0], "No scan could be encoded")
    files = [node_file(workflow, node_name(each.key), "encoded.npz") for each in done]
    loaded = [load_arrays(path) for path in files]
    about = [about for _, about in loaded]
    people = [_with_kept_runs(person, each) for person, each in zip(done, about, strict=True)]
    examples = _join(people, [arrays for arrays, _ in loaded])
    examples_file = plan.workspace / f"arrays_{plan.label}" / "examples.npz"
    make_folder(examples_file.parent)
    save_examples(examples_file, examples)
    lost = [each for each in cohort.people if each not in done]
    outcomes = [_outcome(each, results.failures) for each in lost]
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
    )


def _keep_coordinates(plan: GroupPlan, xyz_mm: Floats) -> Path:
    """Write the coordinates under a name that follows their values, as nipype hashes both."""
    digest = hashlib.sha256(xyz_mm.tobytes()).hexdigest()[:12]
    make_folder(plan.workspace)
    path = plan.workspace / f"coordinates_{digest}.npy"
    np.save(path, xyz_mm)
    return path


def _with_kept_runs(person: Person, about: Mapping[str, Any]) -> Person:
    return replace(
        person, runs=tuple(run for run in person.runs if run.path.name in about["n_volumes"])
    )


def _outcome(person: Person, failures: Sequence[NodeFailure]) -> Outcome:
    own = [each for each in failures if each.node == node_name(person.key)]
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


def _join(people: Sequence[Person], arrays: Sequence[Mapping[str, Any]]) -> Examples:
    return Examples(
        keys=tuple(person.key for person in people),
        cls=np.stack([each["cls"] for each in arrays]),
        fc=np.stack([each["fc"] for each in arrays]),
        y=np.array([-1 if person.y is None else person.y for person in people], dtype=np.int64),
        strata=tuple(stratum(each) for each in people),
    )

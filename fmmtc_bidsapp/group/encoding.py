"""Every person's scans through the frozen encoder: a cohort to what the networks see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.engine import NodeFailure, node_file, run_workflow
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.exchange import load_arrays, save_examples
from fmmtc_bidsapp.group.workflow import encode_workflow, node_name
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Examples, Exclusion, Floats, Person

__all__ = ["Encoded", "EncoderChoice", "coordinates", "encode"]


@dataclass(frozen=True, eq=False)
class EncoderChoice:
    """The encoder and what it is told."""

    options: ModelOptions
    seed: int
    """Of random weights and of the token orders."""
    digest: str
    """Of its weights."""
    coordinates_mm: Floats
    """(parcel, 3)"""
    device: str


@dataclass(frozen=True, eq=False)
class Encoded:
    """The people whose scans the encoder could read."""

    people: tuple[Person, ...]
    examples: Examples
    examples_file: Path
    about: tuple[Mapping[str, Any], ...]
    """Of each person: volumes, windows, what was left out, spread over token orders."""
    failures: tuple[NodeFailure, ...]
    exclusions: tuple[Exclusion, ...]
    """One for each failure."""


def coordinates(cohort: Cohort, options: ModelOptions) -> tuple[Floats, str]:
    """Choose what the encoder is told of where the parcels are.

    Returns
    -------
    coordinates : array
        (parcel, 3) in mm; zeros for a random encoder on an atlas without coordinates.
    notice : str
        What a reader must know of it; empty where there is nothing to say.

    Raises
    ------
    InputError
        When pre-trained weights meet an atlas without coordinates, or series without a TR.
    """
    atlas = cohort.atlas_label
    if options.encoder == "brainlm" and cohort.coordinates_mm is None:
        raise InputError(
            f"The atlas {atlas} has no coordinates (columns x, y, z of its dseg.tsv), and the "
            "pre-trained encoder needs them. Add them, or use --encoder random."
        )
    if options.encoder == "brainlm" and not cohort.tr_s:
        raise InputError(
            "No sidecar gives the repetition time of the series, and the pre-trained encoder was "
            "trained on known ones. Add RepetitionTime, or use --encoder random."
        )
    if cohort.coordinates_mm is not None:
        return cohort.coordinates_mm, ""
    notice = f"The atlas {atlas} has no coordinates: the random encoder was told zeros."
    return np.zeros((len(cohort.parcels), 3)), notice


def encode(plan: GroupPlan, cohort: Cohort, encoder: EncoderChoice, crash_dir: Path) -> Encoded:
    """Encode everyone, a node a person; who cannot be encoded is left out with the reason.

    Raises
    ------
    InputError
        When nobody can be encoded.
    """
    scratch = plan.resources.work_dir / "group" / plan.label
    scratch.mkdir(parents=True, exist_ok=True)
    xyz_file = scratch / "coordinates.npy"
    np.save(xyz_file, encoder.coordinates_mm)
    workflow = encode_workflow(
        plan,
        cohort.people,
        encoder.options,
        xyz_mm=xyz_file,
        encoder_digest=encoder.digest,
        seed=encoder.seed,
        device=encoder.device,
        crash_dir=crash_dir,
    )
    failures = run_workflow(workflow, plan.resources, title="encode")
    broken = {failure.node.split(".")[-1]: failure for failure in failures}
    people = [each for each in cohort.people if node_name(each.key) not in broken]
    if not people:
        raise InputError(f"No scan could be encoded; the first reason: {failures[0].message}")
    files = [node_file(workflow, node_name(each.key), "encoded.npz") for each in people]
    examples, about = _gather(people, files)
    examples_file = scratch / "examples.npz"
    save_examples(examples_file, examples)
    return Encoded(
        people=tuple(people),
        examples=examples,
        examples_file=examples_file,
        about=tuple(about),
        failures=tuple(failures),
        exclusions=tuple(
            Exclusion(each.participant_id, each.session_id, "encode", failure.message)
            for each in cohort.people
            if (failure := broken.get(node_name(each.key)))
        ),
    )


def _gather(
    people: Sequence[Person], files: Sequence[Path]
) -> tuple[Examples, list[dict[str, Any]]]:
    loaded = [load_arrays(path) for path in files]
    y = [-1 if person.y is None else person.y for person in people]
    examples = Examples(
        keys=tuple(person.key for person in people),
        cls=np.stack([arrays["cls"] for arrays, _ in loaded]),
        fc=np.stack([arrays["fc"] for arrays, _ in loaded]),
        y=np.array(y, dtype=np.int64),
        strata=tuple("|".join((str(y[i]), *each.strata)) for i, each in enumerate(people)),
    )
    return examples, [about for _, about in loaded]

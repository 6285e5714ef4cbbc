"""Scale series by the training participants of each fold, and encode them.

The test participants of a fold have no part in its scale: the node that learns it reads the series
of the training people alone. Inner folds share the scale of their outer fold, which does not depend
on outcomes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.engine import (
    load_arrays,
    new_workflow,
    node_file,
    raise_failure,
    run_in_batches,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.encode.encoder_config import EncoderChoice
from fmmtc_bidsapp.group.encode.serialization import (
    load_examples,
    load_scale,
    save_examples_of_fold,
)
from fmmtc_bidsapp.group.tasks.encoding import (
    Encoded,
    OfFold,
    encoders_of,
    keep_coordinates,
    keep_scale,
)
from fmmtc_bidsapp.group.tasks.memory import print_scales, scale_gb
from fmmtc_bidsapp.group.tasks.workflow import encode_name, encode_workflow, scale_workflow
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Fold, Ints

__all__ = ["encode_folds"]


def encode_folds(
    plan: GroupPlan,
    encoded: Encoded,
    encoder: EncoderChoice,
    splits: Sequence[Fold | None],
    crash_dir: Path,
) -> Encoded:
    """Encode everyone with the scale of the training people of each fold.

    `encoded` are the people as read with `EncoderChoice.without_scale`; the first split must hold
    everyone, as None does. The examples returned are those of the first split; in the arrays of a
    fold, people it neither trains on nor tests are NaN.
    """
    everyone = np.arange(len(encoded.people))
    training = [everyone if split is None else split.train for split in splits]
    rows = [everyone if split is None else _rows(split) for split in splits]
    encoders = encoders_of(encoder)
    _print_scales(encoded, encoders, rows)
    scales = _fit_scales(plan, encoded, training, crash_dir)
    choices = [[replace(own, scale_file=scale) for own in encoders] for scale in scales]
    _encode(plan, encoded, choices, rows, crash_dir)
    # One split after the other, so that no two are in memory at once.
    kept = [
        _keep(plan, encoded, _file(encoded, split), own, members, crash_dir)
        for split, own, members in zip(splits, choices, rows, strict=True)
    ]
    first, about = kept[0]
    return replace(
        encoded,
        examples=load_examples(first),
        about=about,
        of_fold={
            split: OfFold(file, scale)
            for split, (file, _), scale in zip(splits, kept, scales, strict=True)
        },
    )


def _rows(fold: Fold) -> Ints:
    """Return the people of a fold, in the order of the cohort."""
    rows: Ints = np.union1d(fold.train, fold.test)
    return rows


def _file(encoded: Encoded, split: Fold | None) -> Path:
    """Return the file of the examples of a split; no two folds have the same repeat and number."""
    name = "everyone" if split is None else f"repeat_{split.repeat}_fold_{split.fold}"
    return encoded.examples_file.with_name(f"{name}.json")


def _print_scales(
    encoded: Encoded, encoders: Sequence[EncoderChoice], rows: Sequence[Ints]
) -> None:
    """Print how many scans are encoded with every scale, against once."""
    scans = len(encoders) * np.array([len(person.runs) for person in encoded.people])
    print_scales(
        len(rows),
        encodings=int(sum(scans[own].sum() for own in rows)),
        once=int(scans.sum()),
        encoder=encoders[0].options.encoder,
    )


def _fit_scales(
    plan: GroupPlan, encoded: Encoded, training: Sequence[Ints], crash_dir: Path
) -> list[Path]:
    """Learn the scale of every set of training people; equal sets share a node."""
    sets = {_name(encoded, rows): rows for rows in training}
    n_volumes = np.array([sum(filter(None, each)) for each in encoded.n_volumes])
    n_parcels = encoded.examples.fc.shape[1]
    workflow = scale_workflow(
        plan,
        {name: [encoded.people[row] for row in rows] for name, rows in sets.items()},
        {name: scale_gb(int(n_volumes[rows].sum()), n_parcels) for name, rows in sets.items()},
        crash_dir,
    )
    failures = run_workflow(workflow, plan.resources, title="scale").failures
    if failures:
        raise_failure(failures[0], "No scale can be learnt from the training people of a fold")
    return [
        keep_scale(plan, load_scale(node_file(workflow, _name(encoded, rows), "scale.npy")))
        for rows in training
    ]


def _name(encoded: Encoded, rows: Ints) -> str:
    """Return the name of the node of some training people, whatever the number of their fold."""
    keys = "\n".join(encoded.people[row].key for row in rows)
    return f"scale_{hashlib.sha256(keys.encode()).hexdigest()[:12]}"


def _encode(
    plan: GroupPlan,
    encoded: Encoded,
    choices: Sequence[Sequence[EncoderChoice]],
    rows: Sequence[Ints],
    crash_dir: Path,
) -> None:
    """Encode the people of every split with its scale; with an equal scale, once."""
    xyz_mm = keep_coordinates(plan, choices[0][0], encoded.examples.fc.shape[1])
    wanted = {
        encode_name(choice, person): (choice, person)
        for own, members in zip(choices, rows, strict=True)
        for choice in own
        for person in (encoded.people[row] for row in members)
    }
    failures = run_in_batches(
        list(wanted.values()),
        lambda batch: encode_workflow(plan, batch, xyz_mm, crash_dir),
        plan.resources,
        title="encode",
    ).failures
    if failures:
        _, person = wanted[failures[0].node]
        raise_failure(
            failures[0],
            f"{person.key} cannot be encoded with the scale of a fold; leave them out",
        )


def _keep(
    plan: GroupPlan,
    encoded: Encoded,
    file: Path,
    choices: Sequence[EncoderChoice],
    rows: Ints,
    crash_dir: Path,
) -> tuple[Path, tuple[Mapping[str, Any], ...]]:
    """Write the examples of a split; return the file, and the entry of each person."""
    workflow = new_workflow("encode", plan, crash_dir)
    found = [
        [
            _read(node_file(workflow, encode_name(choice, encoded.people[row]), "encoded.npz"))
            for choice in choices
        ]
        for row in rows
    ]
    first = [own[0][0] for own in found]
    arrays = {name: _spread([own[name] for own in first], rows, encoded) for name in _OF_SERIES}
    if len(choices) > 1:
        arrays["cls_random"] = _spread([own[1][0]["cls"] for own in found], rows, encoded)
    save_examples_of_fold(file, encoded.examples_file, arrays)
    return file, tuple(own[0][1] for own in found)


_OF_SERIES = ("cls", "series")
"""Fields of `Examples` that depend on the scale."""


def _read(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays of a person that depend on the scale.

    A run that can be read but not scaled is an InputError, as connectivity would be of other runs.
    """
    arrays, about = load_arrays(file)
    for name, reason in about["left_out"].items():
        raise InputError(f"{name} cannot be encoded with the scale of a fold: {reason} Exclude it.")
    return {name: arrays[name] for name in _OF_SERIES}, about


def _spread(values: Sequence[NDArray[Any]], rows: Ints, encoded: Encoded) -> NDArray[Any]:
    """Return the values of some rows among all people; the others are NaN."""
    spread = np.full((len(encoded.people), *values[0].shape), np.nan, dtype=values[0].dtype)
    spread[rows] = values
    return spread

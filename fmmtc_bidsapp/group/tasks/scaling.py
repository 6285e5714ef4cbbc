"""Scale series by the training participants of each fold, and encode them.

Whom a fold tests has no part in its scale: the node that learns it is shown the series of the
training people alone. Inner folds share the scale of their outer fold, which knows no outcome.
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
from fmmtc_bidsapp.group.tasks.memory import say_scales, scale_gb
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
    """Encode everyone with the scale of each fold's training people.

    Parameters
    ----------
    plan
        Options and resources.
    encoded
        Everyone as they were read with `EncoderChoice.without_scale`.
    encoder
        What they are encoded with.
    splits
        Folds, and None for everyone as training people. The first must hold everyone.
    crash_dir
        Where crash files go.

    Returns
    -------
    Encoded
        With `Encoded.of_fold`. Its own examples are those of the first split: of another fold they
        say what is the same in all. In the arrays of a fold, whoever it neither trains on nor tests
        is NaN.

    Raises
    ------
    AppError
        When someone cannot be encoded with one of the scales: the first failure's.
    """
    everyone = np.arange(len(encoded.people))
    training = [everyone if split is None else split.train for split in splits]
    rows = [everyone if split is None else _rows(split) for split in splits]
    encoders = encoders_of(encoder)
    _say_scales(encoded, encoders, rows)
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
    """Whoever a fold has to do with, in the order of the cohort."""
    rows: Ints = np.union1d(fold.train, fold.test)
    return rows


def _file(encoded: Encoded, split: Fold | None) -> Path:
    """Name what is seen in a split; no two folds have the same repeat and number."""
    name = "everyone" if split is None else f"repeat_{split.repeat}_fold_{split.fold}"
    return encoded.examples_file.with_name(f"{name}.json")


def _say_scales(encoded: Encoded, encoders: Sequence[EncoderChoice], rows: Sequence[Ints]) -> None:
    """Say how many scans are encoded with every scale, against once."""
    scans = len(encoders) * np.array([len(person.runs) for person in encoded.people])
    say_scales(
        len(rows),
        encodings=int(sum(scans[own].sum() for own in rows)),
        once=int(scans.sum()),
        encoder=encoders[0].options.encoder,
    )


def _fit_scales(
    plan: GroupPlan, encoded: Encoded, training: Sequence[Ints], crash_dir: Path
) -> list[Path]:
    """Learn the scale of every set of training people; sets that are the same share a node."""
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
        raise_failure(failures[0], "The training people of a fold give no scale")
    return [
        keep_scale(plan, load_scale(node_file(workflow, _name(encoded, rows), "scale.npy")))
        for rows in training
    ]


def _name(encoded: Encoded, rows: Ints) -> str:
    """Name the node of some training people: the same whatever the number of their fold."""
    keys = "\n".join(encoded.people[row].key for row in rows)
    return f"scale_{hashlib.sha256(keys.encode()).hexdigest()[:12]}"


def _encode(
    plan: GroupPlan,
    encoded: Encoded,
    choices: Sequence[Sequence[EncoderChoice]],
    rows: Sequence[Ints],
    crash_dir: Path,
) -> None:
    """Encode the people of every split with its scale; with the same scale, once."""
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
    """Write what the models see in one split; returns the file, and what is said of its people."""
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
"""Fields of `Examples` that change with the scale."""


def _read(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what changes with the scale of one person.

    Raises
    ------
    InputError
        When a run could be read, but not with this scale: connectivity would be of other runs.
    """
    arrays, about = load_arrays(file)
    for name, reason in about["left_out"].items():
        raise InputError(f"{name} cannot be encoded with the scale of a fold: {reason} Exclude it.")
    return {name: arrays[name] for name in _OF_SERIES}, about


def _spread(values: Sequence[NDArray[Any]], rows: Ints, encoded: Encoded) -> NDArray[Any]:
    """Put the values of some rows among all people, who else is NaN."""
    spread = np.full((len(encoded.people), *values[0].shape), np.nan, dtype=values[0].dtype)
    spread[rows] = values
    return spread

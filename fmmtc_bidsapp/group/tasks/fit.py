"""All fits of an analysis as one graph."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmmtc_bidsapp.engine import (
    NodeFailure,
    load_arrays,
    load_record,
    node_file,
    raise_failure,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.tasks.encoding import Encoded
from fmmtc_bidsapp.group.tasks.fit_steps import (
    FINAL,
    FIT,
    PUBLISHED,
    SHUFFLES,
    Kept,
    Step,
    list_steps,
)
from fmmtc_bidsapp.group.tasks.memory import (
    kinds_of,
    print_kept_weights,
    print_models_to_fit,
    step_gb,
)
from fmmtc_bidsapp.group.tasks.workflow import fit_workflow
from fmmtc_bidsapp.learning.evaluation.added_value import carry_back
from fmmtc_bidsapp.learning.model_selection.ensemble import merge_trainings
from fmmtc_bidsapp.learning.model_selection.permutations import (
    exchange_blocks,
    exchanged_rows,
    headline,
    permuted_labels,
)
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST, LAST_EPOCH
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Blocks, Examples, Floats, Fold, FoldPredictions, Ints

__all__ = ["Fits", "blocks_of", "exchangeable", "fit_models"]

_NOT_ASKED = "no shuffles of the outcome were made; ask for them with --permutations"
_BROKEN = "it could not be fitted on every fold"


@dataclass(frozen=True, eq=False)
class Fits:
    """The results of all fits."""

    models: tuple[str, ...]
    """In the order they were asked for, the main one first."""
    predictions: tuple[FoldPredictions, ...]
    """By model, then fold; the trainings of a network are merged."""
    trainings: tuple[FoldPredictions, ...]
    """The predictions before they are merged."""
    published: tuple[Mapping[str, FoldPredictions], ...]
    """Of `publish_together`, by network and fold; empty with nested selection."""
    permuted: Mapping[str, Floats]
    """By model, the headline AUROC of every shuffle, (permutation,)."""
    exchanged: Mapping[str, Floats]
    """By model, the scores of brains exchanged between people, (permutation, person)."""
    untested: Mapping[str, str]
    """By model without shuffles, the reason."""
    final: tuple[Path, ...]
    """Folders of the fits on everyone, by training; empty if one failed or none was asked for."""
    failures: tuple[NodeFailure, ...]
    kept: tuple[Kept, ...] = ()
    """The models to be explained, on every fitted fold of the first repeat."""


def fit_models(
    plan: GroupPlan,
    encoded: Encoded,
    folds: Sequence[Fold],
    models: Sequence[str],
    *,
    device: str,
    crash_dir: Path,
    title: str,
    final: bool,
    permute: bool,
    keep: Sequence[str] = (),
) -> Fits:
    """Fit every model on every fold in one graph, whose completed steps a later run reuses.

    `title` must differ between the graphs of an analysis. With `final` the main model is also
    fitted on everyone; with `permute` outcomes are shuffled as the plan says, and everyone must be
    tested in the first repeat; `keep` are models to be explained. A step that fails costs its
    models this fold. InputError if strata, groups and folds leave no room for the shuffles asked
    for; if the main model has no fold, its first error is raised.
    """
    blocks, refused = exchangeable(plan, encoded.examples, folds) if permute else ((), "")
    steps = list_steps(
        plan, models, folds, device=device, final=final, permute=bool(blocks), keep=keep
    )
    print_models_to_fit(steps)
    print_kept_weights(steps)
    workflow = fit_workflow(
        plan,
        f"{re.sub('[^0-9A-Za-z]+', '_', title)}_{plan.label}",
        {step: encoded.examples_file_of(step.fold) for step in steps},
        sorted(steps, key=lambda step: not step.is_network),
        blocks=blocks,
        memory_gb={step: step_gb(step, encoded.examples) for step in steps},
        device=device,
        crash_dir=crash_dir,
    )
    nodes = run_workflow(workflow, plan.resources, title=title, kinds=kinds_of(steps))
    ended = {
        step: Path(node_file(workflow, step.name, "")) for step in steps if step.name in nodes.done
    }
    trainings = _trainings(steps, ended)
    predictions = merge_trainings(trainings)
    if not any(each.model == models[0] for each in predictions):
        raise_failure(nodes.failures[0], f"{models[0]} could not be fitted on any fold")
    fitted = Counter(each.model for each in predictions)
    permuted, exchanged, untested = _permuted(
        steps,
        ended,
        [name for name in models if fitted[name] == len(folds)],
        folds,
        lambda n: exchanged_rows(blocks, n, plan.random_seed),
    )
    return Fits(
        models=tuple(models),
        predictions=tuple(predictions),
        trainings=tuple(trainings),
        published=tuple(_published(steps, ended)),
        permuted=permuted,
        exchanged=exchanged,
        untested={
            name: refused or untested.get(name, _BROKEN) for name in models if name not in permuted
        },
        final=_final(steps, ended),
        failures=nodes.failures,
        kept=tuple(_kept(ended)),
    )


def exchangeable(plan: GroupPlan, examples: Examples, folds: Sequence[Fold]) -> tuple[Blocks, str]:
    """Return the people who may exchange outcomes (`exchange_blocks`), or none and the reason.

    InputError if shuffles were asked for that strata, groups and folds leave no room for.
    """
    if plan.protocol.permutations == "0":
        return (), _NOT_ASKED
    blocks, error = blocks_of(examples, folds, plan.random_seed)
    if error is None:
        return blocks, ""
    # By default the figures that need no shuffle are still computed.
    if plan.protocol.permutations != "auto":
        raise error
    print(f"WARNING: no permutation test. {error}")
    return (), str(error)


def blocks_of(
    examples: Examples, folds: Sequence[Fold], seed: int
) -> tuple[Blocks, InputError | None]:
    """Return the people who may exchange outcomes (`exchange_blocks`), or none and the error."""
    blocks = exchange_blocks(examples, folds)
    try:
        permuted_labels(examples.y, blocks, 1, seed)
    except InputError as error:
        return (), error
    return blocks, None


def _of_kind(kind: str, steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.kind == kind]


def _place(step: Step) -> tuple[int, int]:
    return (-1, -1) if step.fold is None else (step.fold.repeat, step.fold.fold)


def _trainings(steps: Sequence[Step], ended: Mapping[Step, Path]) -> list[FoldPredictions]:
    """Read the folds of which every training ended: a mean of fewer is another model."""
    fits = _of_kind(FIT, steps)
    lost = {(step.models, _place(step)) for step in fits if step not in ended}
    kept = [step for step in fits if (step.models, _place(step)) not in lost]
    return [_predictions(ended[step], name) for step in kept for name in step.models]


def _predictions(folder: Path, name: str) -> FoldPredictions:
    return load_record(folder / f"{name}.npz", FoldPredictions)


def _permuted(
    steps: Sequence[Step],
    ended: Mapping[Step, Path],
    fitted: Sequence[str],
    folds: Sequence[Fold],
    rows: Callable[[int], Ints],
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, str]]:
    """Read the shuffles of models that were fitted on every fold; or say why there are none.

    Returns their headline AUROCs, the scores of exchanged brains, and by model why not.
    """
    shuffles = _of_kind(SHUFFLES, steps)
    permuted: dict[str, Floats] = {}
    exchanged: dict[str, Floats] = {}
    untested = {}
    for name in fitted:
        own = [step for step in shuffles if name in step.models]
        lost = [step for step in own if step not in ended]
        if lost:
            untested[name] = f"{len(lost)} of {len(own)} steps with shuffled outcomes failed"
        elif not own:
            untested[name] = _NOT_ASKED
        else:
            permuted[name] = headline(np.array(_of_folds("aurocs", own, ended, name, folds)))
            outputs = _of_folds("outputs", own, ended, name, folds)
            exchanged[name] = carry_back(outputs, folds, rows(len(outputs[0])))
    return permuted, exchanged, untested


def _of_folds(
    what: str, steps: Sequence[Step], ended: Mapping[Step, Path], name: str, folds: Sequence[Fold]
) -> list[Floats]:
    """Join the steps of one model, by fold (permutation, …)."""
    by_fold: dict[tuple[int, int], list[Floats]] = defaultdict(list)
    for step in sorted(steps, key=lambda step: step.first):
        arrays, _ = load_arrays(ended[step] / "shuffles.npz")
        by_fold[_place(step)].append(arrays[what][step.models.index(name)])
    return [np.concatenate(by_fold[fold.repeat, fold.fold]) for fold in folds]


def _published(
    steps: Sequence[Step], ended: Mapping[Step, Path]
) -> list[Mapping[str, FoldPredictions]]:
    return [
        {each: _predictions(ended[step], f"{name}_{each}") for each in (BEST_ON_TEST, LAST_EPOCH)}
        for step in _of_kind(PUBLISHED, steps)
        if step in ended
        for name in step.models
    ]


def _final(steps: Sequence[Step], ended: Mapping[Step, Path]) -> tuple[Path, ...]:
    whole = _of_kind(FINAL, steps)
    return tuple(ended[step] for step in whole) if set(whole) <= set(ended) else ()


def _kept(ended: Mapping[Step, Path]) -> list[Kept]:
    return [
        Kept(name, step.fold, folder / name)
        for step, folder in ended.items()
        if step.fold is not None
        for name in step.keep
    ]

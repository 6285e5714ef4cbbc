"""Permutation test: the whole procedure on shuffled outcomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.metrics.scores import shuffled_aurocs
from fmmtc_bidsapp.learning.model_selection.ensemble import merge_trainings
from fmmtc_bidsapp.learning.model_selection.nested_cv import fit_together, refit_seed
from fmmtc_bidsapp.learning.seeds import SHUFFLES, derive_seed
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Blocks, Examples, Floats, Fold, Ints
from fmmtc_bidsapp.records.verdict import LEVEL

__all__ = [
    "aurocs_of_shuffles",
    "exchange_blocks",
    "exchanged_rows",
    "headline",
    "p_of",
    "permuted_aurocs",
    "permuted_labels",
    "permuted_outputs",
]

_SAME = 1e-9
"""AUROCs of two ways to add the same numbers up differ by less; of people, by more."""


def exchange_blocks(examples: Examples, folds: Sequence[Fold]) -> Blocks:
    """List who may exchange outcomes with whom.

    These are people of the same ``--stratify-by`` stratum who are tested in the same fold of the
    first repeat. So shuffled outcomes are spread over the folds as evenly as the real ones were
    when the folds were drawn, and with one repeat the test is exact; were folds kept and outcomes
    shuffled across them, folds of lopsided outcomes would widen what is taken for chance.

    Of groups (``--group-by``, copies of a scan) those whose members all have one outcome are
    exchanged whole, with groups of the same size and strata [1]_, and single people among
    themselves. In a group of both outcomes its own members exchange them. Which group is of which
    kind is the same after every exchange, as an exact test needs.

    Parameters
    ----------
    examples : Examples
        The cohort.
    folds : sequence of Fold
        All outer folds.

    Returns
    -------
    tuple of tuple of tuple of int
        (block, unit, member) rows; every person is in one unit.

    References
    ----------
    .. [1] Winkler et al. (2015), NeuroImage 123, doi:10.1016/j.neuroimage.2015.05.092.
    """
    first = min(each.repeat for each in folds)
    fold_of = {int(row): each.fold for each in folds if each.repeat == first for row in each.test}
    strata = [_beside_outcome(stratum) for stratum in examples.strata]
    groups = examples.groups or examples.keys
    families: dict[tuple[str, int], list[int]] = {}
    for row in sorted(fold_of, key=lambda row: (strata[row], row)):
        families.setdefault((groups[row], fold_of[row]), []).append(row)
    blocks: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for (group, fold), rows in families.items():
        if len({int(examples.y[row]) for row in rows}) == 1:
            alike = ("whole", *(strata[row] for row in rows), str(fold))
            blocks.setdefault(alike, []).append(tuple(rows))
            continue
        for row in rows:
            blocks.setdefault(("within", group, strata[row], str(fold)), []).append((row,))
    return tuple(tuple(sorted(blocks[name])) for name in sorted(blocks))


def exchanged_rows(blocks: Blocks, permutations: int, seed: int) -> Ints:
    """Draw whose outcome each person is given.

    Parameters
    ----------
    blocks : sequence of sequence of sequence of int
        Of `exchange_blocks`.
    permutations : int
        How often.
    seed : int
        Of the run. The first shuffles of a longer run are those of a shorter one.

    Returns
    -------
    array of int
        (permutation, person) rows of the cohort, each once a permutation.
    """
    units = [np.asarray(block, dtype=np.int64) for block in blocks]
    rng = np.random.default_rng(derive_seed(seed, SHUFFLES))
    rows = np.tile(np.arange(sum(each.size for each in units)), (permutations, 1))
    for drawn in rows:
        for own in units:
            drawn[own] = own[rng.permutation(len(own))]
    return rows


def permuted_labels(y: Ints, blocks: Blocks, permutations: int, seed: int) -> Ints:
    """Shuffle outcomes within blocks.

    Parameters
    ----------
    y : array of int
        (person,) outcomes.
    blocks, permutations, seed
        As in `exchanged_rows`.

    Returns
    -------
    array of int
        (permutation, person)

    Raises
    ------
    InputError
        When fewer different arrangements exist than a p of 0.05 needs.
    """
    arrangements = sum(
        math.log(math.comb(len(block), sum(int(y[unit[0]]) for unit in block))) for block in blocks
    )
    if permutations and arrangements < math.log(1 / LEVEL) - _SAME:
        raise InputError(
            f"Outcomes can be shuffled within strata, groups and folds in only "
            f"{round(math.exp(arrangements))} ways, too few for a p of {LEVEL}. Use fewer "
            "--stratify-by columns, larger --group-by groups, or --permutations 0."
        )
    shuffled: Ints = y[exchanged_rows(blocks, permutations, seed)]
    return shuffled


def permuted_aurocs(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    labels: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
) -> Floats:
    """Run models on one fold once a shuffle of the outcomes, as `permuted_outputs`.

    Returns
    -------
    array
        (model, permutation) AUROC of the test rows; NaN where they have one outcome.
    """
    outputs = permuted_outputs(names, examples, fold, labels, setup, evaluation, seed=seed)
    return aurocs_of_shuffles(outputs, fold, labels)


def aurocs_of_shuffles(outputs: Floats, fold: Fold, labels: Ints) -> Floats:
    """(model, permutation, test person) outputs -> (model, permutation) AUROCs."""
    return np.array([shuffled_aurocs(each, labels[:, fold.test]) for each in outputs])


def permuted_outputs(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    labels: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
) -> Floats:
    """Run models on one fold once a shuffle of the outcomes.

    Networks go through everything anew, inner folds and every training included. A model without
    epochs has nothing that its inner folds choose but the calibration, which changes no rank; so it
    is only trained, on features that are made once where they know no outcome.

    Parameters
    ----------
    names : sequence of str
        Keys of `MODELS` that are trained together (`families`).
    examples : Examples
        The cohort.
    fold : Fold
        Rows to train on and rows to predict.
    labels : array of int
        (permutation, person) of `permuted_labels`.
    setup, evaluation, seed
        As in `fit_together`: every shuffle trains with the seed of the real run.

    Returns
    -------
    array
        (model, permutation, test person) outputs before calibration.
    """
    is_network = any(MODELS[name].is_network for name in names)
    run = _whole if is_network else _without_epochs
    return run(names, examples, fold, labels, setup, evaluation, seed)


def _whole(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    labels: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    seed: int,
) -> Floats:
    """(model, permutation, test person) logits of the whole procedure."""
    logits = np.empty((len(names), len(labels), len(fold.test)))
    for i, y in enumerate(labels):
        shuffled = _splittable(_with_outcomes(examples, y), fold.train, setup.train.inner_folds)
        trainings = [
            each
            for training in range(setup.train.seeds)
            for each in fit_together(
                names, shuffled, fold, setup, evaluation, seed=seed, training=training
            )
        ]
        merged = {each.model: each for each in merge_trainings(trainings)}
        logits[:, i] = [merged[name].output for name in names]
    return logits


def _without_epochs(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    labels: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    seed: int,
) -> Floats:
    """(model, permutation, test person) logits of models that are only trained."""
    logits = np.empty((len(names), len(labels), len(fold.test)))
    own_seed = refit_seed(seed, fold)
    for i, name in enumerate(names):
        learner = MODELS[name].learner(setup)
        if isinstance(learner, ColumnsLearner):
            logits[i] = learner.shuffled(examples, fold.train, fold.test, labels, own_seed)
            continue
        people = examples.take(fold.test)
        for j, y in enumerate(labels):
            fitted = learner.fit(_with_outcomes(examples, y), fold.train, 1, own_seed)
            logits[i, j] = fitted.logits(people)
    return logits


def headline(aurocs: Floats) -> Floats:
    """Mean of the folds that have a value, (fold, permutation) -> (permutation,); else NaN."""
    known = ~np.isnan(aurocs)
    total, count = np.where(known, aurocs, 0.0).sum(axis=0), known.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean


def p_of(observed: float, permuted: Floats) -> float:
    """(b + 1) / (m + 1); a shuffle without a value counts as one that does as well."""
    # What has no value is not below anything.
    below = (permuted < observed - _SAME).sum()
    return float((1 + len(permuted) - below) / (1 + len(permuted)))


def _beside_outcome(stratum: str) -> str:
    return stratum.partition("|")[2]


def _with_outcomes(examples: Examples, y: Ints) -> Examples:
    strata = tuple(
        "|".join((str(outcome), *stratum.split("|")[1:]))
        for outcome, stratum in zip(y, examples.strata, strict=True)
    )
    return replace(examples, y=y, strata=strata)


def _splittable(shuffled: Examples, rows: Ints, inner_folds: int) -> Examples:
    """Balance inner folds on the outcome alone where a shuffled stratum has too few people.

    In the second repeat and on, outcomes are not shuffled within its folds, so what the strata of
    the real outcomes are enough for, these may not be.
    """
    smallest = min(Counter(shuffled.strata[row] for row in rows).values())
    if shuffled.groups is not None or smallest >= inner_folds:
        return shuffled
    return replace(shuffled, strata=tuple(map(str, shuffled.y)))

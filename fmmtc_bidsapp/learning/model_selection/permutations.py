"""Permutation test: the whole procedure on shuffled outcomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.metrics.scores import shuffled_aurocs
from fmmtc_bidsapp.learning.model_selection.ensemble import merge_trainings
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together, refit_seed
from fmmtc_bidsapp.learning.seeds import SHUFFLES, derive_seed
from fmmtc_bidsapp.records import Blocks, Examples, Floats, Fold, Ints
from fmmtc_bidsapp.records.verdict import LEVEL

__all__ = [
    "aurocs_of_shuffles",
    "exchange_blocks",
    "exchanged_rows",
    "headline",
    "permutation_p",
    "permuted_labels",
    "permuted_outputs",
]

_SAME = 1e-9
"""AUROCs of two ways to add the same numbers up differ by less; of people, by more."""


def exchange_blocks(examples: Examples, folds: Sequence[Fold]) -> Blocks:
    """Return the units of people within which outcomes are exchanged.

    People of the same ``--stratify-by`` stratum who are tested in the same fold of the first
    repeat: shuffled outcomes are spread over the folds as evenly as the real ones, and with one
    repeat the test is exact; shuffled across folds, folds of unequal outcomes would widen the
    null distribution.

    Groups (``--group-by``, copies of a scan) whose members all have one outcome are exchanged
    whole, with groups of the same size and strata (Winkler et al. 2015,
    doi:10.1016/j.neuroimage.2015.05.092), and single people with single people. A group of both
    outcomes exchanges them among its members. Which group is of which kind is the same after
    every exchange, as an exact test needs.
    """
    first = min(each.repeat for each in folds)
    fold_of = {int(row): each.fold for each in folds if each.repeat == first for row in each.test}
    strata = [stratum.partition("|")[2] for stratum in examples.strata]
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
    """Draw whose outcome each person gets, (permutation, person) rows, each once a permutation.

    The first shuffles of a longer run are those of a shorter one.
    """
    units = [np.asarray(block, dtype=np.int64) for block in blocks]
    rng = np.random.default_rng(derive_seed(seed, SHUFFLES))
    rows = np.tile(np.arange(sum(each.size for each in units)), (permutations, 1))
    for drawn in rows:
        for own in units:
            drawn[own] = own[rng.permutation(len(own))]
    return rows


def permuted_labels(y: Ints, blocks: Blocks, permutations: int, seed: int) -> Ints:
    """Shuffle (person,) outcomes within blocks, -> (permutation, person).

    InputError with fewer arrangements than a p of 0.05 needs.
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


def aurocs_of_shuffles(outputs: Floats, fold: Fold, labels: Ints) -> Floats:
    """(model, permutation, test person) outputs -> (model, permutation) AUROCs."""
    return np.array([shuffled_aurocs(each, labels[:, fold.test]) for each in outputs])


def permuted_outputs(analysis: Analysis, names: Sequence[str], fold: Fold, labels: Ints) -> Floats:
    """Fit models of one training to each of (permutation, person) outcomes of `permuted_labels`.

    Returns (model, permutation, test person) outputs before calibration, with the seed of the real
    run. Networks repeat everything, inner folds and every training included. The inner folds of a
    model without epochs choose the calibration only, which changes no rank; so it is only trained,
    on features that are made once where they read no outcome.
    """
    is_network = any(MODELS[name].is_network for name in names)
    run = _whole if is_network else _without_epochs
    return run(analysis, names, fold, labels)


def _whole(analysis: Analysis, names: Sequence[str], fold: Fold, labels: Ints) -> Floats:
    """(model, permutation, test person) logits of the whole procedure."""
    train = analysis.setup.train
    logits = np.empty((len(names), len(labels), len(fold.test)))
    for i, y in enumerate(labels):
        shuffled = _splittable(_with_outcomes(analysis.examples, y), fold.train, train.inner_folds)
        own = replace(analysis, examples=shuffled)
        trainings = [
            each
            for number in range(train.seeds)
            for each in fit_together(own, names, fold, number)[1]
        ]
        merged = {each.model: each for each in merge_trainings(trainings)}
        logits[:, i] = [merged[name].output for name in names]
    return logits


def _without_epochs(analysis: Analysis, names: Sequence[str], fold: Fold, labels: Ints) -> Floats:
    """(model, permutation, test person) logits of models that are only trained."""
    examples = analysis.examples
    logits = np.empty((len(names), len(labels), len(fold.test)))
    own_seed = refit_seed(analysis.seed, fold)
    for i, name in enumerate(names):
        learner = MODELS[name].learner(analysis.setup)
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


def permutation_p(observed: float, permuted: Floats) -> float:
    """Return (b + 1) / (m + 1); a shuffle without a value counts as at least as good."""
    # What has no value is not below anything.
    below = (permuted < observed - _SAME).sum()
    return float((1 + len(permuted) - below) / (1 + len(permuted)))


def _with_outcomes(examples: Examples, y: Ints) -> Examples:
    strata = tuple(
        "|".join((str(outcome), *stratum.split("|")[1:]))
        for outcome, stratum in zip(y, examples.strata, strict=True)
    )
    return replace(examples, y=y, strata=strata)


def _splittable(shuffled: Examples, rows: Ints, inner_folds: int) -> Examples:
    """Balance inner folds on the outcome alone if a shuffled stratum has too few people.

    From the second repeat on, outcomes are not shuffled within its folds, so shuffled strata
    may be smaller than those of the real outcomes.
    """
    smallest = min(Counter(shuffled.strata[row] for row in rows).values())
    if shuffled.groups is not None or smallest >= inner_folds:
        return shuffled
    return replace(shuffled, strata=tuple(map(str, shuffled.y)))

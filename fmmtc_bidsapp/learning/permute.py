"""Is there anything there at all? The whole supervised procedure on shuffled outcomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.ensemble import merge_trainings
from fmmtc_bidsapp.learning.experiments import fit_together, refit_seed
from fmmtc_bidsapp.learning.learner import Setup
from fmmtc_bidsapp.learning.linear import ColumnsLearner
from fmmtc_bidsapp.learning.metrics import shuffled_aurocs
from fmmtc_bidsapp.learning.models import MODELS, YARDSTICKS
from fmmtc_bidsapp.learning.seeds import SHUFFLES, derive_seed
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import (
    Examples,
    Floats,
    Fold,
    FoldPredictions,
    Ints,
    PermutationTest,
)

__all__ = [
    "headline",
    "judge_permutations",
    "missing_bar",
    "permuted_aurocs",
    "permuted_labels",
    "shuffle_cells",
]

_LEVEL = 0.05
_BASELINE = "covariates"
_SAME = 1e-9
"""AUROCs of two ways to add the same numbers up differ by less; of people, by more."""


def shuffle_cells(examples: Examples, folds: Sequence[Fold]) -> tuple[str, ...]:
    """Name for each person those they may exchange the outcome with.

    These are the people of the same ``--stratify-by`` stratum and the same ``--group-by`` group
    who are tested in the same fold of the first repeat. So shuffled outcomes are spread over the
    folds as evenly as the real ones were when the folds were drawn, and with one repeat the test is
    exact; were folds kept and outcomes shuffled across them, folds of lopsided outcomes would
    widen what is taken for chance.

    Parameters
    ----------
    examples : Examples
        The cohort.
    folds : sequence of Fold
        All outer folds.

    Returns
    -------
    tuple of str
        (person,)
    """
    first = min(each.repeat for each in folds)
    fold_of = {row: each.fold for each in folds if each.repeat == first for row in each.test}
    groups = examples.groups or ("",) * len(examples.keys)
    return tuple(
        f"{_beside_outcome(stratum)}|{group}|{fold_of[row]}"
        for row, (stratum, group) in enumerate(zip(examples.strata, groups, strict=True))
    )


def permuted_labels(y: Ints, cells: Sequence[str], permutations: int, seed: int) -> Ints:
    """Shuffle outcomes within cells.

    Parameters
    ----------
    y : array of int
        (person,) outcomes.
    cells : sequence of str
        (person,) of `shuffle_cells`.
    permutations : int
        How often.
    seed : int
        Of the run. The first shuffles of a longer run are those of a shorter one.

    Returns
    -------
    array of int
        (permutation, person)

    Raises
    ------
    InputError
        When fewer different arrangements exist than a p of 0.05 needs.
    """
    cell = np.unique(np.asarray(cells), return_inverse=True)[1]
    members = [np.flatnonzero(cell == each) for each in range(cell.max() + 1)]
    arrangements = sum(
        math.log(math.comb(len(rows), int(y[rows].sum()))) for rows in members if len(rows)
    )
    if permutations and arrangements < math.log(1 / _LEVEL) - _SAME:
        raise InputError(
            f"Outcomes can be shuffled within strata, groups and folds in only "
            f"{round(math.exp(arrangements))} ways, too few for a p of {_LEVEL}. Use fewer "
            "--stratify-by columns, larger --group-by groups, or --permutations 0."
        )
    rng = np.random.default_rng(derive_seed(seed, SHUFFLES))
    shuffled = np.tile(y, (permutations, 1))
    for labels in shuffled:
        for rows in members:
            labels[rows] = rng.permutation(labels[rows])
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
        (model, permutation) AUROC of the test rows; NaN where they have one outcome.
    """
    is_network = any(MODELS[name].is_network for name in names)
    run = _whole if is_network else _without_epochs
    logits = run(names, examples, fold, labels, setup, evaluation, seed)
    return np.array([shuffled_aurocs(each, labels[:, fold.test]) for each in logits])


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


def missing_bar(predictions: Sequence[FoldPredictions], examples: Examples) -> str:
    """Say why no model can be tested, where covariates were given and are not judged on every fold.

    Evidence needs more than they say, and that is then not known.

    Parameters
    ----------
    predictions : sequence of FoldPredictions
        Every fold of every model that could be fitted.
    examples : Examples
        The cohort.

    Returns
    -------
    str
        Empty where nothing is missing.
    """
    places = {(each.fold.repeat, each.fold.fold) for each in predictions}
    n_known = sum(each.model == _BASELINE for each in predictions)
    if examples.covariates is None or n_known == len(places):
        return ""
    return (
        f"the covariates alone were fitted on {n_known} of {len(places)} folds, so what a model "
        "must exceed is not known"
    )


def judge_permutations(
    observed: Mapping[str, float], permuted: Mapping[str, Floats]
) -> tuple[PermutationTest, ...]:
    """Say of every model whether there is evidence that it predicts.

    Parameters
    ----------
    observed : mapping of str to float
        The headline AUROC of every model; who has none (NaN) is not tested.
    permuted : mapping of str to array
        (permutation,) headline AUROC of every tested model on the shuffles of `permuted_labels`,
        from the first on; models may have different numbers of them. A shuffle without a value
        counts as one that does as well.

    Returns
    -------
    tuple of PermutationTest
        In the order of `observed`. The adjusted p compares with the best of all tested models
        [1]_, over the shuffles that all of them were run on, and is never below the p itself.
        Evidence needs an adjusted p of 0.05 or less and an AUROC above 0.5 and above that of the
        covariates alone, where there are any. What models are held against
        (`fmmtc_bidsapp.learning.models.YARDSTICKS`) has a p, and is no evidence itself.

    References
    ----------
    .. [1] Westfall & Young (1993), Resampling-based multiple testing, Wiley.
    """
    tested = [
        name for name in observed if len(permuted.get(name, ())) and not np.isnan(observed[name])
    ]
    common = min((len(permuted[name]) for name in tested), default=0)
    best = np.max([permuted[name][:common] for name in tested], axis=0) if tested else np.zeros(0)
    bar = np.fmax(0.5, observed.get(_BASELINE, 0.5))
    tests = []
    for name, auroc in observed.items():
        if name not in tested:
            nan = float("nan")
            tests.append(PermutationTest(name, auroc, 0, nan, nan, "not tested"))
            continue
        own = permuted[name]
        p = _p(auroc, own)
        adjusted = max(p, _p(auroc, best))
        found = adjusted <= _LEVEL and auroc > bar and name not in YARDSTICKS
        verdict = "evidence of prediction" if found else "no evidence of prediction"
        tests.append(PermutationTest(name, auroc, len(own), p, adjusted, verdict))
    return tuple(tests)


def _p(observed: float, permuted: Floats) -> float:
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

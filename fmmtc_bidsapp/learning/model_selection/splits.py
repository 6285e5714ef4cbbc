"""Stratified, seeded folds of participants."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.records import Fold, Ints

__all__ = ["check_strata", "inner_folds", "outer_folds"]


def outer_folds(
    strata: Sequence[str],
    folds: int,
    repeats: int,
    seed: int,
    groups: Sequence[str] | None = None,
) -> list[Fold]:
    """Split people into test folds of equal strata, once per repeat.

    Parameters
    ----------
    strata : sequence of str
        (person,) label that every fold should hold in equal shares.
    folds, repeats : int
        Test folds per repeat, and repeats with a split of their own.
    seed : int
        Every repeat is shuffled with a seed derived from this one.
    groups : sequence of str, optional
        (person,) site or family; nobody is tested by a model that saw one of their own. Strata
        are then as equal as the groups allow.

    Returns
    -------
    list of Fold
        In each repeat every person is tested exactly once.

    Raises
    ------
    InputError
        When a stratum has fewer people than there are folds, or groups cannot be split.
    """
    return [
        Fold(repeat=repeat, fold=fold, train=train, test=test)
        for repeat in range(repeats)
        for fold, (train, test) in enumerate(
            _split(strata, folds, derive_seed(seed, repeat), groups)
        )
    ]


def inner_folds(
    strata: Sequence[str], folds: int, seed: int, groups: Sequence[str] | None = None
) -> list[tuple[Ints, Ints]]:
    """Split training people into (fit, validation) positions.

    Parameters
    ----------
    strata : sequence of str
        (training person,) label that every fold should hold in equal shares.
    folds, seed : int
        Number of folds, and the seed of the shuffle.
    groups : sequence of str, optional
        (training person,) site or family that is never split.

    Returns
    -------
    list of (fit, validation)
        Positions within `strata`, not rows of the cohort.

    Raises
    ------
    InputError
        When a stratum has fewer people than there are folds, or groups cannot be split.
    """
    return _split(strata, folds, seed, groups)


def check_strata(
    strata: Sequence[str], folds: int, inner: int, groups: Sequence[str] | None = None
) -> None:
    """Refuse strata that the outer or the inner folds would run out of.

    Parameters
    ----------
    strata : sequence of str
        (person,) labels.
    folds, inner : int
        Outer and inner folds. The training rows of an outer fold must still hold `inner`
        people of every stratum.
    groups : sequence of str, optional
        (person,) site or family. With groups the strata are a wish, so only the groups and the
        outcomes are counted.

    Raises
    ------
    InputError
        With the stratum that is too small, and what to do.
    """
    sizes = Counter(strata)
    if len({label.partition("|")[0] for label in sizes}) < 2:
        raise InputError(
            f"All {len(strata)} people have the same outcome; prediction needs both. "
            "Check --target and --where."
        )
    if groups is not None:
        _check_groups(strata, groups, folds)
        return
    label, size = min(sizes.items(), key=lambda item: (item[1], item[0]))
    needed = max(folds, _smallest_with(inner, folds))
    if size < needed:
        raise InputError(
            f"Stratum {label!r} has {size} people, but {folds} folds with {inner} inner folds "
            f"need {needed}. Use fewer folds, or fewer --stratify-by columns."
        )


def _check_groups(strata: Sequence[str], groups: Sequence[str], folds: int) -> None:
    people = list(zip(strata, groups, strict=True))
    if len(set(groups)) < folds:
        raise InputError(
            f"There are {len(set(groups))} groups (of --group-by, or of copies of a scan), but "
            f"{folds} folds need as many. Use fewer folds."
        )
    for outcome in sorted({label.partition("|")[0] for label in strata}):
        own = {group for label, group in people if label.partition("|")[0] == outcome}
        if len(own) < 2:
            raise InputError(
                f"Everyone with outcome {outcome} is in one group, {own.pop()!r} (of --group-by, "
                "or of copies of a scan), so no training set without it has both outcomes. Leave "
                "--group-by out where it was given, or add people."
            )


def _smallest_with(inner: int, folds: int) -> int:
    """Stratum size from which every training set keeps `inner` people."""
    size = inner
    while size - -(-size // folds) < inner:
        size += 1
    return size


def _split(
    strata: Sequence[str], folds: int, seed: int, groups: Sequence[str] | None
) -> list[tuple[Ints, Ints]]:
    check_strata(strata, folds, inner=1, groups=groups)
    labels = np.asarray(strata)
    if groups is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(len(labels)), labels))
    return _split_groups(labels, folds, seed, groups)


def _split_groups(
    labels: NDArray[np.str_], folds: int, seed: int, groups: Sequence[str]
) -> list[tuple[Ints, Ints]]:
    """Split whole groups; every training part must have both outcomes, every test part someone."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    outcomes = np.array([label.partition("|")[0] for label in labels])
    balanced = labels if max(Counter(labels.tolist()).values()) >= folds else outcomes
    with warnings.catch_warnings():
        # Of strata smaller than the folds, which groups make a matter of course.
        warnings.simplefilter("ignore", UserWarning)
        splits = list(splitter.split(np.zeros(len(labels)), balanced, groups))
    for train, test in splits:
        if not len(test) or len(set(outcomes[train])) < 2:
            raise InputError(
                f"{len(set(groups))} groups of {Counter(groups).most_common(1)[0][1]} people and "
                f"fewer cannot be split {folds} ways with both outcomes in every training set. Use "
                "fewer --folds or --inner-folds, or leave --group-by out where it was given."
            )
    return splits

"""Who trains and who is tested: shuffled, stratified, seeded folds of people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedKFold

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.records import Fold, Ints

__all__ = ["check_strata", "inner_folds", "outer_folds"]


def outer_folds(strata: Sequence[str], folds: int, repeats: int, seed: int) -> list[Fold]:
    """Split people into test folds of equal strata, once per repeat.

    Parameters
    ----------
    strata : sequence of str
        (person,) label that every fold should hold in equal shares.
    folds, repeats : int
        Test folds per repeat, and repeats with a split of their own.
    seed : int
        Every repeat is shuffled with a seed derived from this one.

    Returns
    -------
    list of Fold
        In each repeat every person is tested exactly once.

    Raises
    ------
    InputError
        When a stratum has fewer people than there are folds.
    """
    return [
        Fold(repeat=repeat, fold=fold, train=train, test=test)
        for repeat in range(repeats)
        for fold, (train, test) in enumerate(_split(strata, folds, derive_seed(seed, repeat)))
    ]


def inner_folds(strata: Sequence[str], folds: int, seed: int) -> list[tuple[Ints, Ints]]:
    """Split training people into (fit, validation) positions.

    Parameters
    ----------
    strata : sequence of str
        (training person,) label that every fold should hold in equal shares.
    folds, seed : int
        Number of folds, and the seed of the shuffle.

    Returns
    -------
    list of (fit, validation)
        Positions within `strata`, not rows of the cohort.

    Raises
    ------
    InputError
        When a stratum has fewer people than there are folds.
    """
    return _split(strata, folds, seed)


def check_strata(strata: Sequence[str], folds: int, inner: int) -> None:
    """Refuse strata that the outer or the inner folds would run out of.

    Parameters
    ----------
    strata : sequence of str
        (person,) labels.
    folds, inner : int
        Outer and inner folds. The training rows of an outer fold must still hold `inner`
        people of every stratum.

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
    label, size = min(sizes.items(), key=lambda item: (item[1], item[0]))
    needed = max(folds, _smallest_with(inner, folds))
    if size < needed:
        raise InputError(
            f"Stratum {label!r} has {size} people, but {folds} folds with {inner} inner folds "
            f"need {needed}. Use fewer folds, or fewer --stratify-by columns."
        )


def _smallest_with(inner: int, folds: int) -> int:
    """Stratum size from which every training set keeps `inner` people."""
    size = inner
    while size - -(-size // folds) < inner:
        size += 1
    return size


def _split(strata: Sequence[str], folds: int, seed: int) -> list[tuple[Ints, Ints]]:
    check_strata(strata, folds, inner=1)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    labels = np.asarray(strata)
    return list(splitter.split(np.zeros(len(labels)), labels))

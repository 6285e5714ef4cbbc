"""Stratified, seeded folds of participants."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.metrics.calibrate import check_calibration
from fmmtc_bidsapp.learning.preprocessing.adjust import check_adjustment
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.options import TrainOptions
from fmmtc_bidsapp.records import Floats, Fold, Ints

__all__ = ["SplitPlan", "check_strata", "fold_seed", "outer_folds", "split_rows"]

_SPLIT = 0
"""Part of the seed of a training set that its inner folds are drawn with."""


@dataclass(frozen=True)
class SplitPlan:
    """What all splits of an analysis depend on."""

    strata: Sequence[str]
    """(person,) labels that every fold should hold in equal shares, the outcome first."""
    groups: Sequence[str] | None
    """(person,) site or family that no split separates."""
    train: TrainOptions
    """Outer folds, repeats and inner folds."""
    seed: int
    calibration: str = "sigmoid"
    """``EvaluationOptions.calibration``, which may need more people than a fold trains on."""

    def inner(self, rows: Ints, seed: int) -> list[tuple[Ints, Ints]]:
        """Split training rows into (fit, validation) positions within `rows`."""
        strata = [self.strata[row] for row in rows]
        groups = None if self.groups is None else [self.groups[row] for row in rows]
        return split_rows(strata, self.train.inner_folds, derive_seed(seed, _SPLIT), groups)

    def check(self, covariates: Floats | None = None) -> None:
        """Make every split of a run and discard it; InputError with the first that fails.

        Groups can be too few or too unequal for an inner fold in ways that no count predicts. With
        `covariates`, (person, column), each training set must have enough people to regress them
        out.
        """
        train = self.train
        for fold in outer_folds(self.strata, train.folds, train.repeats, self.seed, self.groups):
            self.check_fold(fold, covariates)
        self.inner(np.arange(len(self.strata)), derive_seed(self.seed))

    def check_fold(self, fold: Fold, covariates: Floats | None = None) -> None:
        """Make the inner splits of one fold and discard them, as in `check`."""
        check_calibration(self.calibration, len(fold.train))
        for fit, _ in self.inner(fold.train, fold_seed(self.seed, fold)):
            if covariates is not None:
                check_adjustment(covariates, fold.train[fit])


def fold_seed(seed: int, fold: Fold) -> int:
    """Return the seed of one fold of the run with `seed`."""
    return derive_seed(seed, fold.repeat, fold.fold)


def outer_folds(
    strata: Sequence[str],
    folds: int,
    repeats: int,
    seed: int,
    groups: Sequence[str] | None = None,
) -> list[Fold]:
    """Split people into test folds of equal strata, once per repeat.

    In each repeat every person is tested once, by a model that was not trained on the same
    group; strata are then as equal as the groups allow. InputError as in `split_rows`.
    """
    return [
        Fold(repeat=repeat, fold=fold, train=train, test=test)
        for repeat in range(repeats)
        for fold, (train, test) in enumerate(
            split_rows(strata, folds, derive_seed(seed, repeat), groups)
        )
    ]


def split_rows(
    strata: Sequence[str], folds: int, seed: int, groups: Sequence[str] | None = None
) -> list[tuple[Ints, Ints]]:
    """Split people into (train, test) positions, so that every fold has equal shares of strata.

    InputError for a stratum with fewer people than folds, or groups that cannot be split.
    """
    check_strata(strata, folds, inner=1, groups=groups)
    labels = np.asarray(strata)
    if groups is not None:
        return _split_groups(labels, folds, seed, groups)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels))


def check_strata(
    strata: Sequence[str], folds: int, inner: int, groups: Sequence[str] | None = None
) -> None:
    """InputError for a (person,) stratum that is too small for the outer or inner folds.

    The training rows of an outer fold need `inner` people of every stratum. With groups, strata
    need not be equal, so only groups and outcomes are counted.
    """
    sizes = Counter(strata)
    if len({label.partition("|")[0] for label in sizes}) < 2:
        raise InputError(
            f"All {len(strata)} participants have the same outcome; prediction needs both. "
            "Check --target and --where."
        )
    if groups is not None:
        _check_groups(strata, groups, folds)
        return
    label, size = min(sizes.items(), key=lambda item: (item[1], item[0]))
    needed = max(folds, _smallest_with(inner, folds))
    if size < needed:
        raise InputError(
            f"Stratum {label!r} has {size} participants, but {folds} folds with {inner} inner "
            f"folds need {needed}. Use fewer folds, or fewer --stratify-by columns."
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
                "or of copies of a scan), so no training set without it has both outcomes. Omit "
                "--group-by if it was given, or add participants."
            )


def _smallest_with(inner: int, folds: int) -> int:
    """Stratum size from which every training set keeps `inner` people."""
    size = inner
    while size - -(-size // folds) < inner:
        size += 1
    return size


def _split_groups(
    labels: NDArray[np.str_], folds: int, seed: int, groups: Sequence[str]
) -> list[tuple[Ints, Ints]]:
    """Split whole groups; every training part has both outcomes, and no test part is empty."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    outcomes = np.array([label.partition("|")[0] for label in labels])
    balanced = labels if max(Counter(labels.tolist()).values()) >= folds else outcomes
    with warnings.catch_warnings():
        # Of strata smaller than the folds, which are common with groups.
        warnings.simplefilter("ignore", UserWarning)
        splits = list(splitter.split(np.zeros(len(labels)), balanced, groups))
    for train, test in splits:
        if not len(test) or len(set(outcomes[train])) < 2:
            raise InputError(
                f"{len(set(groups))} groups of up to {Counter(groups).most_common(1)[0][1]} "
                f"participants cannot be split {folds} ways with both outcomes in every training "
                "set. Use fewer --folds or --inner-folds, or omit --group-by if it was given."
            )
    return splits

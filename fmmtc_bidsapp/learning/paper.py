"""The tables of the paper (arXiv 2503.00210) as data, and what of them a cohort allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.arms import UNKNOWN_ARM
from fmmtc_bidsapp.learning.chance import RANDOM
from fmmtc_bidsapp.learning.experiments import rehearse_fold
from fmmtc_bidsapp.learning.splits import outer_folds
from fmmtc_bidsapp.options import ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Fold, Ints

__all__ = [
    "FEATURES",
    "PAPER",
    "TABLE_4",
    "Domain",
    "PaperRow",
    "domains",
    "paper_models",
    "paper_rows",
]


@dataclass(frozen=True)
class PaperRow:
    """A line of a table: which model it is of, and why it has no figures where it has none."""

    table: str | None
    """None for a model that is in no table of the paper."""
    row: int | None
    model: str
    """A key of `fmmtc_bidsapp.learning.models.MODELS`, or ``random``."""
    title: str
    note: str = ""
    """What to know of the line."""
    possible: bool = True
    """False where the line cannot be had; `note` then says why."""


TABLE_1, TABLE_3, TABLE_4, FIGURE_2A = "Table 1", "Table 3", "Table 4", "Fig. 2a"

_FUSIONS = {
    "cross-attention": "Unidirectional cross-attention",
    "bidirectional-cross-attention": "Bidirectional cross-attention",
    "mixture-of-experts": "Mixture of experts",
    "sum": "Sum",
    "concat": "Concatenation",
}
_METHODS = {
    RANDOM: "Random (1,000 draws)",
    "lstm": "LSTM on TS",
    "bnt": "Brain Network Transformer on FC",
    "resnet-ts": "ResNet on TS",
    "resnet-fc": "ResNet on FC",
    "brainlm-untrained": "BrainLM on TS without pre-training",
    "brainlm-tuned": "BrainLM on TS with pre-training, fine-tuned",
    "fmmtc-untrained": "FMM_TC without pre-training",
    "fmmtc": "FMM_TC with pre-training",
}
_CLASSIFIERS = {"svm": "SVM", "ridge": "Ridge", "knn": "k-NN", "xgboost": "XGBoost"}
_FEATURES = {
    "ts": "raw TS",
    "fc": "raw FC",
    "pca-ts": "PCA(TS)",
    "pca-fc": "PCA(FC)",
    "encoder": "BrainLM(TS)",
    "fused": "R_TC",
}
FEATURES = tuple(_FEATURES)
"""What the classifiers of Fig. 2a see, by the names of ``--features``."""


def _table(name: str, titles: dict[str, str]) -> list[PaperRow]:
    lines = enumerate(titles.items(), start=1)
    return [PaperRow(name, number, model, title) for number, (model, title) in lines]


PAPER: tuple[PaperRow, ...] = (
    *_table(TABLE_1, {f"fmmtc-{fusion}": title for fusion, title in _FUSIONS.items()}),
    *_table(TABLE_3, _METHODS),
    *_table(
        FIGURE_2A,
        {
            f"{classifier}-{features}": f"{name} on {seen}"
            for features, seen in _FEATURES.items()
            for classifier, name in _CLASSIFIERS.items()
        },
    ),
    # The paper fine-tunes; frozen, the encoder costs nothing more and shows what tuning adds.
    PaperRow(None, None, "brainlm", "BrainLM on TS with pre-training, frozen"),
)
"""Every line but those of Table 4, which depend on the arms of the cohort (`domains`)."""

_UNTRAINED = {"brainlm-untrained": "brainlm", "fmmtc-untrained": "fmmtc"}
_TUNED = "brainlm-tuned"
"""The one model that holds an encoder of its own, whatever the people went through."""
_PRE_TRAINED = frozenset({_TUNED, "fmmtc"})
_NO_CHECKPOINT = "needs the published checkpoint of the encoder: --encoder brainlm"
_WITHOUT = "encoder without pre-training"


def paper_rows(
    options: ModelOptions, features: Sequence[str], missing: Callable[[str], Sequence[str]]
) -> tuple[PaperRow, ...]:
    """Say of every line of Table 1, Table 3 and Fig. 2a which model it is of, or why it is not had.

    Parameters
    ----------
    options : ModelOptions
        With ``--encoder random`` the models named ``fmmtc`` and ``brainlm`` are the lines "without
        pre-training", and the lines "with" cannot be had. ``--fusion`` is that of ``fmmtc``.
    features : sequence of str
        ``--features``: the lines of Fig. 2a that are wanted, all when empty.
    missing : callable
        What a model needs and the cohort has not, in words
        (`fmmtc_bidsapp.learning.models.missing_needs`).

    Returns
    -------
    tuple of PaperRow
        In the order of `PAPER`.
    """
    wanted = [
        each
        for each in PAPER
        if (each.table != FIGURE_2A or not features or _features_of(each) in features)
        and (each.table is not None or options.encoder != "random")
    ]
    rows = [_with_fusion(_with_encoder(each, options.encoder), options.fusion) for each in wanted]
    return tuple(_with_needs(each, missing) for each in rows)


def paper_models(rows: Sequence[PaperRow], main: str) -> tuple[str, ...]:
    """List the models to fit for some lines, the main one first and none twice."""
    names = [each.model for each in rows if each.possible and each.model != RANDOM]
    return tuple(dict.fromkeys([*(name for name in names if name == main), *names]))


def _features_of(row: PaperRow) -> str:
    return row.model.partition("-")[2]


def _with_encoder(row: PaperRow, encoder: str) -> PaperRow:
    if encoder == "none" and row.model == _TUNED:
        return replace(row, possible=False, note=_NO_CHECKPOINT)
    if encoder != "random":
        return row
    if row.table == TABLE_3:
        if row.model in _PRE_TRAINED:
            return replace(row, possible=False, note=_NO_CHECKPOINT)
        return replace(row, model=_UNTRAINED.get(row.model, row.model))
    reads_encoder = row.table == TABLE_1 or _features_of(row) in ("encoder", "fused")
    return replace(row, note=_WITHOUT) if reads_encoder else row


def _with_fusion(row: PaperRow, fusion: str) -> PaperRow:
    """``fmmtc`` is fitted once, whichever fusion it is told to have."""
    return replace(row, model="fmmtc") if row.model == f"fmmtc-{fusion}" else row


def _with_needs(row: PaperRow, missing: Callable[[str], Sequence[str]]) -> PaperRow:
    lacks = () if row.model == RANDOM or not row.possible else missing(row.model)
    return replace(row, possible=False, note=f"needs {' and '.join(lacks)}") if lacks else row


@dataclass(frozen=True, eq=False)
class Domain:
    """A cell of Table 4: whom a model learns from, and whom it is put to the test on."""

    train_on: str
    """Arm."""
    test_on: str
    """The same arm, by cross-validation within it, or another."""
    folds: tuple[Fold, ...]
    """Rows of the whole cohort; empty where the cell cannot be had."""
    note: str = ""
    """Why it cannot be had, or what to know of it."""


def domains(
    arms: Sequence[str],
    strata: Sequence[str],
    options: TrainOptions,
    seed: int,
    groups: Sequence[str] | None = None,
    calibration: str = "sigmoid",
) -> tuple[Domain, ...]:
    """Train on each arm; test within it by cross-validation, and on every other arm.

    Parameters
    ----------
    arms : sequence of str
        (person,) value of ``--subset-by``; who has none is in no arm.
    strata : sequence of str
        (person,) label that folds are balanced on, the outcome first.
    options : TrainOptions
        Outer folds, repeats, and the inner folds that every training set must allow.
    seed : int
        Seed of the splits within an arm.
    groups : sequence of str, optional
        (person,) site or family; nobody is tested by a model that saw one of their own, so people
        of another arm who share a group with a training person are not tested.
    calibration : str, optional
        ``EvaluationOptions.calibration``, which may need more people than an arm has.

    Returns
    -------
    tuple of Domain
        For each pair of arms, the same arm first. No two folds have the same repeat and number,
        and none has that of a fold of the whole cohort. A cell of which any fold could not be
        split within has none, and says why.
    """
    levels = sorted(set(arms) - {UNKNOWN_ARM})
    members = {level: np.flatnonzero([each == level for each in arms]) for level in levels}
    first = options.folds
    found: list[Domain] = []
    for level in levels:
        found.append(_within(level, members[level], strata, options, seed, groups, first))
        first += options.folds
        for other in (other for other in levels if other != level):
            found.append(_across(level, other, members, groups, first))
            first += 1

    def rehearse(fold: Fold) -> None:
        rehearse_fold(fold, strata, groups, options, calibration, seed)

    return tuple(_if_possible(each, rehearse) for each in found)


def _if_possible(cell: Domain, rehearse: Callable[[Fold], None]) -> Domain:
    try:
        for fold in cell.folds:
            rehearse(fold)
    except InputError as error:
        return _too_small(cell.train_on, cell.test_on, error)
    return cell


def _too_small(level: str, other: str, error: InputError) -> Domain:
    return Domain(level, other, (), f"{level} is too small to train on: {error}")


def _within(
    level: str,
    rows: Ints,
    strata: Sequence[str],
    options: TrainOptions,
    seed: int,
    groups: Sequence[str] | None,
    first: int,
) -> Domain:
    own = [strata[row] for row in rows]
    own_groups = None if groups is None else [groups[row] for row in rows]
    try:
        splits = outer_folds(own, options.folds, options.repeats, seed, own_groups)
    except InputError as error:
        return _too_small(level, level, error)
    folds = [
        Fold(each.repeat, first + each.fold, rows[each.train], rows[each.test]) for each in splits
    ]
    return Domain(level, level, tuple(folds))


def _across(
    level: str,
    other: str,
    members: Mapping[str, Ints],
    groups: Sequence[str] | None,
    number: int,
) -> Domain:
    train, test = members[level], members[other]
    seen = set() if groups is None else {groups[row] for row in train}
    kept = np.array([row for row in test if groups is None or groups[row] not in seen], dtype=int)
    lost = len(test) - len(kept)
    note = f"{lost} of {len(test)} people share a --group-by value with {level}" if lost else ""
    if not len(kept):
        return Domain(level, other, (), note)
    return Domain(level, other, (Fold(0, number, train, kept),), note)

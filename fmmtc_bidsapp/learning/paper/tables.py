"""The tables of the paper (arXiv 2503.00210) as data, and which rows a cohort allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.evaluation.subgroups import UNKNOWN_ARM
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan, outer_folds
from fmmtc_bidsapp.learning.paper.random_baseline import RANDOM
from fmmtc_bidsapp.models.encoders.registry import encoder_title
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Fold, Ints

__all__ = [
    "FEATURES",
    "PAPER",
    "TABLE_4",
    "TABLE_4_MODELS",
    "Domain",
    "PaperRow",
    "domains",
    "folds_to_fit",
    "paper_models",
    "paper_rows",
]


@dataclass(frozen=True)
class PaperRow:
    """A line of a table: its model, or why it has no figures."""

    table: str | None
    """None for a model that is in no table of the paper."""
    row: int | None
    model: str
    """A key of `fmmtc_bidsapp.learning.estimators.models.MODELS`, or ``random``."""
    title: str
    note: str = ""
    """A remark."""
    possible: bool = True
    """False where there can be no figures; `note` gives the reason."""


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
    "brainlm-untrained": "BrainLM on TS without pre-training, frozen",
    "brainlm-scratch": "BrainLM on TS without pre-training, trained from scratch",
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


_SECOND_READINGS = frozenset({"brainlm-scratch"})
"""Models that share the row before them: row 6 of Table 3 does not say whether BrainLM without
pre-training is frozen or trained, so both are fitted (docs/paper.md)."""


def _table(name: str, titles: dict[str, str]) -> list[PaperRow]:
    rows, number = [], 0
    for model, title in titles.items():
        number += model not in _SECOND_READINGS
        rows.append(PaperRow(name, number, model, title))
    return rows


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

TABLE_4_MODELS = ("fmmtc", "brainlm-tuned", "brainlm")
"""Models of Table 4, of which those are fitted that the comparison fits anyway."""

_UNTRAINED = {"brainlm-untrained": "brainlm", "fmmtc-untrained": "fmmtc"}
_TUNED = "brainlm-tuned"
"""The one model that contains an encoder."""
_PRE_TRAINED = frozenset({_TUNED, "fmmtc"})
_NO_CHECKPOINT = "needs the published checkpoint of the encoder: --encoder brainlm"
_WITHOUT = "encoder without pre-training"


def paper_rows(
    options: ModelOptions, features: Sequence[str], missing: Callable[[str], Sequence[str]]
) -> tuple[PaperRow, ...]:
    """Return the lines of Table 1, Table 3 and Fig. 2a with their models, or why they have none.

    With ``--encoder random`` the models named ``fmmtc`` and ``brainlm`` are the lines "without
    pre-training", and the lines "with" have no model. `features` selects lines of Fig. 2a (all
    if empty); `missing` is `missing_needs` of the cohort.
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
    """Return the models to fit for some lines, the main one first."""
    names = [each.model for each in rows if each.possible and each.model != RANDOM]
    return tuple(dict.fromkeys([*(name for name in names if name == main), *names]))


def _features_of(row: PaperRow) -> str:
    return row.model.partition("-")[2]


def _with_encoder(row: PaperRow, encoder: str) -> PaperRow:
    if encoder == "none" and row.model == _TUNED:
        return replace(row, possible=False, note=_NO_CHECKPOINT)
    if encoder not in ("brainlm", "none", "random"):
        return _with_other_encoder(row, encoder)
    if encoder != "random":
        return row
    if row.table == TABLE_3:
        if row.model in _PRE_TRAINED:
            return replace(row, possible=False, note=_NO_CHECKPOINT)
        return replace(row, model=_UNTRAINED.get(row.model, row.model))
    reads_encoder = row.table == TABLE_1 or _features_of(row) in ("encoder", "fused")
    return replace(row, note=_WITHOUT) if reads_encoder else row


def _with_other_encoder(row: PaperRow, encoder: str) -> PaperRow:
    """Name the encoder of another package by its title; BrainLM's own lines have no model."""
    if row.model == _TUNED or row.model in _UNTRAINED:
        return replace(row, possible=False, note=_NO_CHECKPOINT)
    title = encoder_title(encoder)
    if row.model == "brainlm":
        return replace(row, title=f"{title} on TS, frozen")
    if _features_of(row) == "encoder":
        return replace(row, title=row.title.replace(_FEATURES["encoder"], f"{title}(TS)"))
    reads_encoder = row.table == TABLE_1 or row.model == "fmmtc" or _features_of(row) == "fused"
    return replace(row, note=f"encoder: {title}") if reads_encoder else row


def _with_fusion(row: PaperRow, fusion: str) -> PaperRow:
    """``fmmtc`` is fitted once, with the fusion of ``--fusion``."""
    return replace(row, model="fmmtc") if row.model == f"fmmtc-{fusion}" else row


def _with_needs(row: PaperRow, missing: Callable[[str], Sequence[str]]) -> PaperRow:
    lacks = () if row.model == RANDOM or not row.possible else missing(row.model)
    return replace(row, possible=False, note=f"needs {' and '.join(lacks)}") if lacks else row


@dataclass(frozen=True, eq=False)
class Domain:
    """A cell of Table 4: the arm to train on, and the arm to test on."""

    train_on: str
    """Arm."""
    test_on: str
    """The same arm, by cross-validation within it, or another."""
    folds: tuple[Fold, ...]
    """Rows of the whole cohort; empty where the cell cannot be fitted. Folds of the same repeat and
    number in cells of one `train_on` share their training rows, and so their fit."""
    note: str = ""
    """The reason for no folds, or a remark."""


def domains(arms: Sequence[str], plan: SplitPlan) -> tuple[Domain, ...]:
    """Return Table 4: train on each arm; test within it by folds, and on every other arm.

    As printed in the paper, figures out of domain are means and SDs over fits: the model of
    every fold within the arm also predicts everyone of the other arms. An arm too small to be
    split, but large enough to train on, is trained on whole, once. People who share a group
    with the training arm are not tested. No fold has the number of a fold of the whole cohort.
    A cell that cannot be fitted has no folds and a note.
    """
    levels = sorted(set(arms) - {UNKNOWN_ARM})
    members = {level: np.flatnonzero([each == level for each in arms]) for level in levels}
    found: list[Domain] = []
    for i, level in enumerate(levels):
        first = plan.train.folds * (1 + i)
        within = _within(level, members[level], plan, first)
        found.append(within)
        fits = within.folds or (Fold(0, first, members[level], np.empty(0, dtype=np.int64)),)
        found += [_across(level, other, members, plan, fits) for other in levels if other != level]
    return tuple(found)


def folds_to_fit(cells: Sequence[Domain]) -> tuple[Fold, ...]:
    """Return every training set of some cells once, with everyone whom any cell tests on it."""
    shared: dict[tuple[int, int], Fold] = {}
    for fold in (fold for cell in cells for fold in cell.folds):
        known = shared.get((fold.repeat, fold.fold))
        test = fold.test if known is None else np.concatenate([known.test, fold.test])
        shared[fold.repeat, fold.fold] = replace(fold, test=test)
    return tuple(shared.values())


def _within(level: str, rows: Ints, plan: SplitPlan, first: int) -> Domain:
    """Split the rows of an arm into folds that are numbered from `first`."""
    strata = [plan.strata[row] for row in rows]
    groups = None if plan.groups is None else [plan.groups[row] for row in rows]
    try:
        splits = outer_folds(strata, plan.train.folds, plan.train.repeats, plan.seed, groups)
        folds = tuple(
            Fold(each.repeat, first + each.fold, rows[each.train], rows[each.test])
            for each in splits
        )
        for fold in folds:
            plan.check_fold(fold)
    except InputError as error:
        return Domain(level, level, (), _too_small(level, error))
    return Domain(level, level, folds)


def _too_small(level: str, error: InputError) -> str:
    return f"{level} is too small to train on: {error}"


def _across(
    level: str, other: str, members: Mapping[str, Ints], plan: SplitPlan, fits: Sequence[Fold]
) -> Domain:
    """Test the fits of an arm on everyone of another arm who shares no group with it."""
    train, test, groups = members[level], members[other], plan.groups
    seen = set() if groups is None else {groups[row] for row in train}
    kept = np.array([row for row in test if groups is None or groups[row] not in seen], dtype=int)
    lost = len(test) - len(kept)
    note = (
        f"{lost} of {len(test)} participants share a --group-by value with {level}" if lost else ""
    )
    if not len(kept):
        return Domain(level, other, (), note)
    folds = tuple(replace(fit, test=kept) for fit in fits)
    try:
        for fold in folds:
            plan.check_fold(fold)
    except InputError as error:
        return Domain(level, other, (), _too_small(level, error))
    return Domain(level, other, folds, note)

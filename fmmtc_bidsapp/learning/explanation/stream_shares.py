"""Share of each stream in a prediction (Fig. 2b of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients

from fmmtc_bidsapp.learning.explanation.model_parts import Branches, branches_of
from fmmtc_bidsapp.learning.metrics.intervals import (
    bootstrap_interval,
    corrected_interval,
)
from fmmtc_bidsapp.learning.metrics.scores import shuffled_aurocs
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel
from fmmtc_bidsapp.learning.seeds import BOOTSTRAP, derive_seed
from fmmtc_bidsapp.records import Examples, Floats, FoldExplanation, Ints, ModalityShare
from fmmtc_bidsapp.stats import bootstrap_weights

__all__ = [
    "modality_shares",
    "replaced_logits",
    "share_of_streams",
    "stream_masses",
    "stream_modalities",
]

_FIRST_STEPS, _MOST_STEPS = 16, 4096
_TOLERANCE = 0.01
"""Share of a person's whole mass that the integral may miss."""
_BATCH = 4


def stream_modalities(model: FittedModel) -> tuple[str, ...]:
    """Return the modality of each stream of `stream_masses`; none without gradients."""
    branches = branches_of(model.fitted)
    return () if branches is None else branches.modalities


def stream_masses(
    model: FittedModel, examples: Examples, rows: Ints, train_rows: Ints
) -> Floats | None:
    """Attribute the logit to the features of each stream at their fusion, (person, stream).

    Integrated gradients of fusion and head (Sundararajan, Taly & Yan 2017, arXiv 1703.01365)
    from the mean of the training people, in units of the logit: after a concatenation exactly
    weight times distance from the mean. Sums of absolute attributions, NaN if the integral
    misses more than 1 %. None for a model of one stream or without gradients.
    """
    branches = branches_of(model.fitted)
    if branches is None or len(branches.encode) == 1:
        return None
    mean = tuple(
        each.double().mean(dim=0, keepdim=True).float()
        for each in _features(branches, model, examples, train_rows)
    )
    return _masses(branches, _features(branches, model, examples, rows), mean)


@torch.no_grad()
def replaced_logits(
    model: FittedModel, examples: Examples, rows: Ints, train_rows: Ints
) -> Floats | None:
    """Predict people with each stream in turn at its training mean, (person, 1 + stream).

    The logit as it is comes first. None as in `stream_masses`.
    """
    branches = branches_of(model.fitted)
    if branches is None or len(branches.encode) == 1:
        return None
    own = _features(branches, model, examples, rows)
    mean = [
        each.double().mean(dim=0, keepdim=True).float().expand(len(rows), -1)
        for each in _features(branches, model, examples, train_rows)
    ]
    without = [(*own[:i], each, *own[i + 1 :]) for i, each in enumerate(mean)]
    seen = (own, *without)
    return np.stack([branches.join(*each).double().cpu().numpy() for each in seen], axis=1)


@torch.no_grad()
def _features(
    branches: Branches, model: FittedModel, examples: Examples, rows: Ints
) -> tuple[torch.Tensor, ...]:
    """(person, width) features of each stream, in the arithmetic of predictions."""
    source = branches.source
    inputs = source.prepare(examples.take(rows))
    found = []
    for batch in inputs.batches(_BATCH):
        pairs = zip(branches.encode, batch, strict=True)
        found.append([encode(each).float() for encode, each in pairs])
    return tuple(torch.cat(each) for each in zip(*found, strict=True))


def _masses(
    branches: Branches, features: tuple[torch.Tensor, ...], mean: tuple[torch.Tensor, ...]
) -> Floats:
    method: Any = IntegratedGradients(branches.join)
    steps = 1 if branches.is_additive else _FIRST_STEPS
    while True:
        attributions, error = method.attribute(
            features,
            baselines=mean,
            n_steps=steps,
            internal_batch_size=len(features[0]),
            return_convergence_delta=True,
        )
        each_mass = [own.double().abs().sum(dim=1).cpu().numpy() for own in attributions]
        masses: Floats = np.stack(each_mass, axis=1)
        missed = error.double().abs().cpu().numpy() > _TOLERANCE * masses.sum(axis=1)
        if not missed.any() or 2 * steps > _MOST_STEPS:
            return np.where(missed[:, None], np.nan, masses)
        steps = max(2 * steps, _FIRST_STEPS)


def modality_shares(
    folds: Sequence[FoldExplanation],
    y: Ints,
    seed: int,
    n_bootstrap: int,
    nulls: Mapping[str, Floats] | None = None,
) -> tuple[ModalityShare, ...]:
    """Summarise the share of each stream, by model; those without streams are left out.

    `y` (person,) gives the AUROC lost without a stream; `nulls` are (shuffle, stream) shares of
    models of shuffled outcomes, by model; intervals are over `n_bootstrap` draws of people.
    """
    by_model: dict[str, list[FoldExplanation]] = {}
    for each in folds:
        if each.streams is not None:
            by_model.setdefault(each.model, []).append(each)
    return tuple(
        share
        for model, own in by_model.items()
        for share in _shares(own, y, seed, n_bootstrap, (nulls or {}).get(model))
    )


def _shares(
    folds: Sequence[FoldExplanation], y: Ints, seed: int, n_bootstrap: int, null: Floats | None
) -> tuple[ModalityShare, ...]:
    found: dict[int, list[Floats]] = {}
    for each in folds:
        for row, shares in zip(each.fold.test.tolist(), share_of_streams(each), strict=True):
            if not np.isnan(shares).any():
                found.setdefault(row, []).append(shares)
    # Repeats of the cross-validation see the same people again, and are no more people.
    people = np.array([np.mean(own, axis=0) for own in found.values()])
    if not len(people):
        return ()
    rng = np.random.default_rng(derive_seed(seed, BOOTSTRAP))
    weights = bootstrap_weights(np.zeros(len(people), dtype=np.int64), n_bootstrap, rng)
    known = np.zeros((0, people.shape[1])) if null is None else null[~np.isnan(null).any(axis=1)]
    modalities = folds[0].modalities
    if len(modalities) == 2:
        # What one of two leaves is the other's, to the last digit of every table.
        known = np.stack([known[:, 0], 1 - known[:, 0]], axis=1)
    figures = [
        (float(own.mean()), *bootstrap_interval(weights @ own / len(people)), _fold_sd(folds, i))
        for i, own in enumerate(people.T)
    ]
    if len(modalities) == 2:
        mean, low, high, fold_sd = figures[0]
        figures[1] = (1 - mean, 1 - high, 1 - low, fold_sd)
    return tuple(
        ModalityShare(
            folds[0].model,
            name,
            *figures[i],
            len(people),
            *_auroc_lost(folds, y, i + 1),
            *_spread(known[:, i]),
            n_null=len(known),
        )
        for i, name in enumerate(modalities)
    )


def _fold_sd(folds: Sequence[FoldExplanation], stream: int) -> float:
    own = [share_of_streams(each)[:, stream] for each in folds]
    by_fold = np.array([np.nanmean(each) for each in own if not np.isnan(each).all()])
    return float(by_fold.std(ddof=1)) if len(by_fold) > 1 else float("nan")


def _spread(null: Floats) -> tuple[float, float, float]:
    """Mean and 95 % quantiles of (shuffle,) shares; NaN without any."""
    if not len(null):
        return (float("nan"),) * 3
    low, high = np.quantile(null, (0.025, 0.975))
    return float(null.mean()), float(low), float(high)


def _auroc_lost(
    folds: Sequence[FoldExplanation], y: Ints, column: int
) -> tuple[float, float, float]:
    """Return the mean over folds of the AUROC lost without a stream, and its corrected interval."""
    there = [each for each in folds if each.replaced is not None]
    if not there:
        return (float("nan"),) * 3
    lost = np.array([_lost(each, y[each.fold.test], column) for each in there])
    known = lost[~np.isnan(lost)]
    if not len(known):
        return (float("nan"),) * 3
    low, high = corrected_interval(
        lost,
        n_train=float(np.mean([len(each.fold.train) for each in there])),
        n_test=float(np.mean([len(each.fold.test) for each in there])),
        n_repeats=len({each.fold.repeat for each in there}),
    )
    return float(known.mean()), low, high


def _lost(explanation: FoldExplanation, y: Ints, column: int) -> float:
    logits = np.asarray(explanation.replaced).T
    whole, without = shuffled_aurocs(logits[[0, column]], np.stack([y, y]))
    return float(whole - without)


def share_of_streams(explanation: FoldExplanation) -> Floats:
    """(person, stream) each stream's part of the whole; NaN where there is none."""
    masses = np.asarray(explanation.streams)
    total = masses.sum(axis=1, keepdims=True)
    share: Floats = np.divide(masses, total, out=np.full(masses.shape, np.nan), where=total > 0)
    return share

"""Explain a model on its test participants, and on shuffled outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.explanation.attribution import attribute, can_attribute
from fmmtc_bidsapp.learning.explanation.cohort_maps import NullMaps, null_maps
from fmmtc_bidsapp.learning.explanation.haufe import haufe_pattern, shuffled_patterns
from fmmtc_bidsapp.learning.explanation.stream_shares import (
    replaced_logits,
    stream_masses,
    stream_modalities,
)
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel, refit_seed
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.options import ExplainOptions
from fmmtc_bidsapp.records import Calibration, Examples, Fold, FoldExplanation, Ints

__all__ = ["can_attribute", "explain_fold", "explain_null"]

_WHOLE = "parcels"


def explain_fold(
    model: FittedModel,
    examples: Examples,
    fold: Fold,
    options: ExplainOptions,
    *,
    encoder: Encoder | None,
    seed: int,
) -> FoldExplanation:
    """Explain a model on the test people of the fold that it was fitted on.

    Stream shares of every network of several streams; maps of networks only with ``--explain
    parcels``, of linear models always. `encoder` is needed for maps through it. InputError for
    surrogates without series.
    """
    streams = stream_masses(model, examples, fold.test, fold.train)
    replaced = replaced_logits(model, examples, fold.test, fold.train)
    is_network = MODELS[model.name].is_network
    if can_attribute(model.name) or (is_network and options.explain != _WHOLE):
        return FoldExplanation(
            model.name,
            fold,
            "integrated gradients",
            streams=streams,
            replaced=replaced,
            modalities=stream_modalities(model),
        )
    if not is_network:
        return haufe_pattern(model, examples, fold)
    found = attribute(model, examples, fold, options, encoder=encoder, seed=seed)
    return replace(found, streams=streams, replaced=replaced, modalities=stream_modalities(model))


def explain_null(
    name: str,
    examples: Examples,
    fold: Fold,
    labels: Ints,
    epoch: int,
    setup: Setup,
    options: ExplainOptions,
    *,
    encoder: Encoder | None,
    seed: int,
) -> NullMaps:
    """Map models that were fitted to shuffled outcomes.

    No inner folds are run: the epochs are those of the real fit, for a map does not hang on a
    calibration, and a training of another length would be another model.

    Parameters
    ----------
    name : str
        A key of `MODELS` that has a map (`can_attribute`).
    examples : Examples
        The cohort; its own outcomes are not read.
    fold : Fold
        Rows to train on, and people to explain.
    labels : array of int
        (shuffle, person) outcomes, as of
        `fmmtc_bidsapp.learning.model_selection.permutations.permuted_labels`.
    epoch : int
        `FittedModel.epoch` of the real fit.
    setup : Setup
        As the real fit had it.
    options, encoder, seed
        As in `explain_fold`; trained with the seed of the real fit.

    Returns
    -------
    NullMaps
        One map a shuffle. Give those of all folds to
        `fmmtc_bidsapp.learning.explanation.map_tables.summarise`.
    """
    if not MODELS[name].is_network:
        return null_maps(shuffled_patterns(name, examples, fold, labels, setup, seed))
    return null_maps(
        _explain_shuffled(model, examples, fold, options, encoder=encoder, seed=seed)
        for model in _shuffled_fits(name, examples, fold, labels, epoch, setup, seed)
    )


def _explain_shuffled(
    model: FittedModel,
    examples: Examples,
    fold: Fold,
    options: ExplainOptions,
    *,
    encoder: Encoder | None,
    seed: int,
) -> FoldExplanation:
    """Map a network that was fitted to shuffled outcomes, or take its stream shares only."""
    streams = stream_masses(model, examples, fold.test, fold.train)
    if options.explain != _WHOLE:
        return FoldExplanation(
            model.name,
            fold,
            "integrated gradients",
            streams=streams,
            modalities=stream_modalities(model),
        )
    maps = attribute(model, examples, fold, options, encoder=encoder, seed=seed, compare=False)
    return replace(maps, streams=streams, modalities=stream_modalities(model))


def _shuffled_fits(
    name: str,
    examples: Examples,
    fold: Fold,
    labels: Ints,
    epoch: int,
    setup: Setup,
    seed: int,
) -> Iterator[FittedModel]:
    """Fit one after the other; what is not needed to explain a logit is left empty."""
    learner = MODELS[name].learner(setup)
    for y in labels:
        yield FittedModel(
            name=name,
            fitted=learner.fit(replace(examples, y=y), fold.train, epoch, refit_seed(seed, fold)),
            calibration=Calibration("none", 1.0, 0.0, 0.5),
            prevalence=float(y[fold.train].mean()),
            epoch=epoch,
            validation_loss=np.zeros(0),
        )

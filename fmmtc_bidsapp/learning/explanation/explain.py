"""Explain a model on its test participants, and on shuffled outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.explanation.attribution import METHOD, attribute, can_attribute
from fmmtc_bidsapp.learning.explanation.cohort_maps import NullMaps, null_maps
from fmmtc_bidsapp.learning.explanation.haufe import haufe_pattern, shuffled_patterns
from fmmtc_bidsapp.learning.explanation.stream_shares import (
    replaced_logits,
    stream_masses,
    stream_modalities,
)
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, FittedModel, refit_seed
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.options import ExplainOptions
from fmmtc_bidsapp.records import Calibration, Examples, Fold, FoldExplanation, Ints

__all__ = ["can_attribute", "explain_fold", "explain_null"]


def explain_fold(
    model: FittedModel,
    examples: Examples,
    fold: Fold,
    options: ExplainOptions,
    *,
    encoder: Encoder | None,
    seed: int,
    is_null: bool = False,
) -> FoldExplanation:
    """Explain a model on the test people of the fold that it was fitted on.

    Stream shares of every network of several streams; maps of networks only with ``--explain
    parcels``, of linear models always. `encoder` is needed for maps through it. A null explanation
    is without other baselines and replaced streams. InputError for surrogates without series.
    """
    is_network = MODELS[model.name].is_network
    shares = FoldExplanation(
        model.name,
        fold,
        METHOD,
        streams=stream_masses(model, examples, fold.test, fold.train),
        replaced=None if is_null else replaced_logits(model, examples, fold.test, fold.train),
        modalities=stream_modalities(model),
    )
    if can_attribute(model.name) or (is_network and options.explain != "parcels"):
        return shares
    if not is_network:
        return haufe_pattern(model, examples, fold)
    found = attribute(
        model, examples, fold, options, encoder=encoder, seed=seed, compare=not is_null
    )
    return replace(
        found, streams=shares.streams, replaced=shares.replaced, modalities=shares.modalities
    )


def explain_null(
    analysis: Analysis,
    name: str,
    fold: Fold,
    labels: Ints,
    epoch: int,
    options: ExplainOptions,
    encoder: Encoder | None,
) -> NullMaps:
    """Map a model (`can_attribute`) fitted to each of the (shuffle, person) outcomes.

    Trained for the epochs and with the seed of the real fit, without inner folds: a map does not
    depend on the calibration, and a training of another length would be another model.
    """
    if not MODELS[name].is_network:
        return null_maps(shuffled_patterns(analysis, name, fold, labels))
    return null_maps(
        explain_fold(
            model,
            analysis.examples,
            fold,
            options,
            encoder=encoder,
            seed=analysis.seed,
            is_null=True,
        )
        for model in _shuffled_fits(analysis, name, fold, labels, epoch)
    )


def _shuffled_fits(
    analysis: Analysis, name: str, fold: Fold, labels: Ints, epoch: int
) -> Iterator[FittedModel]:
    """Fit one after the other; fields that the explanation of a logit does not need are empty."""
    learner, seed = MODELS[name].learner(analysis.setup), refit_seed(analysis.seed, fold)
    for y in labels:
        yield FittedModel(
            name=name,
            fitted=learner.fit(replace(analysis.examples, y=y), fold.train, epoch, seed),
            calibration=Calibration("none", 1.0, 0.0, 0.5),
            prevalence=float(y[fold.train].mean()),
            epoch=epoch,
            validation_loss=np.zeros(0),
        )

"""Haufe patterns: the features that covary with the output of a linear model.

A weight of a linear model extracts a signal: an edge can have a large weight only because it
cancels the noise of another edge. The pattern is the change of the data with the output, which a
map can show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.explanation.map_values import over_time
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, FittedModel, refit_seed
from fmmtc_bidsapp.records import Examples, Floats, Fold, FoldExplanation, Ints
from fmmtc_bidsapp.stats import LARGEST_SINGLE, fisher_z

__all__ = ["haufe_pattern", "shuffled_patterns", "slopes"]

METHOD = "Haufe pattern"

_LEAST_PEOPLE = 3
"""Fewer have no slope worth the name."""


def haufe_pattern(model: FittedModel, examples: Examples, fold: Fold) -> FoldExplanation:
    """Map a linear model: covariance of data and output over the variance of the output.

    Over the training rows, before calibration; one map of ``edges`` in Fisher's z, or of
    ``series``, per unit of the logit (Haufe et al. 2014, doi:10.1016/j.neuroimage.2013.10.067,
    equation 6 for one output). A model that is linear in tangent space is mapped to the edges
    themselves.
    """
    people = examples.take(fold.train)
    return next(_patterns(model.name, people, fold, model.logits(people)[None]))


def shuffled_patterns(
    analysis: Analysis, name: str, fold: Fold, labels: Ints
) -> Iterator[FoldExplanation]:
    """Map a linear model for each of (shuffle, person) outcomes, on features that are made once."""
    examples, learner = analysis.examples, MODELS[name].learner(analysis.setup)
    if not isinstance(learner, ColumnsLearner):
        raise TypeError(f"{name} is not a classifier of columns.")
    seed = refit_seed(analysis.seed, fold)
    logits = learner.shuffled(examples, fold.train, fold.train, labels, seed)
    yield from _patterns(name, examples.take(fold.train), fold, logits)


def _patterns(name: str, seen: Examples, fold: Fold, logits: Floats) -> Iterator[FoldExplanation]:
    """Yield the pattern of each row of (map, training person) logits."""
    if MODELS[name].needs == ("series",):
        yield from _series_patterns(name, seen, fold, logits)
        return
    n_parcels = seen.fc.shape[1]
    first, second = np.triu_indices(n_parcels, k=1)
    for own in slopes(fisher_z(seen.fc[:, first, second], LARGEST_SINGLE), logits):
        edges = np.full((n_parcels, n_parcels), np.nan, dtype=np.float32)
        edges[first, second] = edges[second, first] = own
        yield FoldExplanation(name, fold, METHOD, edges=edges[None])


def _series_patterns(
    name: str, seen: Examples, fold: Fold, logits: Floats
) -> Iterator[FoldExplanation]:
    series = np.asarray(seen.series, dtype=np.float64)
    for own in slopes(series.reshape(len(series), -1), logits):
        signed, size = over_time(own.reshape(series.shape[1:]))
        yield FoldExplanation(name, fold, METHOD, series=signed[None], series_size=size[None])


def slopes(columns: Floats, outputs: Floats) -> Floats:
    """Regress (person, column) on outputs (map, person), -> (map, column).

    Each column over the people who have it; NaN for fewer than three people or outputs that do
    not vary.
    """
    there = ~np.isnan(columns)
    count = there.sum(axis=0)
    shown = there.astype(np.float64)
    known = np.where(there, columns, 0.0)
    centred = np.where(there, columns - known.sum(axis=0) / np.maximum(count, 1), 0.0)
    output = outputs - outputs.mean(axis=1, keepdims=True)
    # The column is centred over its own people, so the covariance needs no mean of the output.
    covariance = output @ centred
    spread = output**2 @ shown - (output @ shown) ** 2 / np.maximum(count, 1)
    sound = (count >= _LEAST_PEOPLE) & (spread > 0)
    nothing = np.full_like(covariance, np.nan)
    found: Floats = np.divide(covariance, spread, out=nothing, where=sound)
    return found

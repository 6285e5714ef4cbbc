"""A small cohort whose encoder features are those of an encoder, so that maps lead through it."""

from __future__ import annotations

import numpy as np

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel
from fmmtc_bidsapp.learning.preprocessing.encode_series import encode_series
from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Calibration, Examples, Fold

SEED = 5


def as_encoder(
    network: BrainLM, examples: Examples, orders: int = 1, window: int | None = None
) -> BrainLMEncoder:
    """Give a network the window of the examples, and the seed of all that is explained here."""
    options = ModelOptions(
        encoder="random",
        normalisation="none",
        window=window or network.config.num_timepoints_per_voxel
        if examples.series is None
        else window or examples.series.shape[2],
        token_orders=orders,
    )
    return BrainLMEncoder(network, options, SEED)


def encoded(
    examples: Examples, encoder: BrainLM, orders: int = 1, window: int | None = None
) -> Examples:
    """Put in place of the features what the encoder makes of the window."""
    own = as_encoder(encoder, examples, orders, window)
    cls = [
        encode_series(
            own,
            series.T.astype(float),
            examples.coordinates_mm,
        ).cls
        for series in examples.series
    ]
    return examples.with_arrays(cls=np.array(cls), cls_random=np.array(cls))


def fold_of(examples: Examples, n_test: int = 4) -> Fold:
    rows = np.arange(len(examples.keys))
    return Fold(repeat=0, fold=0, train=rows[:-n_test], test=rows[-n_test:])


def fitted(
    name: str, examples: Examples, fold: Fold, setup: Setup, epoch: int = 3, seed: int = 1
) -> FittedModel:
    """Train without inner folds: nothing here hangs on a calibration."""
    own = MODELS[name].learner(setup).fit(examples, fold.train, epoch, seed)
    nothing = Calibration("none", 1.0, 0.0, 0.5)
    return FittedModel(name, own, nothing, 0.5, epoch, np.zeros(0))

"""Cohorts that several tests of the room share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fmmtc_bidsapp.learning.learner import Setup
from fmmtc_bidsapp.model.resnet import ResNetSize
from fmmtc_bidsapp.options import ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

PARCELS, WINDOW, HIDDEN = 8, 10, 6


@pytest.fixture(scope="session")
def setup() -> Setup:
    return Setup(
        TrainOptions(folds=5, inner_folds=2, epochs=3, batch_size=4, learning_rate=5e-3),
        ModelOptions(encoder="random"),
        torch.device("cpu"),
        torch.float32,
        ResNetSize(hidden_sizes=(4, 8), depths=(1, 1)),
    )


@pytest.fixture(scope="session")
def whole_cohort() -> Callable[..., Examples]:
    """People with everything a model could ask for, whose outcome shows in `effect` SD of each."""

    def make(n: int = 24, effect: float = 0.0, seed: int = 0) -> Examples:
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.tile([0, 1], n // 2))
        shift = effect * y
        series = rng.normal(size=(n, PARCELS, WINDOW)) + shift[:, None, None]
        signal = rng.normal(size=(n, 40, PARCELS))
        signal[:, :, :4] += shift[:, None, None] * rng.normal(size=(n, 40, 1))
        return Examples(
            keys=tuple(f"sub-{i:03d}" for i in range(n)),
            cls=16 + 0.01 * (rng.normal(size=(n, HIDDEN)) + shift[:, None]),
            fc=np.stack([np.corrcoef(each.T) for each in signal]).astype(np.float32),
            y=y,
            strata=tuple(map(str, y)),
            series=series.astype(np.float32),
            covariates=rng.normal(size=(n, 2)) + shift[:, None],
            covariate_names=("age", "dose"),
            mean_fd_mm=rng.normal(size=n) + shift,
        )

    return make

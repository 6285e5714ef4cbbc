"""Cohorts that several tests of the room share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.networks.brain_network_transformer import BrainNetworkSize
from fmmtc_bidsapp.models.networks.resnet import ResNetSize
from fmmtc_bidsapp.options import ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

PARCELS, WINDOW, HIDDEN = 8, 10, 6
ENCODER = BrainLMSize(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    conv_kernel_size=3,
    timepoint_patching_size=5,
    num_timepoints_per_voxel=WINDOW,
)


@pytest.fixture(scope="session")
def setup() -> Setup:
    return Setup(
        TrainOptions(folds=5, inner_folds=2, epochs=3, batch_size=4, learning_rate=5e-3),
        ModelOptions(encoder="random"),
        torch.device("cpu"),
        torch.float32,
        ResNetSize(hidden_sizes=(4, 8), depths=(1, 1)),
        BrainNetworkSize(
            n_layers=1,
            n_heads=2,
            feedforward=16,
            n_clusters=4,
            cluster_features=4,
            perceptron=(8,),
            dropout=0.1,
        ),
        BrainLM.from_size(ENCODER, torch.Generator().manual_seed(0)),
        brainlm=ENCODER,
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
            arrays={
                "cls": 16 + 0.01 * (rng.normal(size=(n, HIDDEN)) + shift[:, None]),
                "fc": np.stack([np.corrcoef(each.T) for each in signal]).astype(np.float32),
                "series": series.astype(np.float32),
                "cls_random": 4 + 0.01 * (rng.normal(size=(n, HIDDEN)) + shift[:, None]),
            },
            y=y,
            strata=tuple(map(str, y)),
            covariates=rng.normal(size=(n, 2)) + shift[:, None],
            covariate_names=("age", "dose"),
            mean_fd_mm=rng.normal(size=n) + shift,
            acquisition=rng.normal(size=(n, 1)) + shift[:, None],
            acquisition_names=("volumes",),
            coordinates_mm=rng.normal(scale=40, size=(PARCELS, 3)),
        )

    return make

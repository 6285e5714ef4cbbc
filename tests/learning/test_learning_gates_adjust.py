"""The gate of --adjust: where the covariates are all there is to read, nothing is left to read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning_fits import permuted_aurocs

from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples

COHORTS, N, PARCELS, HIDDEN, WINDOW = 100, 56, 30, 8, 20
EVALUATION = EvaluationOptions()
LINEAR = [name for name, model in MODELS.items() if model.adjustment == "columns"]
QUICK = ("ridge-encoder",)


def confounded_cohort(seed: int, strength: float = 0.0) -> Examples:
    """Noise, and a covariate that is the outcome in 90 %; `strength` lets it into all features."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile([0, 1], N // 2))
    covariate = np.where(rng.permutation(N) < round(0.1 * N), 1 - y, y)
    signal = rng.normal(size=(N, 80, PARCELS))
    signal[:, :, :10] += strength * covariate[:, None, None] * rng.normal(size=(N, 80, 1))
    # Amplitude, which has no mean over people volume by volume.
    series = rng.normal(size=(N, PARCELS, WINDOW)) * (1 + strength * covariate[:, None, None])
    skewed = rng.lognormal(size=(N, 2, HIDDEN)) + strength * covariate[:, None, None]
    return Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(N)),
        arrays={
            "cls": skewed[:, 0],
            "cls_random": skewed[:, 1],
            "fc": np.stack([np.corrcoef(each.T) for each in signal]).astype(np.float32),
            "series": series.astype(np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
        covariates=covariate[:, None].astype(float),
        covariate_names=("dose",),
        coordinates_mm=np.random.default_rng(0).normal(scale=40, size=(PARCELS, 3)),
    )


def folds_of(examples: Examples, seed: int):
    return outer_folds(examples.strata, 5, 1, seed)


def linear_auroc(name, examples, setup, seed):
    aurocs = [
        permuted_aurocs([name], examples, fold, examples.y[None], setup, EVALUATION, seed=seed)
        for fold in folds_of(examples, seed)
    ]
    return np.mean(aurocs)


def slow(names):
    return [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in names]


@pytest.mark.parametrize("name", slow(LINEAR))
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_an_adjusted_model_reads_no_covariate_out_of_noise(name, strength, setup):
    adjusting = replace(setup, adjust=True)
    aurocs = [
        linear_auroc(name, confounded_cohort(seed, strength), adjusting, seed)
        for seed in range(30 if name in QUICK else COHORTS)
    ]
    print(f"{name}, strength {strength}: {np.mean(aurocs):.3f}, SD {np.std(aurocs):.3f}")
    assert np.mean(aurocs) == pytest.approx(0.5, abs=0.03)

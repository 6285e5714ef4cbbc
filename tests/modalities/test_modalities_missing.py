"""Participants who lack a modality: filled in by its preparation, or an error, never a silent 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS, NetworkKind, Stream
from fmmtc_bidsapp.learning.estimators.shared_training import NetworkLearner
from fmmtc_bidsapp.modalities.modality import FILL, Modality
from fmmtc_bidsapp.modalities.preparation import Preparation, ScaledColumns
from fmmtc_bidsapp.models.networks.single_stream import SingleStream, seeded
from fmmtc_bidsapp.options import ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

N, GENES, LACKING = 20, 5, 3
TRAIN = np.arange(12)
SETUP = Setup(
    TrainOptions(epochs=3, batch_size=4, learning_rate=1e-2),
    ModelOptions(encoder="none"),
    torch.device("cpu"),
    torch.float32,
)


@dataclass(frozen=True, eq=False)
class Unchanged(Preparation):
    """Values as they are, NaN included."""

    @classmethod
    def fit(cls, values: NDArray[Any], rows: NDArray[np.int64]) -> Unchanged:
        return cls()

    @classmethod
    def restore(cls, arrays: Any) -> Unchanged:
        return cls()

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        return values.astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}


def build(sizes: Any, seed: int) -> nn.Module:
    with seeded(seed):
        return SingleStream(nn.Linear(GENES, 4), nn.Linear(4, 1))


def learner_of(preparation: type[Preparation], monkeypatch: pytest.MonkeyPatch) -> NetworkLearner:
    """A learner of a network that reads genes, whose missing rows stay in the cohort."""
    genes = Modality("genes", "genes", ("gene",), "expression", preparation, missing=FILL)
    kind = NetworkKind((Stream.of(genes),), lambda examples, setup: {}, build)
    monkeypatch.setattr(NETWORKS, "own", {**NETWORKS.own, "of-genes": kind})
    return NetworkLearner(SETUP, "of-genes")


@pytest.fixture
def cohort() -> Callable[..., Examples]:
    def make(**rows: NDArray[Any]) -> Examples:
        rng = np.random.default_rng(0)
        genes = rng.normal(7.0, 2.0, size=(N, GENES)).astype(np.float32)
        present = np.ones(N, dtype=bool)
        for name, values in rows.items():
            row = int(name.removeprefix("row"))
            genes[row] = values
            present[row] = not np.isnan(values).all()
        y = np.tile([0, 1], N // 2)
        return Examples(
            keys=tuple(f"sub-{i:02d}" for i in range(N)),
            arrays={"genes": genes},
            y=y,
            strata=tuple(map(str, y)),
            present={"genes": present},
        )

    return make


def test_a_participant_without_a_filled_modality_is_predicted_as_the_training_mean(
    cohort, monkeypatch
):
    learner = learner_of(ScaledColumns, monkeypatch)
    lacking = cohort(row15=np.full(GENES, np.nan))
    fitted = learner.fit(lacking, TRAIN, 3, seed=1)
    mean = lacking.arrays["genes"][TRAIN].astype(np.float64).mean(axis=0)
    found, expected = (
        fitted.logits(each.take(np.array([15]))) for each in (lacking, cohort(row15=mean))
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # A zero in the units of the modality lies 3.5 SD away, and is another prediction.
    zero = fitted.logits(cohort(row15=np.zeros(GENES)).take(np.array([15])))
    assert abs(zero - found) > 1e-3


def test_a_training_participant_without_a_filled_modality_has_no_part_in_its_mean(
    cohort, monkeypatch
):
    learner = learner_of(ScaledColumns, monkeypatch)
    lacking = cohort(**{f"row{LACKING}": np.full(GENES, np.nan)})
    tensors = learner.fit(lacking, TRAIN, 1, seed=1).tensors()
    others = np.setdiff1d(TRAIN, [LACKING])
    expected = lacking.arrays["genes"][others].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(tensors["genes.column_mean"].numpy(), expected)


@pytest.mark.parametrize("row", [LACKING, 15])
def test_nan_after_a_preparation_is_an_error_with_the_modality_and_the_participant(
    cohort, monkeypatch, row
):
    learner = learner_of(Unchanged, monkeypatch)
    lacking = cohort(**{f"row{row}": np.full(GENES, np.nan)})
    with pytest.raises(InputError, match=rf"genes of sub-{row:02d} has NaN after Unchanged \(1 of"):
        learner.fit(lacking, TRAIN, 1, seed=1).logits(lacking)


def test_a_preparation_may_keep_nan_for_a_network_that_leaves_it_out(cohort, monkeypatch):
    monkeypatch.setattr(Unchanged, "keeps_missing", True)
    learner = learner_of(Unchanged, monkeypatch)
    fitted = learner.fit(cohort(), TRAIN, 1, seed=1)
    lacking = cohort(row15=np.full(GENES, np.nan)).take(np.arange(14, 18))
    assert np.isnan(fitted.logits(lacking)).tolist() == [False, True, False, False]

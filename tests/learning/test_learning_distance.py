"""How far a connectome lies from those of the training people."""

from __future__ import annotations

import numpy as np
import pytest

from fmmtc_bidsapp.learning.evaluation.distance import (
    connectivity_range,
    restore_connectivity_range,
)


def people(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(10, 3))
    return np.array(
        [
            np.corrcoef(base @ rng.normal(size=(3, 60)) + 2 * rng.normal(size=(10, 60)))
            for _ in range(n)
        ],
        dtype=np.float32,
    )


def by_hand(fc: np.ndarray, others: np.ndarray) -> float:
    upper = np.triu_indices(10, k=1)
    mean = np.nanmean([np.arctanh(each[upper].astype(float)) for each in others], axis=0)
    return float(np.sqrt(np.nanmean((np.arctanh(fc[upper].astype(float)) - mean) ** 2)))


def test_the_limit_is_the_99th_percentile_of_each_from_the_mean_of_the_others() -> None:
    fc = people(12)
    fc[3, 4] = fc[3, :, 4] = np.nan
    found = connectivity_range(fc)
    distances = [by_hand(fc[i], np.delete(fc, i, axis=0)) for i in range(12)]
    assert found.limit == pytest.approx(np.quantile(distances, 0.99))
    another = people(1, seed=1)[0]
    assert found.distance(another) == pytest.approx(by_hand(another, fc), rel=1e-6)


def test_people_of_the_same_kind_are_within_and_others_are_named_with_value_and_range() -> None:
    found = connectivity_range(people(60))
    assert np.mean([bool(found.outside(each)) for each in people(200)[60:]]) < 0.06
    flipped = people(200)[80]
    flipped[:5, 5:] *= -1
    flipped[5:, :5] *= -1
    (words,) = found.outside(flipped)
    assert f"connectivity {found.distance(flipped):.2f} from the training mean" in words
    assert f"within {found.limit:.2f}" in words


def test_without_connectivity_or_with_two_people_there_is_no_range() -> None:
    assert connectivity_range(np.zeros((9, 0, 0), dtype=np.float32)) is None
    assert connectivity_range(people(2)) is None
    assert connectivity_range(np.full((5, 4, 4), np.nan, dtype=np.float32)) is None


def test_a_connectome_that_shares_no_edge_is_outside() -> None:
    found = connectivity_range(people(8))
    nobody = np.full((10, 10), np.nan, dtype=np.float32)
    assert found.outside(nobody) == ["connectivity shares no edge with the training participants"]


def test_what_is_restored_measures_the_same() -> None:
    found = connectivity_range(people(8))
    again = restore_connectivity_range(found.tensors(), found.limit)
    another = people(1, seed=1)[0]
    assert again.distance(another) == found.distance(another)

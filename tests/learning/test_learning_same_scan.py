"""Whether one scan is known again by its digests, and nobody else is taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from fmmtc_bidsapp.learning.evaluation.distance import connectivity_range
from fmmtc_bidsapp.learning.evaluation.same_scan import scan_digests

N_PARCELS = 30


def connectomes(n: int, seed: int, shared: float = 0.8) -> np.ndarray:
    """Draw people whose connectomes correlate at about `shared`, squared."""
    rng = np.random.default_rng(seed)
    group = np.random.default_rng(99).normal(size=(N_PARCELS, N_PARCELS))
    own = rng.normal(size=(n, N_PARCELS, N_PARCELS))
    z = 0.3 * (shared * group + np.sqrt(1 - shared**2) * own)
    return np.tanh(z + z.transpose(0, 2, 1)).astype(np.float32)


TRAINING = connectomes(40, seed=0)
MEAN = connectivity_range(TRAINING)


def found(matrices: np.ndarray, training: np.ndarray = TRAINING, mean=MEAN) -> list[bool]:
    known = frozenset().union(*scan_digests(training, mean, "salt"))
    return [bool(each & known) for each in scan_digests(matrices, mean, "salt")]


def noisy(sd: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(scale=sd, size=TRAINING.shape)
    return np.tanh(np.arctanh(TRAINING) + noise + noise.transpose(0, 2, 1)).astype(np.float32)


def test_a_scan_is_known_again_whatever_its_last_digits() -> None:
    assert all(found(TRAINING))
    assert all(found(noisy(1e-4)))
    assert all(found(TRAINING.astype(np.float16).astype(np.float32)))


def test_a_scan_is_known_again_without_an_edge() -> None:
    without = TRAINING.copy()
    without[:, 3, 5] = without[:, 5, 3] = np.nan
    assert all(found(without))


@pytest.mark.parametrize("mean", [MEAN, None])
def test_other_people_are_not_taken_for_it(mean) -> None:
    assert not any(found(connectomes(300, seed=7), mean=mean))
    assert not any(found(noisy(0.3)))


def test_with_few_edges_the_values_themselves_count() -> None:
    few = TRAINING[:, :3, :3]
    mean = connectivity_range(few)
    assert all(found(few, few, mean))
    assert all(found(few + np.float32(1e-7), few, mean))
    assert not any(found(connectomes(50, seed=7)[:, :3, :3], few, mean))


def test_who_has_no_edge_has_no_digest() -> None:
    nothing = np.full((2, N_PARCELS, N_PARCELS), np.nan, np.float32)
    assert scan_digests(nothing, MEAN, "salt") == [frozenset()] * 2
    assert scan_digests(np.zeros((2, 1, 1), np.float32), None, "salt") == [frozenset()] * 2


def test_another_salt_gives_other_digests() -> None:
    one, other = (scan_digests(TRAINING[:1], MEAN, salt)[0] for salt in ("a", "b"))
    assert len(one) == len(other) == 24
    assert not one & other

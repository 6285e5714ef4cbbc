"""Trees as plain arrays: xgboost's own predictions, and nothing crafted is walked."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.learning.estimators.classifiers import HEADS
from fmmtc_bidsapp.learning.estimators.trees import restore_trees, trees_of_xgboost

RNG = np.random.default_rng(0)
COLUMNS, OTHERS = RNG.normal(size=(60, 9)), RNG.normal(size=(500, 9))
Y = (COLUMNS[:, 0] + COLUMNS[:, 3] * COLUMNS[:, 4] + RNG.normal(size=60) > 0.4).astype(int)


def grow(columns: np.ndarray = COLUMNS, y: np.ndarray = Y, **options: object) -> xgboost.Booster:
    told = {"objective": "binary:logistic", "nthread": 1, "max_depth": 3, **options}
    return xgboost.train(told, xgboost.DMatrix(columns, label=y), num_boost_round=50)


@pytest.mark.parametrize(
    "options", [{}, {"max_depth": 7}, {"gamma": 1.0}, {"base_score": 0.2}, {"max_depth": 1}]
)
def test_trees_predict_what_xgboost_predicts(options) -> None:
    booster = grow(**options)
    expected = booster.predict(xgboost.DMatrix(OTHERS), output_margin=True)
    np.testing.assert_allclose(trees_of_xgboost(booster).logits(OTHERS), expected, atol=1e-6)


def test_a_tree_of_a_single_leaf_is_one() -> None:
    booster = grow(np.zeros((20, 2)), np.arange(20) % 2)
    trees = trees_of_xgboost(booster)
    assert len(trees.feature) == len(trees.start) == 50
    np.testing.assert_allclose(trees.logits(np.ones((3, 2))), 0, atol=1e-6)


def test_a_value_on_a_threshold_goes_where_xgboost_sends_it() -> None:
    booster = grow(np.round(COLUMNS, 1))
    trees = trees_of_xgboost(booster)
    at = np.tile(trees.value[trees.feature >= 0][:, None], 9)
    expected = booster.predict(xgboost.DMatrix(at), output_margin=True)
    np.testing.assert_allclose(trees.logits(at), expected, atol=1e-6)


def arrays() -> dict[str, np.ndarray]:
    return {name: each.copy() for name, each in trees_of_xgboost(grow()).arrays().items()}


def damage(name: str, place: str, value: int) -> dict[str, np.ndarray]:
    changed = arrays()
    where = changed["feature"] >= 0 if place == "inner" else changed["feature"] < 0
    changed[name][np.flatnonzero(where)[3]] = value
    return changed


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("feature", "inner", 9),
        ("feature", "inner", 2**40),
        ("feature", "inner", -2),
        ("feature", "leaf", 0),
        ("left", "inner", 0),
        ("left", "inner", -1),
        ("right", "inner", 2**40),
        ("right", "inner", -5),
        ("right", "leaf", 7),
        ("left", "inner", 400),
    ],
)
def test_trees_whose_walk_could_leave_them_are_refused(name, place, value) -> None:
    with pytest.raises(ModelFileError, match="trees of the model are damaged") as caught:
        restore_trees(damage(name, place, value), 9)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("start", [[], [0], [1], [0, 0], [0, 10**9], [5, 0], [0, -1]])
def test_trees_that_begin_nowhere_are_refused(start) -> None:
    with pytest.raises(ModelFileError, match="start"):
        restore_trees(arrays() | {"start": np.array(start, dtype=np.int64)}, 9)


def test_any_numbers_in_the_arrays_are_refused_or_walked_to_the_end() -> None:
    rng = np.random.default_rng(1)
    whole, n_refused = arrays(), 0
    for _ in range(300):
        changed = {name: each.copy() for name, each in whole.items()}
        name = rng.choice(["start", "feature", "left", "right"])
        changed[name][rng.integers(len(changed[name]))] = rng.integers(-3, 12)
        try:
            assert np.isfinite(restore_trees(changed, 9).logits(OTHERS[:5])).all()
        except ModelFileError:
            n_refused += 1
    assert n_refused > 100


def test_what_was_written_is_read_back_and_predicts_the_same_to_the_bit() -> None:
    head = HEADS["xgboost"]
    fitted = head.fit(COLUMNS, Y, 0)
    restored = head.restore(fitted.arrays())
    np.testing.assert_array_equal(restored.logits(OTHERS), fitted.logits(OTHERS))

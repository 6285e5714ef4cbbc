"""What the encoder is told, and what goes between nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.encoding import coordinates
from fmmtc_bidsapp.group.exchange import load_examples, load_fold, save_examples, save_fold
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Calibration, Examples, Fold, FoldPredictions


def cohort(coordinates_mm: np.ndarray | None, tr_s: tuple[float, ...]) -> Cohort:
    return Cohort((), (), (), ("A", "B"), "Two", None, coordinates_mm, None, tr_s)


def test_the_encoder_is_told_the_coordinates_of_the_atlas() -> None:
    xyz = np.array([[1.0, 2, 3], [4, 5, 6]])
    told, notice = coordinates(cohort(xyz, (2.0,)), ModelOptions())
    np.testing.assert_array_equal(told, xyz)
    assert notice == ""


def test_pretrained_weights_refuse_an_atlas_without_coordinates() -> None:
    with pytest.raises(InputError, match="no coordinates"):
        coordinates(cohort(None, (2.0,)), ModelOptions(encoder="brainlm"))


def test_pretrained_weights_refuse_series_without_a_repetition_time() -> None:
    with pytest.raises(InputError, match="repetition time"):
        coordinates(cohort(np.zeros((2, 3)), ()), ModelOptions(encoder="brainlm"))


def test_a_random_encoder_is_told_zeros_and_the_reader_is_told_so() -> None:
    told, notice = coordinates(cohort(None, ()), ModelOptions(encoder="random"))
    np.testing.assert_array_equal(told, np.zeros((2, 3)))
    assert "zeros" in notice


def test_examples_survive_the_file_between_nodes_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fc = rng.normal(size=(3, 4, 4)).astype(np.float32)
    fc[1, 2] = np.nan
    written = Examples(
        ("sub-1", "sub-2_ses-1", "sub-3"),
        rng.normal(size=(3, 5)),
        fc,
        np.array([0, 1, -1]),
        ("0|a", "1|b", "-1|a"),
    )
    save_examples(tmp_path / "a.npz", written)
    read = load_examples(tmp_path / "a.npz")
    assert (read.keys, read.strata) == (written.keys, written.strata)
    for name in ("cls", "fc", "y"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    save_examples(tmp_path / "b.npz", read)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_predictions_of_a_fold_survive_the_file_between_nodes(tmp_path: Path) -> None:
    written = FoldPredictions(
        model="fmmtc",
        fold=Fold(1, 2, np.array([0, 1]), np.array([2])),
        logit=np.array([0.25]),
        calibration=Calibration("sigmoid", 1.5, -0.1, 0.5),
        prevalence=0.5,
        epoch=3,
        validation_loss=np.array([0.7, 0.6, 0.5]),
        train_loss=np.array([0.7, 0.6, 0.4]),
        notes={"edges_imputed_train": 2.0},
    )
    save_fold(tmp_path / "fold.npz", written)
    read = load_fold(tmp_path / "fold.npz")
    assert read.calibration == written.calibration
    assert (read.model, read.epoch, read.notes) == ("fmmtc", 3, {"edges_imputed_train": 2.0})
    assert (read.fold.repeat, read.fold.fold) == (1, 2)
    np.testing.assert_array_equal(read.logit, written.logit)
    np.testing.assert_array_equal(read.fold.train, written.fold.train)

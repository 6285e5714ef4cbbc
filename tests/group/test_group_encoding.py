"""What the encoder is told, and what goes between nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.choice import coordinates, require_repetition_times
from fmmtc_bidsapp.group.exchange import load_examples, load_fold, save_examples, save_fold
from fmmtc_bidsapp.group.person import EncodedPerson, encode_person
from fmmtc_bidsapp.model.brainlm import BrainLM, BrainLMConfig
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import (
    Calibration,
    Examples,
    Fold,
    FoldPredictions,
    Person,
    SeriesFile,
)


def cohort(coordinates_mm: np.ndarray | None) -> Cohort:
    return Cohort((), (), (), ("A", "B"), "Two", None, coordinates_mm, None, ())


def person(*tr_s: float | None) -> Person:
    runs = [SeriesFile(Path(f"{i}.tsv"), {}, each, None, None, None) for i, each in enumerate(tr_s)]
    return Person("sub-1", None, 1, tuple(runs))


def test_the_encoder_is_told_the_coordinates_of_the_atlas() -> None:
    xyz = np.array([[1.0, 2, 3], [4, 5, 6]])
    told, notice = coordinates(cohort(xyz), ModelOptions())
    np.testing.assert_array_equal(told, xyz)
    assert notice == ""


def test_pretrained_weights_refuse_an_atlas_without_coordinates() -> None:
    with pytest.raises(InputError, match="no coordinates"):
        coordinates(cohort(None), ModelOptions(encoder="brainlm"))


def test_a_random_encoder_is_told_zeros_and_the_reader_is_told_so() -> None:
    told, notice = coordinates(cohort(None), ModelOptions(encoder="random"))
    np.testing.assert_array_equal(told, np.zeros((2, 3)))
    assert "zeros" in notice


def test_pretrained_weights_refuse_a_single_series_without_a_repetition_time() -> None:
    people = [person(2.0), person(2.0, None)]
    require_repetition_times(people, ModelOptions(encoder="random"))
    require_repetition_times(people[:1], ModelOptions(encoder="brainlm"))
    with pytest.raises(InputError, match=r"1 series have no RepetitionTime.*1\.tsv"):
        require_repetition_times(people, ModelOptions(encoder="brainlm"))


SMALL = BrainLMConfig(
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    conv_kernel_size=3,
    timepoint_patching_size=5,
    num_timepoints_per_voxel=20,
)


def encode(runs: list[tuple[str, np.ndarray]], token_orders: int = 2) -> EncodedPerson:
    return encode_person(
        BrainLM.from_config(SMALL, torch.Generator().manual_seed(0)),
        runs,
        np.zeros((3, 3)),
        ModelOptions(encoder="random", window=20, token_orders=token_orders),
        seed=0,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def test_a_run_that_is_too_short_is_left_out_with_its_reason_and_the_person_stays() -> None:
    long = np.random.default_rng(0).normal(size=(40, 3))
    both = encode([("long.tsv", long), ("short.tsv", long[:4])])
    alone = encode([("long.tsv", long)])
    np.testing.assert_array_equal(both.cls, alone.cls)
    np.testing.assert_array_equal(both.fc, alone.fc)
    assert both.about["n_volumes"] == {"long.tsv": 40}
    assert "4 volumes" in both.about["left_out"]["short.tsv"]


def test_a_person_without_a_run_that_can_be_encoded_is_an_error_that_names_each() -> None:
    short = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(InputError, match=r"a\.tsv: .*b\.tsv: "):
        encode([("a.tsv", short), ("b.tsv", short)])


def test_one_token_order_has_no_spread() -> None:
    series = np.random.default_rng(0).normal(size=(20, 3))
    assert encode([("a.tsv", series)], token_orders=1).about["order_spread"] is None


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

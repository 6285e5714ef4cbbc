"""A bundle: everything apply needs, checked, and refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.errors import InputError, ModelFileError, UsageError
from fmmtc_bidsapp.group.bundle import (
    Bundle,
    check_fits,
    fitted_files,
    load_bundle_model,
    read_bundle,
    save_bundle_model,
    withdraw_bundle,
    write_bundle,
)
from fmmtc_bidsapp.group.ranges import TrainingRange
from fmmtc_bidsapp.learning.experiments import fit_final
from fmmtc_bidsapp.learning.learner import Setup
from fmmtc_bidsapp.model.checkpoint import file_digest
from fmmtc_bidsapp.model.resnet import ResNetSize
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

PARCELS = tuple(f"P{i}" for i in range(12))
RANGE = TrainingRange(tr_s=(2.0, 2.5), n_volumes=(120, 150), mean_fd_mm=(0.05, 0.3))
SETUP = Setup(
    train=TrainOptions(epochs=2, inner_folds=2, batch_size=4),
    model=ModelOptions(encoder="random"),
    device=torch.device("cpu"),
    dtype=torch.float32,
    resnet=ResNetSize(hidden_sizes=(4, 8), depths=(1, 1)),
)


def examples(n: int = 12) -> Examples:
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], n // 2)
    fc = [np.corrcoef(rng.normal(size=(len(PARCELS), 40))) for _ in range(n)]
    keys = tuple(f"sub-{i:02}" for i in range(n))
    cls = rng.normal(size=(n, 8))
    return Examples(keys, cls, np.array(fc, dtype=np.float32), y, tuple(map(str, y)))


def cohort(**changes: object) -> Cohort:
    whole = Cohort(
        people=(),
        exclusions=(),
        eligibility=(),
        parcels=PARCELS,
        atlas_label="Twelve",
        atlas_digest="d1",
        coordinates_mm=None,
        networks=None,
        tr_s=(2.0,),
    )
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def model():
    return fit_final("fmmtc", examples(), SETUP, EvaluationOptions(), seed=0)


@pytest.fixture
def folder(model, tmp_path: Path) -> Path:
    node = tmp_path / "node"
    node.mkdir()
    save_bundle_model(node, model)
    tensors, description = fitted_files(node)
    bundle = Bundle(
        folder=tmp_path / "bundle",
        digest=file_digest(tensors),
        model=SETUP.model,
        seed=4,
        encoder_digest="e1",
        precision="float32",
        atlas_label="Twelve",
        atlas_digest="d1",
        parcels=PARCELS,
        coordinates_mm=np.arange(36.0).reshape(12, 3),
        calibration=model.calibration,
        training_range=RANGE,
        target="Response",
        positive_value="1",
    )
    write_bundle(bundle, tensors, description, n_people=12, card="# card\n")
    return tmp_path / "bundle"


def test_what_is_read_back_predicts_the_same_to_the_bit(folder: Path, model) -> None:
    people = examples()
    restored = load_bundle_model(folder, SETUP)
    np.testing.assert_array_equal(restored.logits(people), model.logits(people))
    bundle = read_bundle(folder)
    assert bundle.calibration == model.calibration
    assert bundle.training_range == RANGE
    assert bundle.parcels == PARCELS
    np.testing.assert_array_equal(bundle.coordinates_mm, np.arange(36.0).reshape(12, 3))


def test_a_changed_tensor_file_is_noticed(folder: Path) -> None:
    tensors = folder / "model.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(ModelFileError, match="sha256"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessing.json", "calibration.json", "model.safetensors"]
)
def test_a_bundle_without_one_of_its_files_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFileError, match=name):
        read_bundle(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(ModelFileError, match="format 99"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"atlas_label": "Other"}, "trained on atlas Twelve"),
        ({"parcels": (*PARCELS[:-1], "Q")}, "11 of the names are the same"),
        ({"parcels": PARCELS[::-1]}, "another order"),
        ({"atlas_digest": "d2"}, "another digest"),
    ],
)
def test_series_of_another_atlas_are_refused(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_fits(read_bundle(folder), cohort(**changes), ModelOptions(), ())


def test_a_flag_that_contradicts_the_bundle_is_refused_and_one_that_agrees_is_not(
    folder: Path,
) -> None:
    bundle = read_bundle(folder)
    check_fits(bundle, cohort(), ModelOptions(encoder="random"), ["encoder"])
    check_fits(bundle, cohort(), ModelOptions(encoder_weights="/x"), ["encoder_weights"])
    check_fits(bundle, cohort(), ModelOptions(window=100), [])
    with pytest.raises(UsageError, match="--window is 100"):
        check_fits(bundle, cohort(), ModelOptions(window=100), ["window"])
    shorter = replace(bundle, model=replace(bundle.model, window=100))
    with pytest.raises(UsageError, match="--window is 200"):
        check_fits(shorter, cohort(), ModelOptions(), ["window"])


def test_a_withdrawn_bundle_cannot_be_read(folder: Path) -> None:
    withdraw_bundle(folder)
    withdraw_bundle(folder)
    with pytest.raises(ModelFileError, match="absent"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        ((2.0, 130, 0.1), None),
        ((None, 130, None), None),
        ((2.0000001, 130, 0.1), None),
        ((2.2, 130, 0.1), None),
        ((0.8, 130, 0.1), "TR 0.8 s, trained on 2 to 2.5 s"),
        ((2.0, 300, 0.1), "300 volumes, trained on 120 to 150"),
        ((2.0, 130, 0.9), "mean FD 0.90 mm"),
    ],
)
def test_a_scan_outside_the_training_range_says_in_what(scan, words: str | None) -> None:
    found = "; ".join(RANGE.outside(*scan))
    assert found == "" if words is None else words in found

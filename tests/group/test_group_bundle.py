"""A bundle: everything apply needs, checked, and refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_fits import fit_everyone

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.errors import InputError, ModelFileError, UsageError
from fmmtc_bidsapp.group.bundle.bundle import Bundle
from fmmtc_bidsapp.group.bundle.compatibility import check_fits
from fmmtc_bidsapp.group.bundle.fitted import save_bundle_model
from fmmtc_bidsapp.group.bundle.known_people import KnownPeople
from fmmtc_bidsapp.group.bundle.read import load_bundle_model, load_connectivity_range, read_bundle
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.bundle.write import withdraw_bundle, write_bundle
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluation.distance import connectivity_range
from fmmtc_bidsapp.learning.model_selection.ensemble import EnsembleModel
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.models.networks.brain_network_transformer import BrainNetworkSize
from fmmtc_bidsapp.models.networks.resnet import ResNetSize
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

PARCELS = tuple(f"P{i}" for i in range(12))
WINDOW = 10
RANGE = TrainingRange(tr_s=(2.0, 2.5), n_volumes=(120, 150), mean_fd_mm=None)
LEVELS = (
    CovariateLevels("age", range=(20.5, 60.0), meanings=(("30", "thirty"),)),
    CovariateLevels("drug", ("a", "b")),
)
PEOPLE = KnownPeople("5a" * 16, None, ("0f" * 16,), ("1f" * 16, "2f" * 16), ())
ENCODER = BrainLMSize(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    conv_kernel_size=3,
    timepoint_patching_size=5,
    num_timepoints_per_voxel=WINDOW,
)
SETUP = Setup(
    TrainOptions(epochs=2, inner_folds=2, batch_size=4),
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
PLAIN = Setup(TrainOptions(), ModelOptions(), torch.device("cpu"), torch.float32)
"""What `apply` has: nothing of the sizes that were trained with."""


def examples(n: int = 12) -> Examples:
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], n // 2)
    fc = np.array([np.corrcoef(rng.normal(size=(len(PARCELS), 40))) for _ in range(n)])
    fc[2, 4] = fc[2, :, 4] = np.nan
    fc[:, 0, 1] = fc[:, 1, 0] = 0.25  # an edge that does not vary has no scale
    covariates = np.column_stack([rng.normal(size=n), np.arange(n) % 2, np.arange(n) % 2 == 0])
    return Examples(
        keys=tuple(f"sub-{i:02}" for i in range(n)),
        arrays={
            "cls": rng.normal(size=(n, 8)),
            "fc": fc.astype(np.float32),
            "series": rng.normal(size=(n, len(PARCELS), WINDOW)).astype(np.float32),
            "cls_random": rng.normal(size=(n, 8)),
        },
        y=y,
        strata=tuple(map(str, y)),
        covariates=covariates,
        covariate_names=("age", "drug=a", "drug=b"),
        mean_fd_mm=rng.normal(size=n),
        acquisition=rng.normal(size=(n, 1)),
        acquisition_names=("volumes",),
        coordinates_mm=rng.normal(scale=40, size=(len(PARCELS), 3)),
    )


def cohort(**changes: object) -> Cohort:
    whole = Cohort(
        people=(),
        exclusions=(),
        eligibility=(),
        parcels=PARCELS,
        atlas_label="Twelve",
        atlas_digest="d1",
        coordinates_mm=None,
        tr_s=(2.0,),
    )
    return replace(whole, **changes)


def write(root: Path, models, **changes: object) -> Path:
    connectivity = connectivity_range(examples().fc)
    bundle = Bundle(
        folder=root / "bundle",
        main=models[0].name,
        title="A model",
        model=SETUP.model,
        seed=4,
        encoder_digest="e1",
        precision="float32",
        atlas_label="Twelve",
        atlas_digest="d1",
        parcels=PARCELS,
        coordinates_mm=np.arange(36.0).reshape(12, 3),
        training_range=RANGE,
        connectivity_limit=connectivity.limit,
        target="Response",
        positive_value="1",
        n_people=12,
        negative_value="0",
        positive_meaning="responder",
        people=PEOPLE,
        trainings=len(models),
        covariates=LEVELS,
    )
    nodes = [root / f"node_{i}" for i in range(len(models))]
    for node, model in zip(nodes, models, strict=True):
        node.mkdir()
        save_bundle_model(node, model)
    write_bundle(replace(bundle, **changes), nodes, connectivity, "# card\n")
    return root / "bundle"


def fit(name: str, **changes: object):
    return fit_everyone(name, examples(), replace(SETUP, **changes), EvaluationOptions(), seed=0)


@pytest.fixture(scope="module")
def model():
    return fit("fmmtc")


@pytest.fixture
def folder(model, tmp_path: Path) -> Path:
    return write(tmp_path, [model])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_any_kind_is_read_back_and_predicts_the_same_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    adjust = name in ("svm-ts", "ridge-fc", "fc-logistic", "dummy")
    fitted = fit(name, adjust=adjust)
    adjusted = any("adjustment." in each for each in fitted.tensors())
    assert adjusted == (adjust and name != "dummy")
    restored = load_bundle_model(write(tmp_path, [fitted], adjust=adjusted), PLAIN)
    np.testing.assert_array_equal(restored.logits(examples()), fitted.logits(examples()))
    assert restored.calibration == fitted.calibration
    assert restored.prevalence == fitted.prevalence


def test_several_trainings_are_one_bundle(tmp_path: Path) -> None:
    fitted = [
        fit_everyone("resnet-fc", examples(), SETUP, EvaluationOptions(), seed=0, training=k)
        for k in range(3)
    ]
    folder = write(tmp_path, fitted)
    assert read_bundle(folder).trainings == 3
    restored = load_bundle_model(folder, PLAIN)
    together = EnsembleModel(tuple(fitted))
    np.testing.assert_array_equal(restored.logits(examples()), together.logits(examples()))
    assert restored.calibration == together.calibration


def test_what_is_not_a_tensor_is_read_back(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert (bundle.main, bundle.title, bundle.n_people) == ("fmmtc", "A model", 12)
    assert bundle.training_range == RANGE
    assert bundle.parcels == PARCELS
    assert bundle.covariates == LEVELS
    assert bundle.people == PEOPLE
    assert bundle.coding == OutcomeCoding("Response", "1", "0", "responder", None)
    assert bundle.model == SETUP.model
    assert len(bundle.digest) == 64
    np.testing.assert_array_equal(bundle.coordinates_mm, np.arange(36.0).reshape(12, 3))
    ours, written = connectivity_range(examples().fc), load_connectivity_range(bundle)
    assert written.limit == ours.limit
    np.testing.assert_array_equal(written.mean_z, ours.mean_z)


def test_a_bundle_says_whether_people_must_be_encoded(folder: Path, tmp_path: Path) -> None:
    assert read_bundle(folder).encodes
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", [fit("ridge-fc")], coordinates_mm=None)
    assert not read_bundle(other).encodes
    assert read_bundle(other).coordinates_mm is None


def test_a_bundle_written_over_itself_is_left_alone(folder: Path, model, tmp_path: Path) -> None:
    before = {each: each.stat().st_mtime_ns for each in folder.iterdir()}
    (tmp_path / "node_0").rename(tmp_path / "older")
    write(tmp_path, [model])
    assert {each: each.stat().st_mtime_ns for each in folder.iterdir()} == before


def test_a_bundle_written_in_part_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", [fit("ridge-fc")])
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        read_bundle(folder)


def test_a_bundle_written_again_has_the_same_bytes(folder: Path, model, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again = write(tmp_path / "again", [model])
    names = {each.name for each in folder.iterdir()}
    tables = {"config.json", "preprocessing.json", "calibration.json", "people.json"}
    assert names == tables | {"model.safetensors", "MODEL_CARD.md"}
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessing.json", "calibration.json", "people.json", "model.safetensors"],
)
def test_a_changed_byte_anywhere_in_a_file_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    places = np.linspace(0, len(whole) - 1, 40).astype(int)
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1
        (folder / name).write_bytes(changed)
        for read in (read_bundle, lambda path: load_bundle_model(path, PLAIN)):
            with pytest.raises(ModelFileError, match=name):
                read(folder)
    (folder / name).write_bytes(whole + b" ")
    with pytest.raises(ModelFileError, match=name):
        read_bundle(folder)


def test_the_card_may_be_completed(folder: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("# card\nFunding: none.\n")
    read_bundle(folder)


@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessing.json", "calibration.json", "people.json", "model.safetensors"],
)
def test_a_bundle_without_one_of_its_files_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFileError, match=name):
        read_bundle(folder)


@pytest.mark.parametrize(("number", "word"), [(99, "newer"), (1, "older")])
def test_another_format_is_refused_and_says_with_what_to_read_it(
    folder: Path, number: int, word: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    changed = config | {"format": number, "version": "7.8.9"}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ModelFileError, match=f"format {number}") as error:
        read_bundle(folder)
    assert f"is {word} than the program" in str(error.value)
    assert "fmmtc_bidsapp 7.8.9" in str(error.value)
    assert error.value.exit_code == 65


ROBUST = ModelOptions(encoder="random", normalisation="robust")


def test_the_scale_of_the_training_people_is_read_back_to_the_bit(model, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    median, iqr = rng.normal(size=(2, len(PARCELS)))
    median[3] = iqr[3] = iqr[5] = np.nan
    folder = write(tmp_path, [model], model=ROBUST, scale=Scale(median, iqr))
    found = read_bundle(folder).scale
    np.testing.assert_array_equal(found.median, median)
    np.testing.assert_array_equal(found.iqr, iqr)


def test_a_bundle_that_lacks_the_scale_its_model_needs_is_refused(model, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no median and interquartile range"):
        read_bundle(write(tmp_path, [model], model=ROBUST))
    (tmp_path / "other").mkdir()
    assert read_bundle(write(tmp_path / "other", [fit("ridge-fc")], model=ROBUST)).scale is None


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
    with pytest.raises(ModelFileError, match=r"config\.json"):
        read_bundle(folder)

"""The scale of the training people: learnt from them alone, the same at `apply`, its cost said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from parcel_study import group, write_parcel_study
from scipy.stats import iqr

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.bundle.read import load_bundle_model, read_bundle
from fmmtc_bidsapp.group.encode.encoder_config import EncoderChoice
from fmmtc_bidsapp.group.encode.serialization import load_examples, load_scale
from fmmtc_bidsapp.group.tasks.compute import check_encoder
from fmmtc_bidsapp.group.tasks.encoding import Encoded, encode
from fmmtc_bidsapp.group.tasks.fit import fit_models
from fmmtc_bidsapp.group.tasks.scaling import encode_folds
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together
from fmmtc_bidsapp.options import (
    CohortOptions,
    EvaluationOptions,
    ModelOptions,
    ProtocolOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.records import Fold, Person, SeriesFile
from fmmtc_bidsapp.signals.resampling import resample

PARCELS = tuple(f"P{i}" for i in range(5))
N, WINDOW = 6, 20
FOLD = Fold(0, 0, np.array([0, 1, 3, 4]), np.array([2, 5]))


@pytest.fixture
def plan(tmp_path: Path) -> GroupPlan:
    return GroupPlan(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        run_id="run",
        resources=Resources(work_dir=tmp_path / "work", n_procs=2),
        analysis="train",
        label="test",
        cohort=CohortOptions(target="y"),
        model=ModelOptions(encoder="none", normalisation="robust", window=WINDOW, token_orders=1),
        train=TrainOptions(folds=2, inner_folds=2, precision="float32", device="cpu"),
        evaluation=EvaluationOptions(bootstrap=20),
        protocol=ProtocolOptions(permutations="0"),
    )


def scans(seed: int = 0) -> list[list[np.ndarray]]:
    """Series of people, the second of whom has two runs, the third lacks a parcel."""
    rng = np.random.default_rng(seed)
    level, spread = rng.normal(1000, 100, len(PARCELS)), rng.uniform(1, 20, len(PARCELS))
    people = [
        [level + spread * rng.normal(size=(n, len(PARCELS))) for n in runs]
        for runs in ((30,), (25, 40), (45,), (30,), (22,), (50,))
    ]
    people[2][0][:, 1] = np.nan
    return people


def write_cohort(folder: Path, people: Sequence[Sequence[np.ndarray]]) -> Cohort:
    folder.mkdir(exist_ok=True)
    found = []
    for number, runs in enumerate(people):
        files = []
        for run, signal in enumerate(runs):
            path = folder / f"sub-{number}_run-{run}.tsv"
            table = pd.DataFrame(signal, columns=PARCELS)
            table.to_csv(path, sep="\t", index=False, na_rep="n/a")
            files.append(SeriesFile(path, {}, 2.0, None, None, None))
        found.append(Person(f"sub-{number}", None, number % 2, tuple(files)))
    return Cohort(tuple(found), (), (), PARCELS, "Five", None, None, (2.0,))


def scaled(
    plan: GroupPlan, cohort: Cohort, splits: Sequence[Fold | None], name: str = "none"
) -> Encoded:
    options = replace(plan.model, encoder=name)
    encoder = EncoderChoice(options, 0, check_encoder(options, 0), None, "cpu", "float32")
    encoded = encode(plan, cohort, encoder.without_scale, plan.output_dir)
    assert encoded.examples.cls.shape[1] == 0
    return encode_folds(plan, encoded, encoder, splits, plan.output_dir)


def by_hand(people: Sequence[Sequence[np.ndarray]], rows: Sequence[int]) -> tuple[np.ndarray, ...]:
    together = np.concatenate([run for row in rows for run in people[row]])
    return np.nanmedian(together, axis=0), iqr(together, axis=0, nan_policy="omit")


def test_everyone_is_scaled_by_median_and_iqr_of_the_training_people(plan, tmp_path):
    people = scans()
    encoded = scaled(plan, write_cohort(tmp_path / "in", people), (None, FOLD))
    for fold, rows in ((None, range(N)), (FOLD, FOLD.train)):
        median, spread = by_hand(people, rows)
        expected = np.array(
            [((runs[0] - median) / spread)[:WINDOW].T for runs in people], dtype=np.float32
        )
        found = load_examples(encoded.examples_file_of(fold))
        np.testing.assert_allclose(found.series, expected, rtol=1e-5)
        assert np.isnan(found.series[2, 1]).all()
        np.testing.assert_array_equal(found.fc, encoded.examples.fc)
        assert found.keys == encoded.examples.keys
    everyone = load_examples(encoded.examples_file_of(None))
    np.testing.assert_array_equal(encoded.examples.series, everyone.series)


def test_the_series_of_those_who_are_tested_have_no_part_in_the_scale(plan, tmp_path):
    people = scans()
    before = scaled(plan, write_cohort(tmp_path / "in", people), (FOLD, None), "random")
    first = load_examples(before.examples_file_of(FOLD))
    arrays = {name: np.array(getattr(first, name)) for name in ("cls", "series")}
    scales = [load_scale(before.of_fold[each].scale_file) for each in (FOLD, None)]
    people[FOLD.test[1]][0] *= 1000
    after = scaled(plan, write_cohort(tmp_path / "in", people), (FOLD, None), "random")
    second = load_examples(after.examples_file_of(FOLD))
    again = [load_scale(after.of_fold[each].scale_file) for each in (FOLD, None)]
    np.testing.assert_array_equal(again[0].iqr, scales[0].iqr)
    assert (again[1].iqr != scales[1].iqr).any()
    others = np.delete(np.arange(N), FOLD.test[1])
    for name, array in arrays.items():
        assert getattr(second, name)[others].tobytes() == array[others].tobytes()
        assert (getattr(second, name)[FOLD.test[1]] != array[FOLD.test[1]]).any()


@pytest.mark.slow
def test_whoever_a_fold_has_nothing_to_do_with_is_not_encoded_for_it(plan, tmp_path, capsys):
    part = Fold(0, 7, np.array([0, 3]), np.array([4]))
    encoded = scaled(plan, write_cohort(tmp_path / "in", scans()), (FOLD, part), "random")
    found = load_examples(encoded.examples_file_of(part))
    assert np.isnan(found.cls).all(axis=1).tolist() == [False, True, True, False, False, True]
    # Seven runs and three; the cost is said before the first of them.
    said = capsys.readouterr().out
    assert "for each of 2 training sets: 10 encodings instead of 7;" in said
    assert said.index("10 encodings") < said.index("encode:")


@pytest.mark.slow
def test_a_later_run_encodes_nobody_again(plan, tmp_path):
    cohort = write_cohort(tmp_path / "in", scans())
    scaled(plan, cohort, (None, FOLD))

    def results():
        found = plan.workspace.glob("*/*/result_*.pklz")
        return {each: each.stat().st_mtime_ns for each in found}

    before = results()
    assert len(before) == N + 2 + 2 * N
    scaled(plan, cohort, (None, FOLD))
    assert results() == before


@pytest.mark.slow
def test_the_scale_is_of_the_series_as_they_are_resampled(plan, tmp_path):
    people = scans()[:2] + scans()[3:]
    plan = replace(plan, model=replace(plan.model, resample_tr=1.0))
    encoded = scaled(plan, write_cohort(tmp_path / "in", people), (None,))
    median, spread = by_hand(
        [[resample(run, 2.0, 1.0) for run in runs] for runs in people], range(5)
    )
    scale = load_scale(encoded.of_fold[None].scale_file)
    # The files hold fewer digits than the arrays.
    np.testing.assert_allclose(scale.median, median, rtol=1e-9)
    np.testing.assert_allclose(scale.iqr, spread, rtol=1e-9)


def test_a_run_that_cannot_be_shown_with_a_scale_is_an_error_and_no_silent_loss(plan, tmp_path):
    people = scans()
    # All that the second run of a tested person has is a parcel that no training person has.
    for row in FOLD.train:
        for run in people[row]:
            run[:, 4] = np.nan
    people[5] = [people[5][0], people[5][0].copy()]
    people[5][1][:, :4] = np.nan
    with pytest.raises(InputError, match=r"sub-5_run-1\.tsv cannot be encoded with the scale"):
        scaled(plan, write_cohort(tmp_path / "in", people), (FOLD,))


def test_every_fold_is_fitted_on_what_its_own_scale_gives(plan, tmp_path):
    rng = np.random.default_rng(3)
    people = [[rng.normal(i % 2, 1 + i, size=(30, len(PARCELS)))] for i in range(12)]
    folds = [
        Fold(0, k, np.delete(np.arange(12), own), own)
        for k, own in enumerate(np.split(np.arange(12), 3))
    ]
    encoded = scaled(plan, write_cohort(tmp_path / "in", people), folds)
    fits = fit_models(
        plan,
        encoded,
        folds,
        ["ridge-ts"],
        device="cpu",
        crash_dir=tmp_path / "log",
        title="fit",
        final=False,
        permute=False,
    )
    setup = Setup(plan.train, plan.model, torch.device("cpu"), torch.float32)
    for fold, found in zip(folds, fits.predictions, strict=True):
        examples = load_examples(encoded.of_fold[fold].examples_file)
        analysis = Analysis(examples, setup, plan.evaluation, 0)
        (expected,) = fit_together(analysis, ["ridge-ts"], fold)[1]
        np.testing.assert_array_equal(found.logit, expected.logit)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people in each arm, half of whom respond."""
    folder = write_parcel_study(tmp_path_factory.mktemp("robust") / "study", people=16)
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    table["response"] = np.arange(16) % 2
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


ROBUST = ["--normalisation", "robust", "--permutations", "0"]


@pytest.mark.slow
@pytest.mark.parametrize("features", ["ts", "encoder"])
def test_a_bundle_predicts_with_the_scale_of_everyone_and_refuses_another_normalisation(
    features, study, tmp_path, capsys
):
    out, work = tmp_path / "out", tmp_path / "work"
    done = group(study, out, work, *ROBUST, "--network", "ridge", "--features", features)
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = GroupFiles(out, "fmmtc").bundle_dir
    setup = Setup(TrainOptions(), read_bundle(bundle).model, torch.device("cpu"), torch.float32)
    fitted = load_bundle_model(bundle, setup)
    signals = [
        pd.read_csv(path, sep="\t").to_numpy()
        for path in sorted(study.glob("derivatives/parcels/sub-*/func/*.tsv"))
    ]
    scale = read_bundle(bundle).scale
    np.testing.assert_allclose(scale.median, np.median(np.concatenate(signals), axis=0))
    np.testing.assert_allclose(scale.iqr, iqr(np.concatenate(signals), axis=0))

    new = write_parcel_study(tmp_path / "people", people=6, seed=1)
    parcels = f"parcels={new / 'derivatives' / 'parcels'}"
    other = tmp_path / "other"
    words = ["group", "--analysis", "apply", "--model", bundle, "--derivatives", parcels]
    words = [new, tmp_path / "new", *words, "--work-dir", other, "--label", "new"]
    assert main([*map(str, words), "--target", "response"]) == 0
    table = pd.read_csv(GroupFiles(tmp_path / "new", "new").predictions, sep="\t")
    (brought,) = other.glob("fmmtc_*/*/arrays_new/examples.json")
    examples = load_examples(brought)
    by_scale = [
        ((pd.read_csv(path, sep="\t").to_numpy() - scale.median) / scale.iqr).T
        for path in sorted(new.glob("derivatives/parcels/sub-*/func/*.tsv"))
    ]
    np.testing.assert_allclose(examples.series, by_scale, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(table["logit"], fitted.logits(examples), rtol=1e-6)
    capsys.readouterr()
    assert main([*map(str, words), "--normalisation", "scan"]) == 2
    assert "was trained with robust" in capsys.readouterr().err


@pytest.mark.slow
def test_across_arms_every_training_arm_gives_its_own_scale(study, tmp_path):
    words = [
        "--analysis",
        "compare",
        "--network",
        "ridge",
        "--features",
        "ts",
        "--subset-by",
        "arm",
    ]
    done = group(study, tmp_path / "out", tmp_path / "work", *ROBUST, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    comparison = pd.read_csv(GroupFiles(tmp_path / "out", "comparison").comparison, sep="\t")
    cells = comparison[(comparison["table"] == "Table 4") & (comparison["model"] == "ridge-ts")]
    assert len(cells) >= 4
    assert cells["mean"].notna().all()

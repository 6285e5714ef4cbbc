"""What the encoder is told, and what goes between nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.engine import load_record, save_record
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.group.encode.encoder_config import (
    EncoderChoice,
    coordinates,
    learns_scale,
    refuse_contradictions,
    require_repetition_times,
)
from fmmtc_bidsapp.group.encode.person import (
    EncodedPerson,
    MatrixRun,
    SeriesRun,
    encode_person,
    fit_scale_of_runs,
    merge_matrices,
)
from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.windows import Scale, normalise
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import (
    Calibration,
    Connectome,
    Fold,
    FoldPredictions,
    Person,
    SeriesFile,
)
from fmmtc_bidsapp.signals.resampling import resample


def cohort(coordinates_mm: np.ndarray | None) -> Cohort:
    return Cohort((), (), (), ("A", "B"), "Two", None, coordinates_mm, ())


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


def test_without_an_encoder_nothing_is_asked_of_the_atlas_or_the_series() -> None:
    told, notice = coordinates(cohort(None), ModelOptions(encoder="none"))
    assert (told, notice) == (None, "")
    require_repetition_times([person(None)], ModelOptions(encoder="none"))


def test_matrices_need_no_encoder_and_the_error_says_so() -> None:
    run = SeriesFile(Path("a_relmat.tsv"), {}, None, None, None, None, is_matrix=True)
    people = [Person("sub-1", None, 1, (run,))]
    require_repetition_times(people, ModelOptions(encoder="none"))
    for encoder in ("brainlm", "random"):
        with pytest.raises(
            InputError, match=r"only connectivity matrices .*a_relmat.*--encoder none"
        ):
            require_repetition_times(people, ModelOptions(encoder=encoder))


def test_only_the_pretrained_encoder_is_followed_by_the_one_without_pretraining() -> None:
    def choice(encoder: str) -> EncoderChoice:
        options = ModelOptions(encoder=encoder)
        return EncoderChoice(options, 3, "d", None, "cpu", "float32", also_random=True)

    assert [choice(name).encodes_twice for name in ("brainlm", "random", "none")] == [
        True,
        False,
        False,
    ]
    untrained = choice("brainlm").untrained("e")
    assert (untrained.options.encoder, untrained.digest, untrained.seed) == ("random", "e", 3)
    assert not untrained.encodes_twice


@pytest.mark.parametrize("encoder", ["random", "none"])
def test_what_is_tuned_from_the_pretrained_weights_refuses_another_encoder(encoder: str) -> None:
    refuse_contradictions(["brainlm-tuned"], ModelOptions(encoder="brainlm"), ())
    with pytest.raises(UsageError, match=f"brainlm-tuned is tuned.*leave --encoder {encoder} out"):
        refuse_contradictions(["brainlm-tuned"], ModelOptions(encoder=encoder), ())


def test_a_scale_is_learnt_only_for_models_that_see_series() -> None:
    robust = ModelOptions(normalisation="robust")
    wanted = {(): True, ("fmmtc",): True, ("lstm", "ridge-fc"): True, ("ridge-fc", "bnt"): False}
    assert {names: learns_scale(names, robust, has_series=True) for names in wanted} == wanted
    assert not learns_scale(["fmmtc"], robust, has_series=False)
    assert not learns_scale(["fmmtc"], ModelOptions(), has_series=True)


SMALL = BrainLMSize(
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    conv_kernel_size=3,
    timepoint_patching_size=5,
    num_timepoints_per_voxel=20,
)


def encode(
    runs: list[SeriesRun], *, encoded: bool = True, scale: Scale | None = None, **changes: Any
) -> EncodedPerson:
    options = {"encoder": "random", "window": 20, "token_orders": 2} | changes
    chosen = ModelOptions(**options)
    encoder = None
    if encoded:
        network = BrainLM.from_size(SMALL, torch.Generator().manual_seed(0))
        encoder = BrainLMEncoder(network, chosen, 0)
    return encode_person(encoder, runs, np.zeros((3, 3)), chosen, scale=scale)


def noise(n_volumes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_volumes, 3))


def test_a_run_that_is_too_short_is_left_out_with_its_reason_and_the_person_stays() -> None:
    long = SeriesRun("long.tsv", noise(40))
    both = encode([SeriesRun("short.tsv", long.signal[:4]), long])
    alone = encode([long])
    for name, array in alone.arrays.items():
        np.testing.assert_array_equal(both.arrays[name], array)
    assert both.about["n_volumes"] == {"long.tsv": 40}
    assert "4 volumes" in both.about["left_out"]["short.tsv"]


def test_a_person_without_a_run_that_can_be_encoded_is_an_error_that_names_each() -> None:
    short = noise(4)
    with pytest.raises(InputError, match=r"a\.tsv: .*b\.tsv: "):
        encode([SeriesRun("a.tsv", short), SeriesRun("b.tsv", short)])


def test_one_token_order_has_no_spread() -> None:
    assert encode([SeriesRun("a.tsv", noise(20))], token_orders=1).about["order_spread"] is None


def test_the_series_is_the_first_window_of_the_first_run_normalised_over_the_scan() -> None:
    first, second = noise(50, 1), noise(50, 2)
    person = encode([SeriesRun("a.tsv", first), SeriesRun("b.tsv", second)])
    assert person.series is not None
    expected = normalise(first, "scan")[:20].T.astype(np.float32)
    np.testing.assert_array_equal(person.series, expected)


def test_without_an_encoder_series_and_connectivity_are_the_same_and_nothing_is_encoded() -> None:
    runs = [SeriesRun("a.tsv", noise(50))]
    without, with_one = encode(runs, encoded=False), encode(runs)
    assert without.cls.shape == (0,)
    np.testing.assert_array_equal(without.fc, with_one.fc)
    np.testing.assert_array_equal(without.series, with_one.series)
    assert without.about["n_windows"] == 0


def test_resampling_changes_what_is_encoded_and_not_the_connectivity() -> None:
    run = SeriesRun("a.tsv", noise(50), 2.0)
    resampled = encode([run], resample_tr=1.0)
    by_hand = encode([SeriesRun("a.tsv", resample(run.signal, 2.0, 1.0))])
    np.testing.assert_array_equal(resampled.cls, by_hand.cls)
    np.testing.assert_array_equal(resampled.series, by_hand.series)
    np.testing.assert_array_equal(resampled.fc, encode([run]).fc)
    assert resampled.about["n_volumes"] == {"a.tsv": 50}


def test_a_run_of_unknown_repetition_time_cannot_be_resampled_and_is_left_out() -> None:
    runs = [SeriesRun("a.tsv", noise(50), 2.0), SeriesRun("b.tsv", noise(50))]
    left_out = encode(runs, resample_tr=1.0).about["left_out"]
    assert "repetition time is unknown" in left_out["b.tsv"]


PARCELS = ("a", "b", "c")


def matrix(
    values: tuple[float, float, float], *, parcels: tuple[str, ...] = PARCELS, diagonal: float = 1.0
) -> np.ndarray:
    """Three edges, ab ac bc, with rows and columns in the order of the names."""
    edge = dict(zip((("a", "b"), ("a", "c"), ("b", "c")), values, strict=True))
    return np.array(
        [[diagonal if i == j else edge[min(i, j), max(i, j)] for j in parcels] for i in parcels]
    )


def test_matrices_are_merged_by_name_as_mean_fisher_z_weighted_by_volumes() -> None:
    first, second = (0.2, 0.4, -0.6), (0.5, np.nan, 0.1)
    order = ("c", "a", "b")
    merged = merge_matrices(
        [
            MatrixRun("1", Connectome(matrix(first), PARCELS, "correlation"), 100),
            MatrixRun(
                "2",
                Connectome(
                    np.arctanh(matrix(second, parcels=order, diagonal=0)),
                    order,
                    "correlation",
                    fisher_z=True,
                ),
                300,
            ),
        ],
        PARCELS,
    )
    ab = np.tanh((100 * np.arctanh(0.2) + 300 * np.arctanh(0.5)) / 400)
    bc = np.tanh((100 * np.arctanh(-0.6) + 300 * np.arctanh(0.1)) / 400)
    np.testing.assert_allclose(merged.fc, matrix((ab, 0.4, bc)), rtol=1e-6)
    assert merged.arrays["cls"].shape == (0,)
    assert "series" not in merged.arrays


def test_matrices_of_unknown_length_count_alike() -> None:
    runs = [
        MatrixRun("1", Connectome(matrix((0.2, 0.2, 0.2)), PARCELS, "correlation"), 100),
        MatrixRun("2", Connectome(matrix((0.6, 0.6, 0.6)), PARCELS, "correlation")),
    ]
    r = np.tanh((np.arctanh(0.2) + np.arctanh(0.6)) / 2)
    np.testing.assert_allclose(merge_matrices(runs, PARCELS).fc, matrix((r, r, r)), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "measure", "reason"),
    [
        (matrix((0.2, 1.4, 0.1)), "correlation", "values beyond 1"),
        (matrix((0.2, 0.4, 0.1)), "covariance", "it holds covariance"),
        (np.full((3, 3), np.nan), "correlation", "no value"),
        (np.triu(matrix((0.2, 0.4, 0.1))), "correlation", "not symmetric"),
    ],
)
def test_a_matrix_that_holds_no_correlations_is_left_out_with_the_reason(
    values: np.ndarray, measure: str, reason: str
) -> None:
    good = MatrixRun("good", Connectome(matrix((0.2, 0.4, 0.1)), PARCELS, "correlation"))
    bad = MatrixRun("bad", Connectome(values, PARCELS, measure))
    assert reason in merge_matrices([good, bad], PARCELS).about["left_out"]["bad"]
    with pytest.raises(InputError, match=reason):
        merge_matrices([bad], PARCELS)


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
        seed=4,
        refits=np.array([[0.2], [0.4]]),
        selection="last-epoch",
    )
    save_record(tmp_path / "fold.npz", written)
    read = load_record(tmp_path / "fold.npz", FoldPredictions)
    assert read.calibration == written.calibration
    assert (read.model, read.epoch, read.notes) == ("fmmtc", 3, {"edges_imputed_train": 2.0})
    assert (read.fold.repeat, read.fold.fold) == (1, 2)
    assert (read.seed, read.selection) == (4, "last-epoch")
    np.testing.assert_array_equal(read.refits, written.refits)
    np.testing.assert_array_equal(read.logit, written.logit)
    np.testing.assert_array_equal(read.fold.train, written.fold.train)


@pytest.mark.parametrize("normalisation", ["scan", "robust"])
def test_same_input_shows_every_model_the_first_window_of_the_first_run_and_no_more(
    normalisation: str,
) -> None:
    options = ModelOptions(window=20, normalisation=normalisation, same_input=True)
    long, other = SeriesRun("a.tsv", noise(70, 1)), SeriesRun("b.tsv", noise(50, 2))
    window = SeriesRun("a.tsv", long.signal[:20])
    scale = fit_scale_of_runs([long], options)
    by_hand = fit_scale_of_runs([window], replace(options, same_input=False))
    np.testing.assert_array_equal(scale.median, by_hand.median)
    given = {"normalisation": normalisation, "scale": scale if normalisation == "robust" else None}
    found = encode([long, other], same_input=True, **given)
    expected = encode([window], **given)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    np.testing.assert_allclose(found.fc, np.corrcoef(long.signal[:20].T), atol=1e-6)
    assert found.about["n_volumes"] == {"a.tsv": 20}
    assert "--same-input" in found.about["left_out"]["b.tsv"]


def test_same_input_takes_the_next_run_where_the_first_cannot_be_read() -> None:
    runs = [SeriesRun("short.tsv", noise(4)), SeriesRun("long.tsv", noise(50))]
    found = encode(runs, short_series="refuse", same_input=True)
    assert found.about["n_volumes"] == {"long.tsv": 20}
    assert "4 volumes" in found.about["left_out"]["short.tsv"]


def test_same_input_of_resampled_series_is_the_same_time_of_scanning() -> None:
    run = SeriesRun("a.tsv", noise(70), 2.0)
    found = encode([run], encoded=False, resample_tr=1.0, same_input=True)
    # The last of 20 volumes of 1 s lies between the 10th and the 11th as scanned.
    np.testing.assert_allclose(found.fc, np.corrcoef(run.signal[:11].T), atol=1e-6)
    assert not np.isnan(found.series).any()


def test_same_input_is_refused_where_there_are_matrices_alone() -> None:
    run = SeriesFile(Path("a_relmat.tsv"), {}, None, None, None, None, is_matrix=True)
    options = ModelOptions(encoder="none", same_input=True)
    with pytest.raises(InputError, match=r"--same-input.*only connectivity matrices .*a_relmat"):
        require_repetition_times([Person("sub-1", None, 1, (run,))], options)

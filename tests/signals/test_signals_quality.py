"""Quality of a run with planted faults, each figure against its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmmtc_bidsapp.records import CleanedSeries
from fmmtc_bidsapp.signals.connectivity import connect
from fmmtc_bidsapp.signals.damage import COPY, EMPTY, NOT_FINITE
from fmmtc_bidsapp.signals.parcellation.means import ParcelMeans
from fmmtc_bidsapp.signals.quality import assess

N_PARCELS, N_VOLUMES = 8, 30
OVERLAP = {"dice": 0.93, "correlation": 0.9, "overlap": 0.98}
ANAT_OVERLAP = {"dice": 0.95, "correlation": 0.92, "overlap": 0.99}


@pytest.fixture
def means():
    coverage = np.linspace(0.6, 1, N_PARCELS)
    return ParcelMeans(
        signal=np.random.default_rng(2).normal(size=(N_VOLUMES, N_PARCELS)) + 100,
        coverage=coverage,
        n_voxels_used=(coverage * 100).astype(int),
        n_voxels_constant=4,
        n_voxels_nonfinite=2,
        zero_variance=np.zeros(N_PARCELS, dtype=bool),
        low_coverage=np.zeros(N_PARCELS, dtype=bool),
        shrunk=np.arange(N_PARCELS) == 3,
        damage=np.zeros(N_VOLUMES, dtype=np.int8),
        tr_header_s=2.0,
        n_volumes=N_VOLUMES,
    )


def without_data(means, n_missing):
    signal, low = means.signal.copy(), means.low_coverage.copy()
    signal[:, :n_missing], low[:n_missing] = np.nan, True
    return replace(means, signal=signal, low_coverage=low)


def cleaning(
    means, *, dummy=(), censored=(), unknown=(), fd_mm=None, dof=25, shrink=0.5, regressors=()
):
    """Clean by halving the signal, so that what follows is known."""
    out = np.zeros((2, N_VOLUMES), dtype=bool)
    out[0, list(dummy)], out[1, list(censored)] = True, True
    return CleanedSeries(
        signal=shrink * means.signal[~out.any(axis=0)],
        fd_mm=fd_mm,
        std_dvars=None,
        dummy=out[0],
        censored=out[1],
        unknown=np.isin(np.arange(N_VOLUMES), unknown),
        design={name: np.zeros(N_VOLUMES) for name in regressors},
        dof=dof,
    )


def judged(means, cleaned=None, **changes):
    cleaned = cleaning(means) if cleaned is None else cleaned
    settings = {
        "tr_sidecar_s": 2.0,
        "relative_rms_mm": None,
        "atlas_resampling": "none",
        "template_overlap": OVERLAP,
        "anat_overlap": ANAT_OVERLAP,
        "min_volumes": 10,
        "min_dof": 5,
    }
    matrix = connect(cleaned.signal, "correlation")
    return assess(means, cleaned, matrix, **(settings | changes))


def motion():
    fd_mm = np.random.default_rng(5).uniform(0.05, 0.4, N_VOLUMES)
    fd_mm[0] = np.nan
    return fd_mm


def test_a_good_run_is_usable_without_remarks(means):
    found = judged(means, cleaning(means, fd_mm=motion(), regressors=["csf", "trans_x"]))
    assert found.usable
    assert found.reasons == "n/a"
    assert (found.n_volumes, found.n_parcels, found.n_parcels_missing) == (30, N_PARCELS, 0)
    assert (found.n_voxels_constant, found.n_voxels_nonfinite) == (4, 2)
    assert (found.coverage_min, found.coverage_median) == pytest.approx((0.6, 0.8))
    assert (found.n_regressors, found.dof, found.n_parcels_shrunk) == (2, 25, 1)
    assert (found.norm_dice, found.norm_correlation, found.norm_overlap) == (0.93, 0.9, 0.98)
    assert (found.coreg_dice, found.coreg_correlation, found.coreg_overlap) == (0.95, 0.92, 0.99)
    assert found.tr_source == "sidecar"
    assert found.atlas_resampling == "none"


def test_volumes_are_counted_once_each(means):
    found = judged(means, cleaning(means, dummy=[0, 1], censored=[7, 8, 20]))
    counts = (found.num_dummy_volumes, found.num_censored_volumes, found.num_retained_volumes)
    assert counts == (2, 3, 25)
    assert found.retained_s == 50


def test_motion_leaves_dummies_out_and_after_censoring_what_was_censored(means):
    fd_mm = motion()
    rms_mm = fd_mm / 2
    cleaned = cleaning(means, dummy=[0, 1], censored=[7], fd_mm=fd_mm)
    found = judged(means, cleaned, relative_rms_mm=rms_mm)
    kept = np.delete(np.arange(N_VOLUMES), [0, 1, 7])
    assert found.mean_fd == pytest.approx(fd_mm[2:].mean())
    assert found.max_fd == pytest.approx(fd_mm[2:].max())
    assert found.mean_fd_post_censoring == pytest.approx(fd_mm[kept].mean())
    assert found.mean_relative_rms == pytest.approx(rms_mm[kept].mean())
    assert found.max_relative_rms == pytest.approx(rms_mm[kept].max())


def test_dvars_is_the_rms_of_change_between_volumes_that_follow_each_other(means):
    cleaned = cleaning(means, dummy=[0, 1], censored=[7, 12], fd_mm=motion())
    found = judged(means, cleaned)
    change = [
        np.sqrt(((means.signal[t] - means.signal[t - 1]) ** 2).mean()) for t in range(1, N_VOLUMES)
    ]
    before = {t: dvars for t, dvars in enumerate(change, start=1) if t - 1 > 1}
    after = {t: dvars / 2 for t, dvars in before.items() if not {t, t - 1} & {7, 12}}
    assert len(after) == N_VOLUMES - 3 - 4
    assert found.mean_dvars_initial == pytest.approx(np.mean(list(before.values())))
    assert found.mean_dvars_final == pytest.approx(np.mean(list(after.values())))
    for dvars, correlation in (
        (before, found.fd_dvars_correlation_initial),
        (after, found.fd_dvars_correlation_final),
    ):
        expected = np.corrcoef(cleaned.fd_mm[list(dvars)], list(dvars.values()))[0, 1]
        assert correlation == pytest.approx(expected)


def test_a_jump_with_each_movement_shows_before_cleaning_and_not_after(means):
    fd_mm = motion()
    jumps = np.cumsum(np.nan_to_num(fd_mm) * np.where(np.arange(N_VOLUMES) % 2, 40, -40))
    moved = replace(means, signal=means.signal + jumps[:, None])
    cleaned = replace(cleaning(means, fd_mm=fd_mm), signal=means.signal)
    found = judged(moved, cleaned)
    assert found.fd_dvars_correlation_initial > 0.95
    assert abs(found.fd_dvars_correlation_final) < 0.5


def test_parcels_without_data_take_no_part_in_dvars_or_tsnr(means):
    cut = without_data(means, 3)
    rest = means.signal[:, 3:]
    found = judged(cut)
    expected = np.sqrt((np.diff(rest, axis=0) ** 2).mean(axis=1)).mean()
    assert found.mean_dvars_initial == pytest.approx(expected)
    tsnr = rest.mean(axis=0) / rest.std(axis=0)
    assert (found.parcel_tsnr_median, found.parcel_tsnr_min) == pytest.approx(
        (np.median(tsnr), tsnr.min())
    )


def test_dummy_volumes_do_not_lower_the_tsnr(means):
    bright = means.signal.copy()
    bright[:2] += 500
    found = judged(replace(means, signal=bright), cleaning(means, dummy=[0, 1]))
    assert found.parcel_tsnr_median > 50


def test_mean_connectivity_is_that_of_the_edges(means):
    matrix = np.corrcoef(means.signal.T)
    edges = matrix[~np.eye(N_PARCELS, dtype=bool)]
    assert judged(means).fc_mean == pytest.approx(edges.mean())


def test_half_of_the_parcels_is_enough_and_fewer_is_not(means):
    half, fewer = judged(without_data(means, 4)), judged(without_data(means, 5))
    assert half.usable
    assert not fewer.usable
    assert fewer.reasons.startswith("5 of 8 parcels have no data")
    assert fewer.n_parcels_missing == fewer.n_parcels_low_coverage == 5


def test_too_few_retained_volumes_make_a_run_unusable(means):
    cleaned = cleaning(means, censored=range(10), fd_mm=motion())
    assert judged(means, cleaned, min_volumes=20).usable
    found = judged(means, cleaned, min_volumes=21)
    assert not found.usable
    assert found.reasons == (
        "20 of 30 volumes are retained, at least 21 are needed (--min-volumes)"
    )


def test_too_few_degrees_of_freedom_make_a_run_unusable(means):
    cleaned = cleaning(means, dof=7, fd_mm=motion())
    assert judged(means, cleaned, min_dof=7).usable
    found = judged(means, cleaned, min_dof=8)
    assert not found.usable
    assert "leaves 7 degrees of freedom, at least 8" in found.reasons


def test_constant_series_are_not_usable(means):
    still = replace(
        means,
        signal=np.ones_like(means.signal) * (0.1 + 0.2),
        zero_variance=np.ones(N_PARCELS, dtype=bool),
    )
    found = judged(still)
    assert not found.usable
    assert found.fc_mean is None
    assert found.parcel_tsnr_median is None
    assert found.n_parcels_zero_variance == N_PARCELS
    assert "series that varies" in found.reasons


def test_a_repetition_time_that_the_header_contradicts_is_a_remark_only(means):
    found = judged(replace(means, tr_header_s=1.0), tr_sidecar_s=2.0)
    assert found.usable
    assert (found.tr_s, found.tr_header_s, found.tr_source) == (2.0, 1.0, "sidecar")
    assert "header says a repetition time of 1 s, its sidecar 2 s" in found.reasons
    assert "header" not in judged(replace(means, tr_header_s=2.0001), tr_sidecar_s=2.0).reasons


def test_a_repetition_time_that_only_the_header_gives_is_used_and_is_a_remark_only(means):
    found = judged(
        replace(means, tr_header_s=2.5), cleaning(means, fd_mm=motion()), tr_sidecar_s=None
    )
    assert found.usable
    assert (found.tr_s, found.tr_header_s, found.tr_source) == (2.5, 2.5, "header")
    assert found.retained_s == 75
    assert found.reasons == (
        "the repetition time of 2.5 s is that of the image's header, no sidecar confirms it"
    )


def test_an_unknown_repetition_time_or_motion_is_a_remark_only(means):
    found = judged(replace(means, tr_header_s=None), tr_sidecar_s=None)
    assert found.usable
    assert (found.tr_s, found.tr_source) == (None, "n/a")
    assert found.reasons == "repetition time unknown; head motion unknown"
    assert found.retained_s is None
    assert found.mean_fd is None
    assert found.fd_dvars_correlation_initial is None
    assert found.mean_relative_rms is None


@pytest.mark.parametrize(("dice", "told"), [(0.79, True), (0.81, False)])
def test_a_mask_that_hardly_overlaps_the_template_is_a_remark_only(means, dice, told):
    found = judged(
        means, cleaning(means, fd_mm=motion()), template_overlap=OVERLAP | {"dice": dice}
    )
    assert found.usable
    assert ("Dice of 0.79" in found.reasons) is told


def test_an_overlap_that_was_not_measured_is_unknown_and_no_remark(means):
    cleaned = cleaning(means, fd_mm=motion())
    found = judged(means, cleaned, template_overlap=None, anat_overlap=None)
    assert (found.norm_dice, found.norm_correlation, found.norm_overlap) == (None, None, None)
    assert (found.coreg_dice, found.coreg_correlation, found.coreg_overlap) == (None, None, None)
    assert found.reasons == "n/a"


def test_motion_that_never_changes_has_no_correlation(means):
    found = judged(means, cleaning(means, fd_mm=np.full(N_VOLUMES, 0.1)))
    assert found.mean_fd == pytest.approx(0.1)
    assert found.fd_dvars_correlation_initial is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (EMPTY, "27 to 29 are empty"),
        (NOT_FINITE, "27 to 29 hold NaN or infinity"),
        (COPY, "27 to 29 are copies of other volumes"),
    ],
)
def test_damaged_volumes_make_a_run_unusable_and_are_named(means, code, words):
    damage = np.zeros(N_VOLUMES, dtype=np.int8)
    damage[-3:] = code
    found = judged(replace(means, damage=damage))
    assert (found.usable, found.num_damaged_volumes) == (False, 3)
    assert found.damaged_volumes == words
    assert f"3 retained volumes are damaged ({words}, counted from 0)" in found.reasons


def test_damaged_volumes_that_are_left_out_for_motion_are_a_remark_only(means):
    damage = np.zeros(N_VOLUMES, dtype=np.int8)
    damage[12] = EMPTY
    found = judged(replace(means, damage=damage), cleaning(means, censored=[12]))
    assert (found.usable, found.num_damaged_volumes) == (True, 0)
    assert "volumes that were censored are damaged (12 is empty" in found.reasons


def test_damaged_dummies_matter_to_nobody(means):
    damage = np.zeros(N_VOLUMES, dtype=np.int8)
    damage[:2] = EMPTY
    found = judged(replace(means, damage=damage), cleaning(means, dummy=[0, 1]))
    assert (found.usable, found.num_damaged_volumes, found.damaged_volumes) == (True, 0, "n/a")


def test_a_mean_connectivity_or_tsnr_that_no_brain_has_is_a_remark_with_its_limit(means):
    step = means.signal + 50 * (np.arange(N_VOLUMES) > 26)[:, None]
    found = judged(replace(means, signal=step))
    assert found.usable
    assert f"mean connectivity of {found.fc_mean:.2f} is above 0.8" in found.reasons
    assert f"median parcel tSNR of {found.parcel_tsnr_median:.1f} is below 20" in found.reasons
    covariance = judged(replace(means, signal=step), measure="covariance")
    assert "mean connectivity" not in covariance.reasons


def test_motion_that_is_unknown_in_some_volumes_is_counted_and_told(means):
    fd_mm = motion()
    fd_mm[[1, 10, 11]] = np.nan
    cleaned = cleaning(means, dummy=[0, 1], censored=[10, 11, 15], unknown=[10, 11], fd_mm=fd_mm)
    found = judged(means, cleaned)
    assert (found.num_fd_unknown, found.num_unknown_volumes) == (2, 2)
    assert found.mean_fd == pytest.approx(np.delete(fd_mm, [0, 1, 10, 11]).mean())
    assert "framewise displacement is unknown in 2 of 30 volumes" in found.reasons
    assert "2 volumes are left out because their motion is unknown" in found.reasons


def test_the_first_volume_without_displacement_is_no_gap_in_what_is_known(means):
    found = judged(means, cleaning(means, fd_mm=motion()))
    assert (found.num_fd_unknown, found.reasons) == (0, "n/a")


def test_a_long_gap_is_counted_and_is_a_remark_only_where_a_filter_crosses_it(means):
    long = replace(cleaning(means, dummy=[0], censored=[2, *range(5, 21)]), low_pass_hz=0.1)
    found = judged(means, long)
    assert (found.longest_gap, found.usable) == (16, True)
    assert "16 volumes in a row are censored, more than 15" in found.reasons
    assert "in a row" not in judged(means, replace(long, low_pass_hz=None)).reasons
    at_the_limit = replace(cleaning(means, censored=range(15)), high_pass_hz=0.01)
    assert judged(means, at_the_limit).longest_gap == 15
    assert "in a row" not in judged(means, at_the_limit).reasons

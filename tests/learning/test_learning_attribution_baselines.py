"""What integrated gradients start from."""

from __future__ import annotations

import numpy as np
import pytest
from explained_cohort import fold_of

from fmmtc_bidsapp.learning.explanation.attribution_baselines import (
    BASELINES,
    FoldBaselines,
    phase_randomise,
)

SOURCES = ("series", "fc")


def starts(people, setup, name="resnet-fc"):
    fold = fold_of(people)
    return FoldBaselines(people, fold.train, SOURCES, 1)


def test_phases_are_drawn_anew_while_spectrum_and_mean_stay():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 400))
    series = 5 + shared + 0.5 * rng.normal(size=(6, 400))
    drawn = phase_randomise(series, rng)
    for before, after in zip(series, drawn, strict=True):
        np.testing.assert_allclose(np.abs(np.fft.rfft(after)), np.abs(np.fft.rfft(before)))
    off_diagonal = ~np.eye(6, dtype=bool)
    assert np.corrcoef(series)[off_diagonal].min() > 0.7
    assert np.abs(np.corrcoef(drawn)[off_diagonal]).max() < 0.25


def test_what_is_missing_stays_missing_in_a_surrogate():
    series = np.random.default_rng(0).normal(size=(4, 11))
    series[2] = np.nan
    series[:, 9:] = np.nan
    drawn = phase_randomise(series, np.random.default_rng(1))
    np.testing.assert_array_equal(np.isnan(drawn), np.isnan(series))
    there = [0, 1, 3]
    np.testing.assert_allclose(drawn[there, :9].mean(axis=1), series[there, :9].mean(axis=1))


@pytest.mark.parametrize("how", sorted(BASELINES))
def test_no_baseline_changes_the_diagonal_or_what_the_person_lacks(whole_cohort, setup, how):
    people = whole_cohort()
    series, fc = people.series.copy(), people.fc.copy()
    series[22, 3] = fc[22, 3] = fc[22, :, 3] = np.nan
    people = people.with_arrays(series=series, fc=fc)
    for found in starts(people, setup).of(how, 22, 2):
        np.testing.assert_array_equal(np.isnan(found["fc"]), np.isnan(fc[22]))
        np.testing.assert_array_equal(np.isnan(found["series"]), np.isnan(series[22]))
        np.testing.assert_array_equal(np.diag(found["fc"]), np.diag(fc[22]))
        assert found["fc"].dtype == found["series"].dtype == np.float32


def test_the_mean_is_of_the_training_people_who_have_a_value(whole_cohort, setup):
    people = whole_cohort()
    series, fc = people.series.copy(), people.fc.copy()
    series[:5, 3] = fc[:5, 3] = fc[:5, :, 3] = np.nan
    series[:20, 6] = np.nan
    people = people.with_arrays(series=series, fc=fc)
    (found,) = starts(people, setup).of("mean", 22, 1)
    np.testing.assert_allclose(found["series"][3], series[5:20, 3].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["fc"][3, 4], fc[5:20, 3, 4].mean(), rtol=1e-5)
    # Nobody in training has it: the person's own stays, and says nothing.
    np.testing.assert_array_equal(found["series"][6], series[22, 6])


def test_surrogates_differ_from_draw_to_draw_and_are_the_same_again(whole_cohort, setup):
    own = starts(whole_cohort(), setup)
    first, second = own.of("surrogate", 22, 2)
    assert not np.array_equal(first["fc"], second["fc"])
    np.testing.assert_array_equal(own.of("surrogate", 22, 1)[0]["series"], first["series"])
    off_diagonal = ~np.eye(8, dtype=bool)
    expected = np.corrcoef(first["series"].astype(float))[off_diagonal]
    np.testing.assert_allclose(first["fc"][off_diagonal], expected, atol=1e-5)

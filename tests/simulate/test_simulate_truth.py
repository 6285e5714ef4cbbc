"""What was planted is there, where it was planted, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.simulate.options import EFFECTS, SimulationOptions
from fmmtc_bidsapp.simulate.truth import GroundTruth, simulate_cohort, simulate_series

NETWORKS = tuple(f"Network{parcel % 10}" for parcel in range(100))
STUDY = SimulationOptions(people=60, controls=0, volumes=200)
SMALL = SimulationOptions(people=12, controls=4, volumes=30)


def auroc(truth: GroundTruth, name: str) -> float:
    return next(each.auroc for each in truth.oracles if each.name == name)


def mean_auroc(options: SimulationOptions, name: str) -> float:
    cohorts = [simulate_cohort(replace(options, seed=seed), NETWORKS) for seed in range(1, 6)]
    return float(np.mean([auroc(truth, name) for truth in cohorts]))


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize(("strength", "low", "high"), [(1.0, 0.95, 0.985), (0.25, 0.72, 0.88)])
def test_the_documented_strengths_give_the_documented_oracles(
    effect: str, strength: float, low: float, high: float
) -> None:
    options = replace(STUDY, effects=(effect,), strength=strength)
    assert low <= mean_auroc(options, effect) <= high


@pytest.mark.parametrize("oracle", EFFECTS)
def test_without_an_effect_every_oracle_is_at_chance(oracle: str) -> None:
    assert mean_auroc(replace(STUDY, effects=()), oracle) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_does_not_show_in_the_oracles_of_the_others(effect: str) -> None:
    truth = simulate_cohort(replace(STUDY, effects=(effect,), seed=1), NETWORKS)
    without = simulate_cohort(replace(STUDY, effects=(effect,), strength=0, seed=1), NETWORKS)
    for name in set(EFFECTS) - {effect}:
        # The same noise with and without the effect: what is left is what the effect leaks.
        assert auroc(truth, name) == pytest.approx(auroc(without, name), abs=0.08)


def test_one_of_two_effects_alone_cannot_exceed_its_ceiling_but_both_can() -> None:
    options = replace(STUDY, effects=("level", "coupling"), strength=2)
    # 0.83 is the AUROC of z_1 against [z_1 + z_2 > 0].
    assert mean_auroc(options, "level") == pytest.approx(0.83, abs=0.06)
    assert mean_auroc(options, "coupling") == pytest.approx(0.83, abs=0.06)
    assert mean_auroc(options, "combined") > 0.95


def test_outcome_noise_lowers_what_a_strong_effect_can_tell() -> None:
    strong = replace(STUDY, strength=2)
    assert mean_auroc(replace(strong, outcome_noise=1), "coupling") < mean_auroc(strong, "coupling")


def test_only_planted_networks_change_with_the_effect() -> None:
    z = {"level": 2.0, "amplitude": 2.0, "coupling": 2.0, "autoregression": 2.0}
    options = replace(SMALL, effects=EFFECTS, strength=3, planted_networks=("Network2", "Network5"))
    none = simulate_series(options, NETWORKS, {}, person=0)
    shifted = simulate_series(options, NETWORKS, z, person=0)
    changed = (none != shifted).any(axis=0)
    planted = np.isin(NETWORKS, ("Network2", "Network5"))
    np.testing.assert_array_equal(changed, planted)


def test_a_long_series_has_the_parameters_it_was_given() -> None:
    options = replace(SMALL, volumes=20_000, strength=0, effects=())
    series = simulate_series(options, NETWORKS, {}, person=3).astype(float)
    centred = series - series.mean(axis=0)
    np.testing.assert_allclose(series.std(axis=0), options.fluctuation, rtol=0.1)
    lag_1 = (centred[1:] * centred[:-1]).sum(axis=0) / (centred**2).sum(axis=0)
    np.testing.assert_allclose(lag_1, 0.5, atol=0.05)
    within = np.corrcoef(series.T)[0, 10]
    assert within == pytest.approx(1 - options.parcel_noise, abs=0.05)
    assert series.mean() == pytest.approx(options.baseline, rel=0.05)


def test_a_person_does_not_depend_on_how_many_others_there_are() -> None:
    few = simulate_cohort(replace(SMALL, strength=0), NETWORKS)
    many = simulate_cohort(replace(SMALL, strength=0, people=15), NETWORKS)
    np.testing.assert_array_equal(few.series, many.series[:12])


def test_the_seed_decides_everything() -> None:
    first, again, other = (
        simulate_cohort(replace(SMALL, seed=seed), NETWORKS) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.series, again.series)
    assert first.covariates == again.covariates
    assert not np.array_equal(first.series, other.series)


@pytest.mark.parametrize(("people", "ones"), [(24, 10), (25, 11)])
def test_outcomes_are_balanced_and_controls_have_none(people: int, ones: int) -> None:
    truth = simulate_cohort(replace(SMALL, people=people), NETWORKS)
    assert np.bincount(truth.y + 1).tolist() == [4, people - 4 - ones, ones]
    assert truth.covariates["type"][:4] == ("control",) * 4
    assert truth.covariates["Response"][:4] == ("n/a",) * 4
    assert truth.covariates["Drug"][:4] == ("n/a",) * 4


def test_no_arm_tells_the_response() -> None:
    truth = simulate_cohort(replace(SMALL, people=64), NETWORKS)
    arms = np.array(truth.covariates["Drug"])
    for arm in ("placebo", "duloxetine"):
        assert truth.y[arms == arm].mean() == pytest.approx(0.5, abs=0.05)


def test_the_responders_of_a_noiseless_outcome_are_the_highest_latents() -> None:
    truth = simulate_cohort(replace(SMALL, people=34), NETWORKS)
    z = truth.latents["coupling"]
    assert z[truth.y == 1].min() > z[truth.y == 0].max()


def test_names_sort_as_numbers_do() -> None:
    assert simulate_cohort(SMALL, NETWORKS).participant_ids[9] == "sub-10"


@pytest.mark.parametrize(
    "wrong",
    [
        {"effects": ("mood",)},
        {"effects": ("level", "level")},
        {"people": 7, "controls": 4},
        {"volumes": 10},
        {"strength": -1.0},
        {"parcel_noise": 1.0},
        {"tr_s": 0.0},
    ],
)
def test_impossible_studies_are_refused_by_the_name_of_the_flag(wrong: dict[str, object]) -> None:
    flag = next(iter(wrong)).replace("_", "-")
    with pytest.raises(UsageError, match=f"--{flag} "):
        SimulationOptions(**wrong)  # type: ignore[arg-type]


def test_networks_that_the_atlas_lacks_are_refused_with_those_it_has() -> None:
    options = replace(SMALL, planted_networks=("Network1", "Visual"))
    with pytest.raises(UsageError, match="Network9"):
        simulate_cohort(options, NETWORKS)


def test_an_atlas_without_networks_is_refused() -> None:
    with pytest.raises(InputError, match="two networks"):
        simulate_cohort(SMALL, ("n/a",) * 100)

"""Variants are checked, freed of ancestry and selected in the training rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.genotypes import read_genotypes
from fmmtc_bidsapp.genotypes.quality import chromosome_kinds
from fmmtc_bidsapp.modalities.snps import SnpOptions, fit_snps, prune

PLAIN = SnpOptions(ancestry_components=0)


def draw(n_people: int, n_variants: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.1, 0.5, n_variants)
    return rng.binomial(2, frequency, (n_people, n_variants)).astype(np.float32)


def populations(
    n: int, n_variants: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw people of two populations whose frequencies differ; returns copies and population."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.2, 0.8, n_variants)
    other = np.clip(frequency + rng.choice([-0.15, 0.15], n_variants), 0.05, 0.95)
    population = np.arange(n) % 2
    chosen = np.where(population[:, None] == 1, other, frequency)
    return rng.binomial(2, chosen).astype(np.float32), population


def everywhere(copies: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(copies.shape[1], dtype=bool)


def test_what_is_learnt_hangs_on_the_training_rows_alone() -> None:
    copies, rows = draw(40, 60), np.arange(0, 40, 2)
    y = np.arange(20) % 2
    options = SnpOptions(ancestry_components=2, select=10)
    changed = copies.copy()
    changed[1::2] = np.nan
    before, after = (
        fit_snps(each, everywhere(each), rows, y, options) for each in (copies, changed)
    )
    for name, value in vars(before).items():
        np.testing.assert_array_equal(value, getattr(after, name))


def test_quality_is_counted_in_the_training_rows() -> None:
    copies = np.tile(np.array([0, 1, 1, 2], dtype=np.float32)[:, None], (10, 5))
    copies[:, 1] = 0
    copies[:3, 2] = np.nan
    copies[:, 3] = 1
    copies[20:, 4] = np.nan
    rows = np.arange(20)
    options = SnpOptions(ancestry_components=0, least_hardy_weinberg_p=1e-3)
    fitted = fit_snps(copies, everywhere(copies), rows, rows % 2, options)
    # 1 is monomorphic, 2 has 15 % missing, 3 is out of proportion, 4 lacks calls elsewhere.
    assert fitted.variants.tolist() == [0, 4]
    with pytest.raises(InputError, match="None of 1 variants passes in the 20 training people"):
        fit_snps(copies[:, [1]], everywhere(copies[:, [1]]), rows, rows % 2, PLAIN)


def test_training_rows_come_out_with_mean_0_and_sd_1_and_a_missing_call_with_0() -> None:
    copies = draw(50, 30)
    copies[4, 7] = copies[45, 7] = np.nan
    rows = np.arange(40)
    prepared = fit_snps(copies, everywhere(copies), rows, rows % 2, PLAIN).apply(copies)
    np.testing.assert_allclose(prepared[rows].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(prepared[rows].std(axis=0), 1, atol=1e-5)
    assert prepared[4, 7] == prepared[45, 7] == 0


def test_components_are_orthogonal_to_what_is_left_in_the_training_rows() -> None:
    copies, _ = populations(80, 300, 0)
    rows = np.arange(60)
    options = SnpOptions(ancestry_components=3)
    fitted = fit_snps(copies, everywhere(copies), rows, rows % 2, options)
    left = fitted.apply(copies[rows]).astype(float)
    np.testing.assert_allclose(fitted.ancestry(copies[rows]).T @ left, 0, atol=1e-2)


def test_the_first_component_of_two_populations_is_the_population_also_of_new_people() -> None:
    copies, population = populations(100, 500, 1)
    fitted = fit_snps(copies, everywhere(copies), np.arange(60), population[:60], SnpOptions())
    first = fitted.ancestry(copies[60:])[:, 0]
    assert abs(np.corrcoef(first, population[60:])[0, 1]) > 0.9


def test_only_autosomes_stand_for_ancestry() -> None:
    copies = draw(40, 60)
    is_autosome = np.arange(60) < 25
    fitted = fit_snps(copies, is_autosome, np.arange(40), np.arange(40) % 2, SnpOptions())
    assert fitted.pruned.max() < 25
    assert fitted.variants.max() > 25


def test_the_variants_that_differ_between_outcomes_are_selected() -> None:
    copies, rows = draw(60, 200), np.arange(60)
    y = rows % 2
    for variant in (17, 170):
        copies[:, variant] = np.where(np.random.default_rng(variant).random(60) < 0.85, y, 1 - y)
    options = SnpOptions(ancestry_components=0, select=2, least_hardy_weinberg_p=0)
    assert fit_snps(copies, everywhere(copies), rows, y, options).variants.tolist() == [17, 170]


def test_pruning_leaves_no_pair_within_the_window_that_correlates() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 10))
    values = base[:, np.repeat(np.arange(10), 4)] + 0.2 * rng.normal(size=(200, 40))
    values -= values.mean(axis=0)
    kept = prune(values, 50, 0.2)
    assert kept.tolist() == list(range(0, 40, 4))
    # Beyond the window a copy is kept again.
    assert prune(np.tile(values[:, :1], 3), 1, 0.2).tolist() == [0, 2]


def accuracy(copies: NDArray[np.float32], y: NDArray[np.int64], options: SnpOptions) -> float:
    return float(((out_of_fold(copies, everywhere(copies), y, options) > 0) == y).mean())


def out_of_fold(
    copies: NDArray[np.float32],
    is_autosome: NDArray[np.bool_],
    y: NDArray[np.int64],
    options: SnpOptions,
) -> NDArray[np.float64]:
    """Predict every person by a penalised logistic regression of the other folds."""
    scores = np.zeros(len(y))
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(copies, y):
        fitted = fit_snps(copies, is_autosome, train, y[train], options)
        model = LogisticRegression(C=0.01, max_iter=500)
        model.fit(fitted.apply(copies[train]), y[train])
        scores[test] = model.decision_function(fitted.apply(copies[test]))
    return scores


@pytest.mark.slow
def test_an_outcome_of_ancestry_alone_is_predicted_only_without_components(shared: Path) -> None:
    genotypes = read_genotypes(shared / "data" / "genotypes" / "tiny1000G.vcf.gz")
    psam = pd.read_csv(shared / "data" / "genotypes" / "ref.psam", sep="\t").set_index("#IID")
    african = (psam["SuperPop"][genotypes.people["individual_id"]] == "AFR").to_numpy()
    is_autosome = (chromosome_kinds(genotypes.variants["CHR"]) == "autosome").to_numpy()
    copies, without, within = genotypes.dosages(), [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(african), 400, replace=False)
        chance = 1 / (1 + np.exp(0.6 - 2.0 * african[rows]))
        y = (rng.random(400) < chance).astype(np.int64)
        for aurocs, options in ((without, PLAIN), (within, SnpOptions())):
            scores = out_of_fold(copies[rows], is_autosome, y, options)
            aurocs.append(roc_auc_score(y, scores))
    assert np.mean(without) >= 0.60
    assert abs(np.mean(within) - 0.5) <= 0.07


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_selection_inside_the_folds_finds_nothing_in_noise_and_outside_it_does() -> None:
    inside, outside = [], []
    y = np.repeat([0, 1], 49)
    for seed in range(20):
        copies = draw(98, 100_000, seed)
        options = SnpOptions(ancestry_components=0, select=13)
        inside.append(accuracy(copies, y, options))
        chosen = fit_snps(copies, everywhere(copies), np.arange(98), y, options).variants
        outside.append(accuracy(copies[:, chosen], y, PLAIN))
    assert abs(np.mean(inside) - 0.5) <= 0.06
    assert np.mean(outside) >= 0.85

"""Allele counts as a network reads them: checked, freed of ancestry and selected in training rows.

In the order of `fit_snps`: variants that fail quality are left out; principal components of the
pruned autosomes stand for ancestry and are regressed out of every variant; of what is left the
variants that differ most between the outcomes are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.hardy_weinberg import exact_test
from fmmtc_bidsapp.records import Floats, Ints

__all__ = ["FittedSnps", "SnpOptions", "fit_snps", "prune"]

Copies = NDArray[np.float32]
"""(person, variant) copies of A1, NaN without a call."""


@dataclass(frozen=True)
class SnpOptions:
    """Limits of quality in the training rows, and how many components and variants are kept."""

    least_maf: float = 0.01
    most_missing: float = 0.05
    least_hardy_weinberg_p: float = 1e-6
    ancestry_components: int = 6
    select: int | None = None
    """Variants that are kept; None keeps all that pass."""
    prune_window: int = 50
    """Variants on either side that may not correlate more than `prune_r2`, for ancestry."""
    prune_r2: float = 0.2


@dataclass(frozen=True, eq=False)
class FittedSnps:
    """What was learnt from the training rows."""

    variants: Ints
    """(kept,) columns of the genotypes."""
    mean: Floats
    """(kept,) mean copies in the training rows, which stands for a missing call."""
    scale: Floats
    """(kept,) 1 / SD of what ancestry leaves."""
    slopes: Floats
    """(component, kept) of the regression on ancestry."""
    pruned: Ints
    """(pruned,) columns that the components read."""
    pruned_mean: Floats
    """(pruned,)"""
    loadings: Floats
    """(pruned, component)"""

    def ancestry(self, copies: Copies) -> Floats:
        """Project people on the components, (person, variant) -> (person, component)."""
        own = copies[:, self.pruned].astype(np.float64) - self.pruned_mean
        found: Floats = np.where(np.isnan(own), 0.0, own) @ self.loadings
        return found

    def apply(self, copies: Copies) -> NDArray[np.float32]:
        """(person, variant) -> (person, kept) in SD of the training rows, a missing call 0."""
        own = copies[:, self.variants].astype(np.float64) - self.mean
        is_missing = np.isnan(own)
        left = (own - self.ancestry(copies) @ self.slopes) * self.scale
        return np.where(is_missing, 0.0, left).astype(np.float32)


def fit_snps(
    copies: Copies, is_autosome: NDArray[np.bool_], rows: Ints, y: Ints, options: SnpOptions
) -> FittedSnps:
    """Learn from the training rows of (person, variant) copies and their outcomes (training,)."""
    own = copies[rows]
    passed = np.flatnonzero(_passes(own, options))
    if len(passed) == 0:
        raise InputError(
            f"None of {copies.shape[1]:,} variants passes in the {len(rows)} training people. "
            f"Needed: minor allele frequency >= {options.least_maf}, missing calls <= "
            f"{options.most_missing}, Hardy-Weinberg mid-p >= {options.least_hardy_weinberg_p}."
        )
    centred, mean = _centre(own[:, passed])
    autosomes = np.flatnonzero(is_autosome[passed])
    pruned = autosomes[prune(centred[:, autosomes], options.prune_window, options.prune_r2)]
    loadings = _components(centred[:, pruned], options.ancestry_components)
    scores = centred[:, pruned] @ loadings
    slopes = np.linalg.lstsq(scores, centred, rcond=None)[0].astype(np.float64)
    left = np.where(np.isnan(own[:, passed]), 0.0, centred - scores @ slopes)
    sd = left.std(axis=0)
    scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-6)
    kept = _select(left * scale, y, options.select)
    return FittedSnps(
        variants=passed[kept],
        mean=mean[kept],
        scale=scale[kept],
        slopes=slopes[:, kept],
        pruned=passed[pruned],
        pruned_mean=mean[pruned],
        loadings=loadings,
    )


def prune(centred: Floats, window: int, most_r2: float) -> Ints:
    """Keep variants that correlate little with those kept before in a window, (kept,)."""
    norm = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    kept: list[int] = []
    for variant in range(centred.shape[1]):
        near = [each for each in kept[-window:] if variant - each <= window]
        if norm[variant] > 0 and np.all((unit[:, variant] @ unit[:, near]) ** 2 <= most_r2):
            kept.append(variant)
    return np.array(kept, dtype=np.int64)


def _passes(own: Copies, options: SnpOptions) -> NDArray[np.bool_]:
    """Mark the variants of the training rows that pass, (variant,)."""
    n = np.column_stack([(own == each).sum(axis=0) for each in (2, 1, 0)])
    n_called = n.sum(axis=1)
    a1 = 2 * n[:, 0] + n[:, 1]
    maf = np.minimum(a1, 2 * n_called - a1) / np.maximum(2 * n_called, 1)
    _, mid_p = exact_test(n)
    few_missing = 1 - n_called / len(own) <= options.most_missing
    passed: NDArray[np.bool_] = (
        few_missing & (maf >= options.least_maf) & (mid_p >= options.least_hardy_weinberg_p)
    )
    return passed


def _centre(own: Copies) -> tuple[Floats, Floats]:
    """Subtract the mean of the calls, 0 without a call: (person, variant), (variant,)."""
    mean: Floats = np.nanmean(own, axis=0, dtype=np.float64)
    centred = own - mean
    return np.where(np.isnan(centred), 0.0, centred), mean


def _components(centred: Floats, n: int) -> Floats:
    """Return loadings of the largest components of scaled variants, (variant, component)."""
    n = min(n, *centred.shape)
    if n == 0:
        return np.zeros((centred.shape[1], 0))
    sd = centred.std(axis=0)
    weight = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
    _, _, directions = svd(centred * weight, full_matrices=False)
    loadings: Floats = (directions[:n] * weight).T
    return loadings


def _select(scaled: Floats, y: Ints, n: int | None) -> Ints:
    """Keep the variants that correlate most with the outcome, in the order of the genotypes."""
    if n is None or n >= scaled.shape[1]:
        return np.arange(scaled.shape[1])
    strength = np.abs((y - y.mean()) @ scaled)
    return np.sort(np.argsort(-strength, kind="stable")[:n])

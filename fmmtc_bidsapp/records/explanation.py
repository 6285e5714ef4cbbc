"""The explanation of a run: shares of the modalities, and maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records.arrays import Floats, Ints
from fmmtc_bidsapp.records.predictions import Fold

__all__ = ["Explanation", "FoldExplanation", "MapRow", "ModalityShare"]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that is said of how the models of one run come to their predictions."""

    shares: tuple[ModalityShare, ...] = ()
    rows: tuple[MapRow, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    """By model: method, baseline, agreement, convergence, stability over folds, null maps; ready
    for JSON."""
    held_back: str = ""
    """Why there are no maps; empty where there are."""
    unsupported: bool = False
    """Whether maps are shown though nothing supports them: every figure says so."""


@dataclass(frozen=True)
class ModalityShare:
    """How much one stream carries; a row of ``_modality.tsv``."""

    model: str
    modality: str
    """``series``, ``connectivity``, or the name of another package's"""
    share: float
    """Mean over people of the stream's part of |attribution|."""
    low: float
    high: float
    """95 % bootstrap interval (participants), given these fits."""
    fold_sd: float
    n: int
    auroc_lost: float = float("nan")
    """Mean over folds of the AUROC of held-out people minus that with the stream replaced by its
    training mean: what the model's ranking owes to the stream."""
    auroc_lost_low: float = float("nan")
    auroc_lost_high: float = float("nan")
    """95 % Nadeau-Bengio corrected interval."""
    null_share: float = float("nan")
    """Mean share of models fitted to shuffled outcomes."""
    null_low: float = float("nan")
    null_high: float = float("nan")
    """2.5 and 97.5 % quantiles of them."""
    n_null: int = 0


@dataclass(frozen=True)
class MapRow:
    """A place of a map; a row of ``_attributions.tsv``. NaN where a figure cannot be had."""

    model: str
    source: str
    """``series`` or ``connectivity``, what is attributed to."""
    level: str
    """``parcel``, ``network``, ``subnetwork``, ``hemisphere``, or ``edge`` (the largest)."""
    name: str
    """Of the parcel or group; of an edge both parcels."""
    index: int | None
    """Of the parcel in the atlas; of an edge its first parcel."""
    other: int | None
    """Of an edge its second parcel."""
    attribution: float
    """Mean over people and folds of |attribution|, as a share of the map's total; of groups the
    mean over their parcels, over the mean of all parcels (1 is average)."""
    signed: float
    """The same of the signed attribution: positive speaks for the positive outcome."""
    low: float
    high: float
    """95 % bootstrap interval of `attribution` (people)."""
    sign_consistency: float
    """Share of people in whom the sign is that of `signed`."""
    z: float
    """Against maps of models fitted to shuffled outcomes."""


@dataclass(frozen=True, eq=False)
class FoldExplanation:
    """What one fitted model goes by, on the people of one test fold."""

    model: str
    fold: Fold
    method: str
    """``integrated gradients``, or ``Haufe pattern`` of a linear model: one map, of no person."""
    streams: Floats | None = None
    """(test person, stream) sum of |attribution| over the features of each stream, from the mean
    training person, so that no feature's scale counts; None for a model of one stream."""
    replaced: Floats | None = None
    """(test person, 1 + stream) logit as it is, then with each stream replaced by its training mean
    where they meet; None for a model of one stream."""
    series: Floats | None = None
    """(map, parcel) signed attribution of the series, summed over time; NaN where a person lacks
    the parcel. ``map`` is a test person, or the one pattern."""
    series_size: Floats | None = None
    """(map, parcel) the same of the absolute attribution."""
    edges: NDArray[np.float32] | None = None
    """(map, parcel, parcel) signed attribution of an edge, symmetric, each edge's whole in both
    triangles; NaN where a person lacks it."""
    delta: Floats | None = None
    """(test person,) |sum of attributions - (f(x) - f(baseline))| / |f(x) - f(baseline)|"""
    steps: Ints | None = None
    """(test person,) steps of the integral"""
    converged: NDArray[np.bool_] | None = None
    """(test person,) whether `delta` is 0.01 or less; maps of the others are left out of sums."""
    gap: Floats | None = None
    """(test person,) |logit of the function explained - logit predicted|: the first window and one
    token order stand for all."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """By other baseline, Spearman correlation of the parcels' map with this one's; NaN where no
    person's maps from all baselines converged."""
    agreement_n: int = 0
    """People behind `agreement`."""
    others: Mapping[str, Floats] = field(default_factory=dict)
    """By modality of another package, (map, place) signed attribution, summed over all axes but the
    first; NaN where a person lacks the place."""
    others_size: Mapping[str, Floats] = field(default_factory=dict)
    """The same of the absolute attribution."""
    modalities: tuple[str, ...] = ("series", "connectivity")
    """Of each stream, its modality."""

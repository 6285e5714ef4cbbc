"""Digests of a connectome that identify the same scan, and nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.evaluation.distance import ConnectivityRange
from fmmtc_bidsapp.records import Floats
from fmmtc_bidsapp.stats import LARGEST_SINGLE, fisher_z

__all__ = ["digest_text", "scan_digests"]

_SEED = 20240917
_BANDS, _BITS = 24, 64
"""Signs of random sums of edges. Two people whose deviations from the mean connectome correlate at
0.8 share all signs of some band once in 100,000 pairs, at 0.5 never; a scan processed anew, whose
deviations correlate at 0.995, has a band in common in 96 of 100 cases, at 0.999 always."""
_FEWEST_EDGES = 28
"""Below, connectomes of different people are too alike for signs; their rounded values count."""
_DECIMALS = 3
_DIGITS = 32


def digest_text(salt: str, *words: str) -> str:
    """Digest words with a salt, in 32 hexadecimal digits."""
    return hashlib.sha256("\0".join((salt, *words)).encode()).hexdigest()[:_DIGITS]


def scan_digests(
    matrices: NDArray[np.float32], mean: ConnectivityRange | None, salt: str
) -> list[frozenset[str]]:
    """Return digests of (person, parcel, parcel) connectomes that a reprocessed scan shares.

    Locality-sensitive hashing by random hyperplanes of the deviation from the training mean
    (Charikar 2002, doi:10.1145/509907.509965), each band of signs digested with the salt of the
    bundle. Empty for a person without edges.
    """
    deviations = np.array([_deviation(each, mean) for each in matrices])
    if deviations.size == 0:
        return [frozenset() for _ in matrices]
    there = np.abs(deviations).max(axis=1) > 0
    if deviations.shape[1] < _FEWEST_EDGES:
        words = [[(np.round(each, _DECIMALS) + 0.0).tobytes().hex()] for each in deviations]
    else:
        words = [list(map(bytes.hex, each)) for each in zip(*_bands(deviations), strict=True)]
    return [
        frozenset(digest_text(salt, str(i), each) for i, each in enumerate(own) if known)
        for own, known in zip(words, there, strict=True)
    ]


def _deviation(fc: NDArray[np.float32], mean: ConnectivityRange | None) -> NDArray[np.float32]:
    """(parcel, parcel) -> (edge,) Fisher's z less the training mean, 0 where one is missing."""
    z: Floats = fisher_z(fc[np.triu_indices(len(fc), k=1)], LARGEST_SINGLE)
    if mean is not None:
        z = np.where(mean.known, z - mean.mean_z, np.nan)
    return np.nan_to_num(z).astype(np.float32)


def _bands(deviations: NDArray[np.float32]) -> list[list[bytes]]:
    """(person, edge) -> (band, person) signs of random sums."""
    n_edges = deviations.shape[1]
    rng = np.random.default_rng(_SEED)
    bands = []
    for _ in range(_BANDS):
        bits = np.unpackbits(np.frombuffer(rng.bytes(_BITS * n_edges // 8), dtype=np.uint8))
        plane = 2 * bits.reshape(n_edges, _BITS).astype(np.float32) - 1
        bands.append([np.packbits(own > 0).tobytes() for own in deviations @ plane])
    return bands

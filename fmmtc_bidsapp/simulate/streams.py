"""Independent random streams, one per participant."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Stream", "random_stream"]


class Stream(IntEnum):
    """Purpose of a random stream; changing a number changes the data of every seed."""

    LATENT = 0
    OUTCOME = 1
    COVARIATES = 2
    PARCELS = 3
    SERIES = 4
    MOTION = 5
    PHYSIOLOGY = 6
    VOXELS = 7


def random_stream(seed: int, stream: Stream, *which: int) -> np.random.Generator:
    """Return the generator of one purpose, and of person or effect ``which``."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream), *which)))

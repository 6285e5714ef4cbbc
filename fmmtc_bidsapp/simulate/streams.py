"""Independent random streams, one per participant."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Stream", "random_stream"]


class Stream(IntEnum):
    """What a stream is drawn for; the numbers are part of what a seed means."""

    LATENT = 0
    OUTCOME = 1
    COVARIATES = 2
    PARCELS = 3
    SERIES = 4
    MOTION = 5
    PHYSIOLOGY = 6
    VOXELS = 7


def random_stream(seed: int, stream: Stream, *which: int) -> np.random.Generator:
    """Open the stream of one purpose (and, with ``which``, of one person or effect).

    Parameters
    ----------
    seed
        The seed of the simulation.
    stream
        The purpose.
    which
        Index of the person or effect.

    Returns
    -------
    numpy.random.Generator
        The same for the same arguments, independent of every other.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream), *which)))

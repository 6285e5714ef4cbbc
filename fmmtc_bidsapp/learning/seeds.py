"""Independent seeds for the parts of a run."""

from __future__ import annotations

import numpy as np

__all__ = ["ARMS", "BOOTSTRAP", "GUESSES", "RECALIBRATION", "SHUFFLES", "derive_seed"]

BOOTSTRAP, GUESSES, ARMS, SHUFFLES, RECALIBRATION = range(2**31, 2**31 + 5)
"""Parts that judge a run, beyond the number of any repeat, whose folds are a part as well."""


def derive_seed(seed: int, *path: int) -> int:
    """Return the seed of one part of a run, such as ``(repeat, fold)``; parts share no draws."""
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1)[0])

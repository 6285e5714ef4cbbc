"""Examples and scales between nodes, as files in the work directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.engine import load_shared, save_array, save_shared
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.records import Examples

__all__ = [
    "load_examples",
    "load_scale",
    "save_examples",
    "save_examples_of_fold",
    "save_scale",
]


def save_examples(path: Path, examples: Examples, packages: Sequence[str] = ()) -> str:
    """Write the examples of a cohort to a ``.json``, whose digest covers all arrays; return it.

    With another version of one of `packages` everything is fitted again.
    """
    arrays = {name: getattr(examples, name) for name in _ARRAYS}
    arrays |= {f"{_SOURCE}{name}": each for name, each in examples.arrays.items()}
    arrays |= {f"{_PRESENT}{name}": each for name, each in examples.present.items()}
    about = {name: getattr(examples, name) for name in _TEXTS}
    about |= {"packages": tuple(packages)} if packages else {}
    there = {name: array for name, array in arrays.items() if array is not None}
    return save_shared(path, there, about)


_ARRAYS = ("y", "covariates", "mean_fd_mm", "acquisition", "coordinates_mm")
_SOURCE, _PRESENT = "source.", "present."
"""Prefixes of the names of the array of a source, and of who has it."""
_TEXTS = ("keys", "strata", "covariate_names", "acquisition_names", "groups", "arms")


def save_examples_of_fold(path: Path, common: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write the arrays that differ in a fold to a ``.json`` beside `common`; return it.

    `arrays` are ``cls``, ``series`` and perhaps ``cls_random`` of everyone; `common` is of
    `save_examples`. `load_examples` reads both.
    """
    about = {"common": common.name, "common_digest": digest_of(common)}
    return save_shared(path, arrays, about)


def load_examples(path: str | Path) -> Examples:
    """Read what `save_examples` or `save_examples_of_fold` wrote; large arrays are mapped."""
    arrays, about = load_shared(path)
    if "common" in about:
        return load_examples(Path(path).with_name(about["common"])).with_arrays(
            cls=arrays["cls"], series=arrays["series"], cls_random=arrays.get("cls_random")
        )
    texts = {name: None if each is None else tuple(each) for name, each in about.items()}
    return Examples(
        keys=texts["keys"] or (),
        arrays=_beginning(_SOURCE, arrays),
        present=_beginning(_PRESENT, arrays),
        y=arrays["y"],
        strata=texts["strata"] or (),
        covariates=arrays.get("covariates"),
        covariate_names=texts["covariate_names"] or (),
        mean_fd_mm=arrays.get("mean_fd_mm"),
        acquisition=arrays.get("acquisition"),
        acquisition_names=texts["acquisition_names"] or (),
        groups=texts["groups"],
        arms=texts["arms"],
        coordinates_mm=arrays.get("coordinates_mm"),
    )


def _beginning(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names have a prefix, by the rest of the name."""
    return {
        name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)
    }


def save_scale(path: Path, scale: Scale) -> str:
    """Write a scale as a ``.npy``; return the path."""
    return save_array(path, np.stack([scale.median, scale.iqr]))


def load_scale(path: str | Path) -> Scale:
    """Read a scale that `save_scale` wrote."""
    median, iqr = np.load(path, allow_pickle=False)
    return Scale(median, iqr)

"""Read the modalities of other packages, and leave out people who lack one that a model needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.errors import AppError, InputError
from fmmtc_bidsapp.extensions import Extension
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.modalities.modality import LEAVE_OUT, Dataset, Modality
from fmmtc_bidsapp.modalities.table import MODALITIES
from fmmtc_bidsapp.records import Examples, Exclusion, ModalityValues, Person

__all__ = ["other_modality_keys", "packages_of", "read_other_modalities", "with_other_modalities"]

STAGE = "modality"
"""Stage of exclusions."""


def _others_of(models: Sequence[str]) -> list[str]:
    """Return the modalities of other packages that models need."""
    needs = dict.fromkeys(need for name in models for need in MODELS[name].needs)
    return [each for each in needs if MODALITIES.extension(each) is not None]


def packages_of(models: Sequence[str]) -> tuple[Extension, ...]:
    """Return the entry points of other packages that models come from or read."""
    families = [family for name in models if (family := MODELS[name].family) is not None]
    found = [NETWORKS.extension(each) for each in dict.fromkeys(families)]
    found += [MODALITIES.extension(each) for each in _others_of(models)]
    return tuple(each for each in found if each is not None)


def with_other_modalities(
    cohort: Cohort, models: Sequence[str], bids_dir: Path, derivatives: Mapping[str, Path]
) -> Cohort:
    """Read the modalities of other packages that models need, and leave out people without."""
    for name in _others_of(models):
        modality = MODALITIES[name]
        dataset = Dataset(cohort.people, bids_dir, derivatives, cohort.parcels)
        values = read_other_modalities(modality, dataset)
        lacking = [each for each in cohort.people if each.key not in values.arrays]
        _warn_lacking(modality, len(lacking), len(cohort.people))
        if modality.missing == LEAVE_OUT:
            cohort = _without(cohort, lacking, modality)
        cohort = replace(cohort, modalities={**cohort.modalities, name: values})
    packages = tuple(sorted({each.requirement for each in packages_of(models)}))
    return replace(cohort, packages=packages)


def _warn_lacking(modality: Modality, n_lacking: int, n_people: int) -> None:
    if n_lacking:
        so = "left out" if modality.missing == LEAVE_OUT else "kept, with values filled in"
        print(f"WARNING: {n_lacking} of {n_people} people lack {modality.title}; they are {so}.")


def _without(cohort: Cohort, lacking: Sequence[Person], modality: Modality) -> Cohort:
    if not lacking:
        return cohort
    gone = {each.key for each in lacking}
    people = tuple(each for each in cohort.people if each.key not in gone)
    if not people:
        raise InputError(f"None of these {len(gone)} people has {modality.title}.")
    return replace(
        cohort,
        people=people,
        exclusions=(
            *cohort.exclusions,
            *(
                Exclusion(each.participant_id, each.session_id, STAGE, f"no {modality.title}")
                for each in lacking
            ),
        ),
        eligibility=(*cohort.eligibility, cohort.count(f"with {modality.title}", people)),
    )


def read_other_modalities(modality: Modality, dataset: Dataset) -> ModalityValues:
    """Call the reader of another package, and check its values; InputError names the package."""
    extension = MODALITIES.extension(modality.name)
    title = modality.name if extension is None else extension.title
    if modality.read is None:
        raise InputError(f"{title} cannot be used: it has no reader.")
    try:
        found = modality.read(dataset)
    except AppError:
        raise
    except Exception as error:
        raise InputError(
            f"The reader of {title} failed ({type(error).__name__}: {error}). Check the files that "
            "it reads, or report this to its authors."
        ) from error
    keys = [each.key for each in dataset.people]
    arrays = {key: np.asarray(found.arrays[key], np.float32) for key in keys if key in found.arrays}
    problem = _problem(modality, arrays, len(found.names))
    if problem:
        raise InputError(f"{title} cannot be used: {problem}. Report this to its authors.")
    there = {key: each for key, each in arrays.items() if not np.isnan(each).all()}
    return ModalityValues(there, tuple(map(str, found.names)))


def _problem(modality: Modality, arrays: Mapping[str, NDArray[np.float32]], n_names: int) -> str:
    shapes = sorted({each.shape for each in arrays.values()})
    if not shapes:
        return "it found no values"
    if len(shapes) > 1:
        return f"its arrays have shapes {shapes[0]} and {shapes[1]}; they must all be alike"
    if len(shapes[0]) != len(modality.axes) or 0 in shapes[0]:
        return f"its arrays have shape {shapes[0]}, needed are the axes {modality.axes}"
    if n_names != shapes[0][0]:
        return f"it gives {n_names} names for {shapes[0][0]} places along {modality.axes[0]}"
    if any(np.isinf(each).any() for each in arrays.values()):
        return "it gives infinite values; use NaN for missing ones"
    return ""


def other_modality_keys(cohort: Cohort, examples: Examples) -> dict[str, Any]:
    """Return the entries of sidecars on other packages; none without any."""
    if not cohort.packages:
        return {}
    return {
        "Packages": list(cohort.packages),
        "Modalities": {name: MODALITIES[name].title for name in cohort.modalities},
        "PeopleWithout": {name: int((~examples.has(name)).sum()) for name in cohort.modalities},
    }

"""Whether a bundle can be applied to a cohort."""

from __future__ import annotations

from collections.abc import Sequence

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.group.bundle.bundle import Bundle, without_paths
from fmmtc_bidsapp.options import ModelOptions

__all__ = ["check_fits"]


def check_fits(bundle: Bundle, cohort: Cohort, asked: ModelOptions, flags: Sequence[str]) -> None:
    """Refuse to apply a bundle to other parcels, or with model `flags` that contradict it."""
    own, other = without_paths(bundle.model), without_paths(asked)
    for name in flags:
        if name in own and own[name] != other[name]:
            raise UsageError(
                f"--{name.replace('_', '-')} is {other[name]}, but the bundle {bundle.folder} was "
                f"trained with {own[name]}; leave the flag out."
            )
    problem = _atlas_problem(bundle, cohort) or _modality_problem(bundle, cohort)
    if problem:
        raise InputError(
            f"The bundle {bundle.folder} cannot be applied to these series: {problem}. Make the "
            "series with the atlas of the training, or train a bundle on this one."
        )


def _atlas_problem(bundle: Bundle, cohort: Cohort) -> str | None:
    if bundle.atlas_label != cohort.atlas_label:
        return f"it was trained on atlas {bundle.atlas_label}, they are of {cohort.atlas_label}"
    if set(bundle.parcels) != set(cohort.parcels):
        shared = len(set(bundle.parcels) & set(cohort.parcels))
        return (
            f"it knows {len(bundle.parcels)} parcels, they have {len(cohort.parcels)}, and "
            f"{shared} of the names are the same"
        )
    if bundle.parcels != cohort.parcels:
        return "their parcels are the same but in another order"
    if bundle.atlas_digest != cohort.atlas_digest:
        return "the atlas has the same label and parcels, but another digest"
    return None


def _modality_problem(bundle: Bundle, cohort: Cohort) -> str | None:
    for name, names in bundle.modalities.items():
        found = cohort.modalities[name].names
        if found != names:
            shared = len(set(found) & set(names))
            return (
                f"it knows {len(names)} places of {name}, they have {len(found)}, {shared} of the "
                "names are the same, and their order must be the same"
            )
    return None

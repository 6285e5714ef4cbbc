"""The encoder of an analysis, and what it is told of the parcels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.group.encode.acquisition import acquisition_columns
from fmmtc_bidsapp.learning.estimators.models import MODELS, reads_encoder, tunes_encoder
from fmmtc_bidsapp.options import ExplainOptions, ModelOptions
from fmmtc_bidsapp.records import Floats, Person

__all__ = [
    "NO_ENCODER",
    "EncoderChoice",
    "coordinates",
    "encoder_options",
    "learns_scale",
    "needs_of_cohort",
    "refuse_contradictions",
    "refuse_surrogates",
    "require_repetition_times",
    "require_series",
    "same_input_note",
]

NO_ENCODER = "none"
_PRETRAINED, _RANDOM = "brainlm", "random"
_LEARNT = "robust"
"""The normalisation whose scale is that of the training people."""


@dataclass(frozen=True, eq=False)
class EncoderChoice:
    """The encoder and what it is told."""

    options: ModelOptions
    seed: int
    """Of random weights and of the token orders."""
    digest: str
    """Of its weights; ``none`` without an encoder."""
    coordinates_mm: Floats | None
    """(parcel, 3); None without an encoder, where the atlas gives none."""
    device: str
    precision: str
    """As in ``--precision``."""
    also_random: bool = False
    """Whether everyone also goes through the encoder without pre-training; where the encoder is
    another than the pre-trained one, this changes nothing."""
    learns_scale: bool = False
    """Whether everyone is encoded anew for every fold, with the scale of its training people."""
    scale_file: Path | None = None
    """Median and interquartile range of the training people, under a name that follows them."""

    @property
    def encodes_twice(self) -> bool:
        """Whether everyone is encoded with and without pre-training."""
        return self.also_random and self.options.encoder == _PRETRAINED

    def untrained(self, digest: str) -> EncoderChoice:
        """Choose the same network with random weights of that digest."""
        return replace(
            self, options=replace(self.options, encoder=_RANDOM), digest=digest, also_random=False
        )

    @property
    def without_scale(self) -> EncoderChoice:
        """Choose what can be had before the scale is known: nothing is encoded.

        Where it is known, or is that of a scan alone, this is the same choice.
        """
        if self.options.normalisation != _LEARNT or self.scale_file is not None:
            return self
        options = replace(self.options, encoder=NO_ENCODER, normalisation="none")
        return replace(self, options=options, digest=NO_ENCODER, also_random=False)


_CONTRADICTIONS: Mapping[str, Mapping[str, str]] = {
    NO_ENCODER: {
        "encoder": "reads encoded series; leave --encoder none out",
        "weights": "is tuned from the pre-trained weights; leave --encoder none out",
        "random encoder": "reads series encoded without pre-training; leave --encoder none out",
    },
    _RANDOM: {
        "random encoder": "stands beside the pre-trained encoder; with --encoder random it is "
        "--network {trained}",
        # The paper's is tuned from them; compare does not have its line either.
        "weights": "is tuned from the pre-trained weights; leave --encoder random out, or take "
        "--network brainlm, the frozen encoder",
    },
}
"""By ``--encoder``, the needs of models that it cannot meet, and what to do; ``weights`` are those
that a fine-tuned encoder starts from."""


def refuse_contradictions(
    asked: Sequence[str], options: ModelOptions, covariates: Sequence[str]
) -> None:
    """Refuse models that the flags alone leave without what they need.

    Raises
    ------
    UsageError
        With the flag to change.
    """
    for name in asked:
        for need in (*MODELS[name].needs, *(("weights",) if tunes_encoder(name) else ())):
            why = _CONTRADICTIONS.get(options.encoder, {}).get(need)
            if why is not None:
                trained = name.removesuffix("-untrained")
                raise UsageError(f"--network {name} {why.format(trained=trained)}.")
            if need == "covariates" and not covariates:
                raise UsageError(f"--network {name} needs --covariates COLUMN…: what it reads.")


def encoder_options(asked: Sequence[str], options: ModelOptions) -> ModelOptions:
    """Do without the encoder where no model that is asked for has one.

    Without names every model that can be is asked for; the baselines have none.
    """
    if not asked or any(reads_encoder(name) for name in asked):
        return options
    return replace(options, encoder=NO_ENCODER)


def refuse_surrogates(asked: Sequence[str], options: ExplainOptions, *, has_series: bool) -> None:
    """Refuse surrogates of series that are not there, before a single model is fitted.

    Parameters
    ----------
    asked
        Models that will be fitted, the main one first; empty for every model that can be.
    options
        What is to be explained, and from what baseline.
    has_series
        Whether there is more than matrices.

    Raises
    ------
    UsageError
        When the main model would be mapped from them.
    """
    wanted = (options.explain, options.explain_baseline) == ("parcels", "surrogate")
    # Of models without epochs the maps have no baseline.
    if not wanted or has_series or (asked and not MODELS[asked[0]].is_network):
        return
    raise UsageError(
        "--explain-baseline surrogate makes phase-randomised copies of each person's series, and "
        "there are connectivity matrices alone. Take --explain-baseline zero or mean, or give the "
        "folder of the series."
    )


_OF_SERIES = frozenset({"encoder", "random encoder", "series"})
"""Needs of models that see the series, and so their scale."""


def learns_scale(asked: Sequence[str], options: ModelOptions, *, has_series: bool) -> bool:
    """Say whether a scale must be learnt: models that see no series need none.

    Without names every model that can be is asked for.
    """
    sees_series = not asked or any(_OF_SERIES & set(MODELS[name].needs) for name in asked)
    return options.normalisation == _LEARNT and has_series and sees_series


def needs_of_cohort(cohort: Cohort, encoder: EncoderChoice) -> frozenset[str]:
    """Name what a cohort will have once it is encoded, as `needs_there` does."""
    encodes = cohort.has_series and encoder.options.encoder != NO_ENCODER
    runs = [run for person in cohort.people for run in person.runs]
    there = {
        "encoder": encodes,
        "random encoder": encodes and encoder.encodes_twice,
        "coordinates": encoder.coordinates_mm is not None,
        "fc": True,
        "series": cohort.has_series,
        "covariates": bool(cohort.covariate_names),
        "motion": any(run.mean_fd_mm is not None for run in runs),
        # Volumes and parcels of files are known once they are read, and may differ as well.
        "acquisition": acquisition_columns(cohort.people)[0] is not None,
    }
    return frozenset(need for need, is_there in there.items() if is_there)


def coordinates(cohort: Cohort, options: ModelOptions) -> tuple[Floats | None, str]:
    """Choose what the encoder is told of where the parcels are.

    Returns
    -------
    coordinates : array or None
        (parcel, 3) in mm; zeros for a random encoder on an atlas without coordinates, None there
        without an encoder.
    notice : str
        What a reader must know of it; empty where there is nothing to say.

    Raises
    ------
    InputError
        When pre-trained weights meet an atlas without coordinates.
    """
    if cohort.coordinates_mm is not None or options.encoder == NO_ENCODER:
        return cohort.coordinates_mm, ""
    if options.encoder == _PRETRAINED:
        raise InputError(
            f"The atlas {cohort.atlas_label} has no coordinates (columns x, y, z of its dseg.tsv), "
            "and the pre-trained encoder needs them. Add them, or use --encoder random."
        )
    notice = (
        f"The atlas {cohort.atlas_label} has no coordinates: the random encoder was told zeros."
    )
    return np.zeros((len(cohort.parcels), 3)), notice


def same_input_note(options: ModelOptions) -> str:
    """Say what ``--same-input`` left the models; empty without it."""
    if not options.same_input:
        return ""
    return (
        f"--same-input: every model saw the first {options.window} volumes of each person's first "
        "run, and nothing else"
    )


def require_series(people: Sequence[Person], options: ModelOptions) -> None:
    """Refuse matrices where something must be encoded.

    Raises
    ------
    InputError
        With what to do.
    """
    matrices = [run.path for person in people for run in person.runs if run.is_matrix]
    if matrices and options.same_input:
        raise InputError(
            f"--same-input cuts everybody's series to the same volumes, and there are connectivity "
            f"matrices alone ({matrices[0]} and others). Give the folder of the series, or leave "
            "--same-input out."
        )
    if matrices and options.encoder != NO_ENCODER:
        raise InputError(
            f"There are connectivity matrices alone ({matrices[0]} and others), and the encoder "
            "needs series. Give the folder of the series, or take --encoder none and models of "
            "connectivity, such as --network resnet-fc."
        )


def require_repetition_times(people: Sequence[Person], options: ModelOptions) -> None:
    """Refuse people whose files the encoder cannot be shown: matrices, or series without a TR.

    Raises
    ------
    InputError
        For matrices as `require_series`; for series that the pre-trained weights would be shown
        without a repetition time, with their number and the first of them.
    """
    require_series(people, options)
    without = [run.path for person in people for run in person.runs if run.tr_s is None]
    if without and options.encoder == _PRETRAINED:
        raise InputError(
            f"{len(without)} series have no RepetitionTime in their sidecar, the first is "
            f"{without[0]}; the pre-trained encoder was trained on known ones. Add it, or use "
            "--encoder random."
        )

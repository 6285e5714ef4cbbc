"""The encoder of an analysis, and the coordinates of parcels that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.group.encode.acquisition import acquisition_columns
from fmmtc_bidsapp.learning.estimators.models import (
    MAIN_MODEL,
    MODELS,
    reads_encoder,
    tunes_encoder,
)
from fmmtc_bidsapp.models.encoders.registry import ENCODERS, spec_of
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
    "refuse_maps",
    "refuse_other_parcels",
    "refuse_surrogates",
    "require_repetition_times",
    "require_series",
    "same_input_note",
]

NO_ENCODER = "none"
_PRETRAINED, _RANDOM = "brainlm", "random"
_LEARNT = "robust"
"""The normalisation with the scale of the training people."""


@dataclass(frozen=True, eq=False)
class EncoderChoice:
    """The encoder, its weights and its inputs."""

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
    """Whether everyone also goes through the encoder without pre-training, if it is BrainLM."""
    learns_scale: bool = False
    """Whether everyone is encoded again for every fold, with the scale of its training people."""
    scale_file: Path | None = None
    """Median and interquartile range of the training people; its name has their digest."""

    @property
    def encodes_twice(self) -> bool:
        """Return whether everyone is encoded with and without pre-training."""
        return self.also_random and self.options.encoder == _PRETRAINED

    def untrained(self, digest: str) -> EncoderChoice:
        """Return the same network with random weights of a digest."""
        return replace(
            self, options=replace(self.options, encoder=_RANDOM), digest=digest, also_random=False
        )

    @property
    def without_scale(self) -> EncoderChoice:
        """Return the choice that only reads scans, if the scale of training people is unknown."""
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
        # In the paper it is tuned from them; compare has no row for another one.
        "weights": "is tuned from the pre-trained weights; leave --encoder random out, or take "
        "--network brainlm, the frozen encoder",
    },
}
"""By ``--encoder``, the needs of models that it cannot meet, and what to do; ``weights`` are needed
by a fine-tuned encoder."""
_OF_OTHERS: Mapping[str, str] = {
    "random encoder": "reads series encoded by BrainLM's network without pre-training, beside "
    "--encoder brainlm alone; leave it out",
    "weights": "is tuned from BrainLM's weights; take --encoder brainlm, or leave it out",
}
"""The same of every encoder of another package."""


def refuse_contradictions(
    asked: Sequence[str], options: ModelOptions, covariates: Sequence[str]
) -> None:
    """Refuse models whose inputs the flags exclude, with the flag to change."""
    for name in asked:
        for need in (*MODELS[name].needs, *(("weights",) if tunes_encoder(name) else ())):
            own = options.encoder in (NO_ENCODER, *ENCODERS.own)
            known = _CONTRADICTIONS.get(options.encoder, {}) if own else _OF_OTHERS
            why = known.get(need)
            if why is not None:
                trained = name.removesuffix("-untrained")
                raise UsageError(f"--network {name} {why.format(trained=trained)}.")
            if need == "covariates" and not covariates:
                raise UsageError(f"--network {name} needs --covariates COLUMN…, its input.")


def encoder_options(asked: Sequence[str], options: ModelOptions) -> ModelOptions:
    """Return options without an encoder if no model asked for reads one.

    Without names every possible model is asked for; the baselines read no encoder.
    """
    if not asked or any(reads_encoder(name) for name in asked):
        return options
    return replace(options, encoder=NO_ENCODER)


def refuse_surrogates(asked: Sequence[str], options: ExplainOptions, *, has_series: bool) -> None:
    """Refuse surrogates of series for a cohort of matrices, before any model is fitted."""
    wanted = (options.explain, options.explain_baseline) == ("parcels", "surrogate")
    # Maps of models without epochs have no baseline.
    if not wanted or has_series or (asked and not MODELS[asked[0]].is_network):
        return
    raise UsageError(
        "--explain-baseline surrogate needs series, and there are only connectivity matrices. "
        "Use --explain-baseline zero or mean, or give the folder of the series."
    )


_OF_SERIES = frozenset({"encoder", "random encoder", "series"})
"""Needs of models that read series, and so depend on their scale."""


def learns_scale(asked: Sequence[str], options: ModelOptions, *, has_series: bool) -> bool:
    """Return whether a scale must be learnt, for a model that reads series.

    Without names every possible model is asked for.
    """
    sees_series = not asked or any(_OF_SERIES & set(MODELS[name].needs) for name in asked)
    return options.normalisation == _LEARNT and has_series and sees_series


def needs_of_cohort(cohort: Cohort, encoder: EncoderChoice) -> frozenset[str]:
    """Return the inputs that a cohort will have once encoded, as `needs_there` does."""
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
    return frozenset(cohort.modalities) | {need for need, is_there in there.items() if is_there}


def coordinates(cohort: Cohort, options: ModelOptions) -> tuple[Floats | None, str]:
    """Return (parcel, 3) coordinates in mm for the encoder, and a note for the reader.

    Zeros for a random encoder on an atlas without coordinates, None there without an encoder;
    InputError for pre-trained weights.
    """
    if cohort.coordinates_mm is not None or options.encoder == NO_ENCODER:
        return cohort.coordinates_mm, ""
    spec = ENCODERS[options.encoder].spec
    if spec.reads_coordinates and spec.is_pretrained:
        raise InputError(
            f"The atlas {cohort.atlas_label} has no coordinates (columns x, y, z of its dseg.tsv), "
            f"and {spec.title} needs them. Add them, or use --encoder random."
        )
    notice = (
        f"The atlas {cohort.atlas_label} has no coordinates: {spec.title} read zeros."
        if spec.reads_coordinates
        else ""
    )
    return np.zeros((len(cohort.parcels), 3)), notice


def refuse_other_parcels(cohort: Cohort, options: ModelOptions) -> None:
    """Refuse parcels that the encoder cannot read."""
    spec = spec_of(options.encoder)
    if spec is None or spec.n_parcels in (None, len(cohort.parcels)):
        return
    needed = f"{spec.n_parcels} parcels" + (f" of {spec.atlas}" if spec.atlas else "")
    raise InputError(
        f"{spec.title} reads {needed}, and these series have {len(cohort.parcels)} of "
        f"{cohort.atlas_label or 'an unnamed atlas'}. Make series with that atlas, or use another "
        "--encoder."
    )


def refuse_maps(asked: Sequence[str], options: ModelOptions, explain: ExplainOptions) -> None:
    """Refuse maps through an encoder without gradients, before any model is fitted."""
    spec = spec_of(options.encoder)
    main = asked[0] if asked else MAIN_MODEL
    if spec is None or spec.is_differentiable or explain.explain != "parcels":
        return
    if MODELS[main].is_network and "encoder" in MODELS[main].needs:
        raise UsageError(
            f"--explain parcels needs gradients of the encoder, and {spec.title} is not "
            "differentiable. Use --explain features, or leave --explain out."
        )


def same_input_note(options: ModelOptions) -> str:
    """Return a note on the input under ``--same-input``; empty without it."""
    if not options.same_input:
        return ""
    return (
        f"--same-input: every model saw the first {options.window} volumes of each person's first "
        "run, and nothing else"
    )


def require_series(people: Sequence[Person], options: ModelOptions) -> None:
    """Refuse matrices if something must be encoded."""
    matrices = [run.path for person in people for run in person.runs if run.is_matrix]
    if matrices and options.same_input:
        raise InputError(
            f"--same-input needs series, and there are only connectivity matrices ({matrices[0]} "
            "and others). Give the folder of the series, or leave --same-input out."
        )
    if matrices and options.encoder != NO_ENCODER:
        raise InputError(
            f"There are only connectivity matrices ({matrices[0]} and others), and the encoder "
            "needs series. Give the folder of the series, or use --encoder none and models of "
            "connectivity, such as --network resnet-fc."
        )


def require_repetition_times(people: Sequence[Person], options: ModelOptions) -> None:
    """Refuse matrices, and series without a TR, that the encoder cannot read."""
    require_series(people, options)
    without = [run.path for person in people for run in person.runs if run.tr_s is None]
    spec = spec_of(options.encoder)
    if without and spec is not None and spec.tr_s is not None:
        raise InputError(
            f"{len(without)} series have no RepetitionTime in their sidecar, the first is "
            f"{without[0]}; {spec.title} was trained at {spec.tr_s:g} s and needs it. Add it, or "
            "use --encoder random."
        )

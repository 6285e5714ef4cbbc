"""Save the final model: its bundle and its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.group.bundle.bundle import Bundle, Package
from fmmtc_bidsapp.group.bundle.card import CardFacts, model_card
from fmmtc_bidsapp.group.bundle.fitted import fitted_files
from fmmtc_bidsapp.group.bundle.known_people import dataset_name, known_people
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange, training_range
from fmmtc_bidsapp.group.bundle.validation_summary import evidence_of
from fmmtc_bidsapp.group.bundle.write import write_bundle
from fmmtc_bidsapp.group.cohort.dataset import Study
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER, learns_scale
from fmmtc_bidsapp.group.encode.other_modalities import packages_of
from fmmtc_bidsapp.group.encode.serialization import load_scale
from fmmtc_bidsapp.group.tasks.compute import check_encoder
from fmmtc_bidsapp.group.tasks.fit import Fits
from fmmtc_bidsapp.learning.estimators.models import MODELS, title_of
from fmmtc_bidsapp.learning.evaluation.distance import connectivity_range
from fmmtc_bidsapp.learning.metrics.predictions import prediction_rows
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.records import Evaluation, Examples

__all__ = ["keep_bundle", "missing_covariates"]

_LIBRARIES = ("torch", "scikit-learn", "numpy", "scipy", "nilearn")


def keep_bundle(
    files: GroupFiles, study: Study, fits: Fits, evaluation: Evaluation, about: Mapping[str, Any]
) -> None:
    """Write the bundle of the main model and its card; `about` is the sidecar of the metrics."""
    connectivity = connectivity_range(study.encoded.examples.fc)
    limit = None if connectivity is None else connectivity.limit
    people = known_people(
        study.encoded.people,
        study.encoded.examples.fc,
        connectivity,
        dataset_name(study.plan.bids_dir),
    )
    bundle = replace(_bundle(files, study, fits, about, limit), people=people)
    own = [each for each in fits.predictions if each.model == bundle.main]
    rows = prediction_rows(own, study.encoded.examples)
    bundle = replace(bundle, evidence=evidence_of(evaluation, rows, about))
    card = model_card(_facts(bundle, study, fits, evaluation, about))
    write_bundle(bundle, fits.final, connectivity, card)


def _bundle(
    files: GroupFiles,
    study: Study,
    fits: Fits,
    about: Mapping[str, Any],
    connectivity_limit: float | None,
) -> Bundle:
    plan, cohort, encoder, name = study.plan, study.cohort, study.encoder, fits.models[0]
    adjust = plan.cohort.adjust and MODELS[name].adjustment == "columns"
    bundle = Bundle(
        folder=files.bundle_dir,
        main=name,
        title=title_of(name, plan.model.encoder),
        model=plan.model,
        seed=encoder.seed,
        encoder_digest=encoder.digest,
        precision=about["Precision"],
        atlas_label=cohort.atlas_label,
        atlas_digest=cohort.atlas_digest,
        parcels=cohort.parcels,
        coordinates_mm=encoder.coordinates_mm,
        training_range=_range(study),
        connectivity_limit=connectivity_limit,
        target=about["Target"],
        positive_value=about["PositiveValue"],
        negative_value=about["NegativeValue"],
        positive_meaning=about["PositiveMeaning"],
        negative_meaning=about["NegativeMeaning"],
        n_people=len(study.encoded.people),
        trainings=len(fits.final),
        adjust=adjust,
        covariates=_covariates(study, name, adjust=adjust),
        scale=_scale(study, name),
        packages=tuple(
            Package(each.entry.group, each.name, each.distribution, each.version)
            for each in packages_of([name])
        ),
        modalities={
            each: values.names
            for each, values in cohort.modalities.items()
            if each in MODELS[name].needs
        },
    )
    return _without_what_is_not_needed(bundle)


def _without_what_is_not_needed(bundle: Bundle) -> Bundle:
    """Return the bundle without encoder if its model reads none; else add the random one."""
    if not (bundle.encodes or "coordinates" in bundle.needs):
        model = replace(bundle.model, encoder=NO_ENCODER)
        return replace(bundle, model=model, encoder_digest=NO_ENCODER, coordinates_mm=None)
    if "random encoder" not in bundle.needs:
        return bundle
    digest = check_encoder(replace(bundle.model, encoder="random"), bundle.seed)
    return replace(bundle, random_digest=digest)


def _scale(study: Study, name: str) -> Scale | None:
    """Return the scale of everyone, on whom the model is fitted, if it reads series."""
    everyone = study.encoded.of_fold.get(None)
    if everyone is None or not learns_scale([name], study.plan.model, has_series=True):
        return None
    return load_scale(everyone.scale_file)


def _covariates(study: Study, name: str, *, adjust: bool) -> tuple[CovariateLevels, ...]:
    needed = adjust or "covariates" in MODELS[name].needs
    return study.encoded.covariate_levels if needed else ()


def _range(study: Study) -> TrainingRange:
    runs = [run for person in study.encoded.people for run in person.runs]
    return training_range(
        [run.tr_s for run in runs if run.tr_s is not None],
        [n for volumes in study.encoded.n_volumes for n in volumes if n],
        [run.mean_fd_mm for run in runs if run.mean_fd_mm is not None],
    )


def _facts(
    bundle: Bundle, study: Study, fits: Fits, evaluation: Evaluation, about: Mapping[str, Any]
) -> CardFacts:
    descriptions = [fitted_files(folder)[1] for folder in fits.final]
    examples, cohort = study.encoded.examples, study.cohort
    excluded = Counter(each.stage for each in (*cohort.exclusions, *study.encoded.exclusions))
    is_network = MODELS[bundle.main].is_network
    return CardFacts(
        about=about,
        evaluation=evaluation,
        bundle=bundle,
        eligibility=cohort.eligibility,
        excluded=dict(sorted(excluded.items())),
        covariates_missing=missing_covariates(examples, study.encoded.covariate_levels),
        edges_missing=_missing_edges(examples),
        series_missing=_missing_series(examples) if "series" in bundle.needs else 0,
        epochs=tuple(each["epoch"] for each in descriptions) if is_network else (),
        calibrations=tuple(_calibration(each["calibration"]) for each in descriptions),
        keeps_people=any("head.columns" in each["tensors"] for each in descriptions),
        versions={name: version(name) for name in _LIBRARIES},
    )


def _calibration(calibration: Mapping[str, Any]) -> str:
    if calibration["knots"]:
        return f"{calibration['method']} with {len(calibration['knots'])} points"
    return (
        f"{calibration['method']}, log odds = {calibration['slope']:.3g} x output "
        f"{calibration['intercept']:+.3g}, positive from {calibration['threshold']:.2f} on"
    )


def missing_covariates(examples: Examples, levels: Sequence[CovariateLevels]) -> dict[str, int]:
    """Return the number of people without a value, by covariate."""
    if examples.covariates is None:
        return {}
    missing = np.isnan(examples.covariates)
    counts: dict[str, int] = {}
    start = 0
    for each in levels:
        own = slice(start, start + len(each.columns))
        counts[each.name] = int(missing[:, own].any(axis=1).sum())
        start += len(each.columns)
    return counts


def _missing_edges(examples: Examples) -> int:
    upper = np.triu_indices(examples.fc.shape[1], k=1)
    return sum(int(np.isnan(each[upper]).sum()) for each in examples.fc)


def _missing_series(examples: Examples) -> int:
    if examples.series is None:
        return 0
    return sum(int(np.isnan(each).sum()) for each in examples.series)

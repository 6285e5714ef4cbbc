"""Apply: bundle -> cohort -> encode -> predict -> judge, where outcomes are known -> files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.origin import told_origin
from fmmtc_bidsapp.engine import Outcome, node_file, raise_failure, run_workflow
from fmmtc_bidsapp.errors import ModelFileError, UsageError
from fmmtc_bidsapp.group import results
from fmmtc_bidsapp.group.bundle import Bundle, check_fits, load_connectivity_range, read_bundle
from fmmtc_bidsapp.group.choice import (
    NO_ENCODER,
    EncoderChoice,
    require_repetition_times,
    same_input_note,
)
from fmmtc_bidsapp.group.encoding import Encoded, encode, keep_scale
from fmmtc_bidsapp.group.exchange import load_fold
from fmmtc_bidsapp.group.nodes import check_device, check_encoder
from fmmtc_bidsapp.group.position import out_of_distribution, positions
from fmmtc_bidsapp.group.start import announce, prepare, read_people, with_weights_folder
from fmmtc_bidsapp.group.workflow import predict_workflow
from fmmtc_bidsapp.learning.external import External, Recalibration, judge_external, of_people
from fmmtc_bidsapp.learning.models import check_needs
from fmmtc_bidsapp.learning.outcomes import prediction_rows
from fmmtc_bidsapp.options import CohortOptions, ModelOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import FoldPredictions, Ints

__all__ = ["Application", "admit_new", "apply"]


@dataclass(frozen=True, eq=False)
class Application:
    """A bundle and those it will predict, before anything is written or encoded."""

    device: str
    bundle: Bundle
    people: CohortOptions
    """What the table is asked for."""
    cohort: Cohort
    encoder: EncoderChoice


def admit_new(plan: GroupPlan) -> Application:
    """Read the bundle and the people, and refuse what does not fit; nothing is written.

    Raises
    ------
    AppError
        When the bundle is damaged, does not fit the series, or nobody can be predicted.
    """
    device = check_device(plan.train.device)
    bundle = read_bundle(Path(str(plan.model_dir)))
    people = _cohort_options(plan, bundle)
    cohort = read_people(plan, people, smallest_class=0, outcome_optional=True)
    check_fits(bundle, cohort, plan.model, plan.model_flags)
    require_repetition_times(cohort.people, bundle.model)
    return Application(device, bundle, people, cohort, _encoder(plan, bundle, device))


def apply(plan: GroupPlan) -> list[Outcome]:
    """Predict people a bundle has never seen, and judge it on those whose outcome is known.

    Raises
    ------
    AppError
        When the bundle is damaged, does not fit the series, or nobody can be predicted.
    """
    admitted = admit_new(plan)
    device, bundle, cohort = admitted.device, admitted.bundle, admitted.cohort
    crash_dir = prepare(plan, cohort, {"bundle": bundle.digest})
    announce(plan, cohort, "")

    encoder = _with_scale(plan, admitted.encoder, bundle)
    encoded = encode(plan, cohort, encoder, crash_dir, bundle.covariates)
    check_needs([bundle.main], encoded.examples)
    workflow = predict_workflow(
        plan, encoded.examples_file, bundle, device=device, crash_dir=crash_dir
    )
    failures = run_workflow(workflow, plan.resources, title="predict").failures
    if failures:
        raise_failure(failures[0], "The bundle could not be applied")
    predictions = load_fold(node_file(workflow, "predict", "predictions.npz"))

    files = GroupFiles(plan.output_dir, plan.label)
    about = _about(plan, admitted.people, cohort, encoded, bundle, device)
    places = positions(encoded, bundle.training_range, load_connectivity_range(bundle))
    results.write_cohort(files, cohort, encoded.people, encoded.exclusions)
    results.write_predictions(
        files,
        encoded.people,
        prediction_rows([predictions], encoded.examples),
        out_of_distribution=out_of_distribution(places),
        about=about,
    )
    results.write_ranges(files, places)
    results.withdraw_explanation(files)
    _judge(files, plan, predictions, encoded.examples.y, about)
    return [Outcome(f"{len(encoded.people)} people", "done"), *encoded.outcomes]


def _cohort_options(plan: GroupPlan, bundle: Bundle) -> CohortOptions:
    """Ask the table for what the bundle was trained on; its own names where the user gives none."""
    asked, names = plan.cohort, tuple(each.name for each in bundle.covariates)
    if asked.covariates and set(asked.covariates) != set(names):
        raise UsageError(
            f"--covariates are {', '.join(asked.covariates)}, but the bundle {bundle.folder} reads "
            f"{', '.join(names) or 'none'}; leave the flag out."
        )
    if asked.adjust and not bundle.adjust:
        raise UsageError(
            f"--adjust was given, but the bundle {bundle.folder} was trained without it; leave the "
            "flag out."
        )
    return replace(
        asked,
        target=asked.target or bundle.target,
        positive_value=asked.positive_value or bundle.positive_value,
        covariates=names,
        adjust=bundle.adjust,
    )


def _encoder(plan: GroupPlan, bundle: Bundle, device: str) -> EncoderChoice:
    """Choose the encoder of the bundle, once its weights have proven to be the same; or none."""
    choice = EncoderChoice(
        replace(bundle.model, encoder=NO_ENCODER),
        bundle.seed,
        check_encoder(replace(bundle.model, encoder=NO_ENCODER), bundle.seed),
        bundle.coordinates_mm,
        device,
        bundle.precision,
    )
    if not bundle.encodes:
        return choice
    model = with_weights_folder(replace(bundle.model, encoder_weights=plan.model.encoder_weights))
    digest = _check_weights(model, bundle, bundle.encoder_digest)
    if bundle.random_digest is not None:
        _check_weights(replace(model, encoder="random"), bundle, bundle.random_digest)
    return replace(
        choice, options=model, digest=digest, also_random=bundle.random_digest is not None
    )


def _with_scale(plan: GroupPlan, encoder: EncoderChoice, bundle: Bundle) -> EncoderChoice:
    """Encode new people with the scale that the bundle was trained with; a scan's own needs none.

    Where the bundle holds none, its model sees no series.
    """
    if bundle.scale is None:
        return encoder.without_scale
    return replace(encoder, scale_file=keep_scale(plan, bundle.scale))


def _check_weights(model: ModelOptions, bundle: Bundle, expected: str) -> str:
    digest = check_encoder(model, bundle.seed)
    if digest != expected:
        raise ModelFileError(
            f"The {model.encoder} encoder has other weights (digest {digest}) than the one the "
            f"bundle {bundle.folder} was trained with ({expected}). Name the folder of those "
            "weights with --encoder-weights; random weights need the version of torch they were "
            "drawn with."
        )
    return digest


def _judge(
    files: GroupFiles,
    plan: GroupPlan,
    predictions: FoldPredictions,
    y: Ints,
    about: Mapping[str, Any],
) -> None:
    """Judge the bundle on those whose outcome is known; of nobody nothing is written."""
    rows = np.flatnonzero(y >= 0)
    if not len(rows):
        print(f"No outcome of these people is known ({about['Target']}); nothing is judged.")
        return
    external = judge_external(
        of_people(predictions, rows), y[rows], plan.evaluation, plan.random_seed
    )
    for each in external.recalibrations:
        if each.reason:
            print(f"Not done: {each.reason}.")
    told = {**about, "N": len(rows), **_told(external)}
    results.write_evaluation(files, external.evaluation, told)


def _told(external: External) -> dict[str, Any]:
    """Say what the figures are of, and how the log odds would be moved."""
    done = [each for each in external.recalibrations if not each.reason]
    return {
        "Validation": "external: the model as it is, on people who must not be among those it was "
        "trained on, which the bundle cannot tell. Pooled figures, with bootstrap intervals of "
        "participants. Recalibrated models were fitted on nine tenths of these "
        "people and judged on the rest, ten times; their ranks are the model's own.",
        "Recalibration": {each.name: _line(each) for each in done},
        "RecalibrationRefused": [each.reason for each in external.recalibrations if each.reason],
    }


def _line(recalibration: Recalibration) -> dict[str, Any]:
    """Give what was fitted on all of these people: for others to come, judged by nobody."""
    return {"Slope": recalibration.slope, "Intercept": recalibration.intercept}


def _about(
    plan: GroupPlan,
    people: CohortOptions,
    cohort: Cohort,
    encoded: Encoded,
    bundle: Bundle,
    device: str,
) -> dict[str, Any]:
    y = encoded.examples.y
    return {
        "Target": people.target,
        "PositiveValue": people.positive_value,
        "N": len(encoded.people),
        "NWithOutcome": int((y >= 0).sum()),
        "NPositive": int((y == 1).sum()),
        "Bundle": bundle.folder.name,
        "BundleDigest": bundle.digest,
        "BundlePeople": bundle.n_people,
        "Evidence": None if bundle.evidence is None else asdict(bundle.evidence),
        "Trainings": bundle.trainings,
        **told_origin(cohort.origin),
        "Atlas": cohort.atlas_label or "unnamed",
        "AtlasFallback": cohort.atlas_label != "A424",
        "Notice": "; ".join(filter(None, (same_input_note(bundle.model), *encoded.notes))),
        "Normalisation": bundle.model.normalisation,
        "Encoder": bundle.model.encoder,
        "EncoderDigest": bundle.encoder_digest,
        "Device": device,
        "Precision": encoded.about[0]["precision"],
        "MainModel": bundle.main,
        "ModelNames": _titles(bundle),
        "Options": asdict(plan.cohort) | asdict(bundle.model),
    }


def _titles(bundle: Bundle) -> dict[str, str]:
    return {
        bundle.main: bundle.title,
        f"{bundle.main} recalibrated intercept": f"{bundle.title}, intercept recalibrated",
        f"{bundle.main} recalibrated": f"{bundle.title}, recalibrated",
    }

"""Apply: bundle -> cohort -> encode -> predict -> files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scipy.special import expit

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.engine import Outcome, load_arrays, node_file, raise_failure, run_workflow
from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.group import results
from fmmtc_bidsapp.group.bundle import Bundle, check_fits, read_bundle
from fmmtc_bidsapp.group.choice import EncoderChoice, require_repetition_times
from fmmtc_bidsapp.group.encoding import Encoded, encode
from fmmtc_bidsapp.group.nodes import check_device, check_encoder
from fmmtc_bidsapp.group.start import announce, prepare, read_people, with_weights_folder
from fmmtc_bidsapp.group.workflow import predict_workflow
from fmmtc_bidsapp.learning.calibrate import apply_calibration
from fmmtc_bidsapp.learning.experiments import MAIN_MODEL, MODELS
from fmmtc_bidsapp.learning.outcomes import PredictionRow
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.plan import GroupPlan

__all__ = ["apply"]

_UNKNOWN = -1
"""Outcome, fold and repeat of people that no fold has tested."""


def apply(plan: GroupPlan) -> list[Outcome]:
    """Predict people a bundle has never seen.

    Raises
    ------
    AppError
        When the bundle is damaged, does not fit the series, or nobody can be predicted.
    """
    device = check_device(plan.train.device)
    bundle = read_bundle(Path(str(plan.model_dir)))
    cohort = read_people(plan, replace(plan.cohort, target=None), smallest_class=0)
    check_fits(bundle, cohort, plan.model, plan.model_flags)
    model = _model_options(plan, bundle)
    require_repetition_times(cohort.people, model)
    digest = _check_encoder(model, bundle)
    encoder = EncoderChoice(
        model, bundle.seed, digest, bundle.coordinates_mm, device, bundle.precision
    )
    crash_dir = prepare(plan, cohort, {"bundle": bundle.digest})
    announce(plan, cohort, "")

    encoded = encode(plan, cohort, encoder, crash_dir)
    workflow = predict_workflow(
        plan,
        encoded.examples_file,
        bundle,
        device=device,
        crash_dir=crash_dir,
    )
    failures = run_workflow(workflow, plan.resources, title="predict").failures
    if failures:
        raise_failure(failures[0], "The bundle could not be applied")
    arrays, _ = load_arrays(node_file(workflow, "predict", "logits.npz"))

    files = GroupFiles(plan.output_dir, plan.label)
    results.write_cohort(files, cohort, len(encoded.people), encoded.exclusions)
    results.write_predictions(
        files,
        encoded.people,
        _rows(arrays["logits"], encoded, bundle),
        out_of_distribution=_out_of_distribution(encoded, bundle),
        about=_about(plan, cohort, encoded, bundle, device),
    )
    return [Outcome(f"{len(encoded.people)} people", "done"), *encoded.outcomes]


def _model_options(plan: GroupPlan, bundle: Bundle) -> ModelOptions:
    own = replace(bundle.model, encoder_weights=plan.model.encoder_weights)
    return with_weights_folder(own)


def _check_encoder(model: ModelOptions, bundle: Bundle) -> str:
    digest = check_encoder(model, bundle.seed)
    if digest != bundle.encoder_digest:
        raise ModelFileError(
            f"The {model.encoder} encoder has other weights (digest {digest}) than the one the "
            f"bundle {bundle.folder} was trained with ({bundle.encoder_digest}). Name the folder "
            "of those weights with --encoder-weights; random weights need the version of torch "
            "they were drawn with."
        )
    return digest


def _rows(logits: Any, encoded: Encoded, bundle: Bundle) -> list[PredictionRow]:
    probability = apply_calibration(bundle.calibration, logits)
    threshold = bundle.calibration.threshold
    return [
        PredictionRow(
            key=key,
            model=MAIN_MODEL,
            y_true=_UNKNOWN,
            logit=float(logits[i]),
            probability_raw=float(expit(logits[i])),
            probability=float(probability[i]),
            y_pred=int(probability[i] >= threshold),
            threshold=threshold,
            fold=_UNKNOWN,
            repeat=_UNKNOWN,
        )
        for i, key in enumerate(encoded.examples.keys)
    ]


def _out_of_distribution(encoded: Encoded, bundle: Bundle) -> Mapping[str, str]:
    reasons: dict[str, str] = {}
    for person, volumes in zip(encoded.people, encoded.n_volumes, strict=True):
        found = [
            reason
            for run, n_volumes in zip(person.runs, volumes, strict=True)
            for reason in bundle.training_range.outside(run.tr_s, n_volumes, run.mean_fd_mm)
        ]
        if found:
            reasons[person.key] = "; ".join(found)
    return reasons


def _about(
    plan: GroupPlan, cohort: Cohort, encoded: Encoded, bundle: Bundle, device: str
) -> dict[str, Any]:
    return {
        "Target": bundle.target,
        "PositiveValue": bundle.positive_value,
        "N": len(encoded.people),
        "Bundle": bundle.folder.name,
        "BundleDigest": bundle.digest,
        "Atlas": cohort.atlas_label or "unnamed",
        "AtlasFallback": cohort.atlas_label != "A424",
        "Normalisation": bundle.model.normalisation,
        "Encoder": bundle.model.encoder,
        "EncoderDigest": bundle.encoder_digest,
        "Device": device,
        "Precision": encoded.about[0]["precision"],
        "MainModel": MAIN_MODEL,
        "ModelNames": {MAIN_MODEL: MODELS[MAIN_MODEL].title},
        "Options": asdict(plan.cohort) | asdict(bundle.model),
    }

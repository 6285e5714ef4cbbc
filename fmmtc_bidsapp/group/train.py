"""Train: cohort -> encode -> fit every model on every fold -> judge -> files -> report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.cohort import Cohort
from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.engine import (
    NodeFailure,
    Outcome,
    error_code,
    node_file,
    raise_failure,
    run_workflow,
)
from fmmtc_bidsapp.group import results
from fmmtc_bidsapp.group.bundle import Bundle, fitted_files, withdraw_bundle, write_bundle
from fmmtc_bidsapp.group.card import model_card
from fmmtc_bidsapp.group.choice import EncoderChoice, coordinates, require_repetition_times
from fmmtc_bidsapp.group.encoding import Encoded, encode, stratum
from fmmtc_bidsapp.group.exchange import load_fold
from fmmtc_bidsapp.group.nodes import check_device, check_encoder
from fmmtc_bidsapp.group.ranges import TrainingRange, training_range
from fmmtc_bidsapp.group.start import announce, prepare, read_people, with_weights_folder
from fmmtc_bidsapp.group.workflow import FINAL, fit_name, fit_workflow
from fmmtc_bidsapp.learning.compare import compare
from fmmtc_bidsapp.learning.evaluate import evaluate
from fmmtc_bidsapp.learning.experiments import MAIN_MODEL, MODELS
from fmmtc_bidsapp.learning.models import baselines
from fmmtc_bidsapp.learning.outcomes import prediction_rows
from fmmtc_bidsapp.learning.splits import check_strata, outer_folds
from fmmtc_bidsapp.model.checkpoint import file_digest
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Calibration, Evaluation, FoldPredictions, Person

__all__ = ["train"]


def train(plan: GroupPlan) -> list[Outcome]:
    """Train FMM_TC and its baselines, judge them, and keep a bundle.

    Raises
    ------
    AppError
        When nothing can be started, or the main model could not be fitted on any fold.
    """
    device = check_device(plan.train.device)
    plan = replace(plan, model=with_weights_folder(plan.model))
    digest = check_encoder(plan.model, plan.random_seed)
    cohort = read_people(plan, plan.cohort, smallest_class=plan.train.folds)
    _check_strata(plan, cohort.people)
    require_repetition_times(cohort.people, plan.model)
    xyz_mm, notice = coordinates(cohort, plan.model)
    encoder = EncoderChoice(
        plan.model, plan.random_seed, digest, xyz_mm, device, plan.train.precision
    )
    crash_dir = prepare(plan, cohort, {"encoder": digest})
    announce(plan, cohort, notice)

    encoded = encode(plan, cohort, encoder, crash_dir)
    _check_strata(plan, encoded.people)
    predictions, failures, final = _fit(plan, encoded, device, crash_dir)
    y = encoded.examples.y
    evaluation = evaluate(predictions, y, plan.evaluation, plan.random_seed)

    files = GroupFiles(plan.output_dir, plan.label)
    own = [each for each in predictions if each.model == MAIN_MODEL]
    about = _about(plan, cohort, encoded, encoder, own, notice)
    results.write_cohort(files, cohort, len(encoded.people), encoded.exclusions)
    results.write_folds(files, encoded.people, [each.fold for each in own])
    results.write_predictions(
        files,
        encoded.people,
        prediction_rows(own, encoded.examples),
        out_of_distribution={},
        about=about,
    )
    results.write_evaluation(files, evaluation, compare(predictions, y, MAIN_MODEL), about)
    results.write_learning(files, own)
    if final is None:
        withdraw_bundle(files.bundle_dir)
    else:
        _keep_bundle(files, final, plan, cohort, encoded, encoder, evaluation, about)
    broken = [
        Outcome(each.node, "failed", each.message, error_code(each.error)) for each in failures
    ]
    return [Outcome(f"{len(encoded.people)} people", "done"), *encoded.outcomes, *broken]


def _check_strata(plan: GroupPlan, people: Sequence[Person]) -> None:
    """Refuse strata too small for the folds: before encoding, and again with whom it left."""
    check_strata([stratum(each) for each in people], plan.train.folds, plan.train.inner_folds)


def _fit(
    plan: GroupPlan, encoded: Encoded, device: str, crash_dir: Path
) -> tuple[list[FoldPredictions], Sequence[NodeFailure], Path | None]:
    """Fit every model on every fold; returns predictions, failures, and the final fit's folder."""
    options = plan.train
    folds = outer_folds(encoded.examples.strata, options.folds, options.repeats, plan.random_seed)
    models = [MAIN_MODEL, *baselines(encoded.examples)]
    workflow = fit_workflow(
        plan,
        encoded.examples_file,
        folds,
        models,
        main=MAIN_MODEL,
        device=device,
        crash_dir=crash_dir,
    )
    nodes = run_workflow(workflow, plan.resources, title="folds")
    fits = [fit_name(model, fold) for model in models for fold in folds]
    predictions = [
        load_fold(node_file(workflow, fit, "fold.npz")) for fit in fits if fit in nodes.done
    ]
    if not any(each.model == MAIN_MODEL for each in predictions):
        raise_failure(nodes.failures[0], f"{MAIN_MODEL} could not be fitted on any fold")
    final = node_file(workflow, FINAL, "") if FINAL in nodes.done else None
    return predictions, nodes.failures, final


def _about(
    plan: GroupPlan,
    cohort: Cohort,
    encoded: Encoded,
    encoder: EncoderChoice,
    own: Sequence[FoldPredictions],
    notice: str,
) -> dict[str, Any]:
    """Say what the run was: the sidecar of its predictions and metrics."""
    y = encoded.examples.y
    options = (plan.cohort, plan.model, plan.train, plan.evaluation)
    return {
        "Target": plan.cohort.target,
        "PositiveValue": plan.cohort.positive_value or "1",
        "N": len(y),
        "NPositive": int((y == 1).sum()),
        "Atlas": cohort.atlas_label or "unnamed",
        "AtlasFallback": cohort.atlas_label != "A424",
        "Notice": notice,
        "Normalisation": plan.model.normalisation,
        "Encoder": plan.model.encoder,
        "EncoderDigest": encoder.digest,
        "OrderSpread": "n/a" if encoded.order_spread is None else encoded.order_spread,
        "NumberOfWindows": encoded.total("n_windows"),
        "PatchesLeftOut": encoded.total("n_patches_dropped"),
        "ParcelsLeftOut": encoded.total("n_parcels_left_out"),
        "EdgesImputed": int(sum(each.notes["edges_imputed_test"] for each in own)),
        "Device": encoder.device,
        "Precision": encoded.about[0]["precision"],
        "MainModel": MAIN_MODEL,
        "ModelNames": {name: model.title for name, model in MODELS.items()},
        "Options": {name: value for each in options for name, value in asdict(each).items()},
    }


def _keep_bundle(
    files: GroupFiles,
    final: Path,
    plan: GroupPlan,
    cohort: Cohort,
    encoded: Encoded,
    encoder: EncoderChoice,
    evaluation: Evaluation,
    about: Mapping[str, Any],
) -> None:
    tensors, description = fitted_files(final)
    bundle = Bundle(
        folder=files.bundle_dir,
        digest=file_digest(tensors),
        model=plan.model,
        seed=encoder.seed,
        encoder_digest=encoder.digest,
        precision=about["Precision"],
        atlas_label=cohort.atlas_label,
        atlas_digest=cohort.atlas_digest,
        parcels=cohort.parcels,
        coordinates_mm=encoder.coordinates_mm,
        calibration=Calibration(**description["calibration"]),
        training_range=_range(encoded),
        target=about["Target"],
        positive_value=about["PositiveValue"],
    )
    card = model_card(about, evaluation.metrics, MAIN_MODEL, evaluation.verdict)
    write_bundle(bundle, tensors, description, n_people=len(encoded.people), card=card)


def _range(encoded: Encoded) -> TrainingRange:
    runs = [run for person in encoded.people for run in person.runs]
    return training_range(
        [run.tr_s for run in runs if run.tr_s is not None],
        [n for volumes in encoded.n_volumes for n in volumes],
        [run.mean_fd_mm for run in runs if run.mean_fd_mm is not None],
    )

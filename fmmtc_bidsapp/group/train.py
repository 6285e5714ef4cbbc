"""Train: cohort -> encode -> fit every model on every fold -> judge -> files -> report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.cohort import Cohort, read_cohort
from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.engine import NodeFailure, Outcome, error_code, node_file, run_workflow
from fmmtc_bidsapp.errors import AppError, InputError
from fmmtc_bidsapp.group import results
from fmmtc_bidsapp.group.bundle import TrainingRange, training_range, write_bundle
from fmmtc_bidsapp.group.card import model_card
from fmmtc_bidsapp.group.encoding import Encoded, EncoderChoice, coordinates, encode
from fmmtc_bidsapp.group.exchange import load_fold
from fmmtc_bidsapp.group.nodes import check_device, check_encoder
from fmmtc_bidsapp.group.start import announce, prepare, with_weights_folder
from fmmtc_bidsapp.group.workflow import fit_name, fit_workflow
from fmmtc_bidsapp.learning.compare import compare
from fmmtc_bidsapp.learning.evaluate import evaluate
from fmmtc_bidsapp.learning.outcomes import prediction_rows
from fmmtc_bidsapp.learning.splits import outer_folds
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Evaluation, FoldPredictions

__all__ = ["train"]

MAIN_MODEL = "fmmtc"
MODEL_NAMES = {"fmmtc": "FMM_TC", "fc-logistic": "FC logistic", "dummy": "Dummy (prevalence)"}
"""What is fitted, in the order of every table, and how a reader calls it."""


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
    cohort = _read_cohort(plan)
    xyz_mm, notice = coordinates(cohort, plan.model)
    encoder = EncoderChoice(plan.model, plan.random_seed, digest, xyz_mm, device)
    crash_dir = prepare(plan, {"encoder": digest, "atlas": str(cohort.atlas_digest)})
    announce(plan, cohort, notice)

    encoded = encode(plan, cohort, encoder, crash_dir)
    _require_classes(encoded, plan.train.folds)
    predictions, failures, final = _fit(plan, encoded, device, crash_dir)
    y = encoded.examples.y
    evaluation = evaluate(predictions, y, plan.evaluation, plan.random_seed)

    files = GroupFiles(plan.output_dir, plan.label)
    about = _about(plan, cohort, encoded, encoder, notice)
    own = [each for each in predictions if each.model == MAIN_MODEL]
    results.write_cohort(files, cohort, (*cohort.exclusions, *encoded.exclusions))
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
    if final is not None:
        _keep_bundle(files, final, plan, cohort, encoded, encoder, evaluation, about)
    return _outcomes(encoded, failures)


def _read_cohort(plan: GroupPlan) -> Cohort:
    return read_cohort(
        plan.series_dir,
        plan.participants_table,
        plan.cohort,
        participants=plan.selection.participants,
        sessions=plan.selection.sessions,
        tasks=plan.selection.tasks,
        runs=plan.selection.runs,
        smallest_class=plan.train.folds,
    )


def _require_classes(encoded: Encoded, folds: int) -> None:
    """Check once more what exclusions at encoding may have changed."""
    counts = Counter(encoded.examples.y.tolist())
    if min(counts[0], counts[1]) < folds:
        raise InputError(
            f"After encoding {counts[1]} positive and {counts[0]} negative people are left; each "
            f"class needs {folds} or more. The first reason: {encoded.failures[0].message}"
        )


def _fit(
    plan: GroupPlan, encoded: Encoded, device: str, crash_dir: Path
) -> tuple[list[FoldPredictions], list[NodeFailure], Path | None]:
    """Fit every model on every fold; returns predictions, failures, and the final fit's folder."""
    options = plan.train
    folds = outer_folds(encoded.examples.strata, options.folds, options.repeats, plan.random_seed)
    workflow = fit_workflow(
        plan,
        encoded.examples_file,
        folds,
        list(MODEL_NAMES),
        main=MAIN_MODEL,
        device=device,
        crash_dir=crash_dir,
    )
    failures = run_workflow(workflow, plan.resources, title="folds")
    broken = {each.node.split(".")[-1] for each in failures}
    names = [fit_name(model, fold) for model in MODEL_NAMES for fold in folds]
    done = [name for name in names if name not in broken]
    predictions = [load_fold(node_file(workflow, name, "fold.npz")) for name in done]
    if not any(each.model == MAIN_MODEL for each in predictions):
        raise AppError(f"{MAIN_MODEL} could not be fitted on any fold: {failures[0].message}")
    final = None if "final" in broken else node_file(workflow, "final", "")
    return predictions, failures, final


def _about(
    plan: GroupPlan, cohort: Cohort, encoded: Encoded, encoder: EncoderChoice, notice: str
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
        "OrderSpread": _mean([each["order_spread"] for each in encoded.about]),
        "Device": encoder.device,
        "Precision": encoded.about[0]["precision"],
        "MainModel": MAIN_MODEL,
        "ModelNames": MODEL_NAMES,
        "Options": {name: value for each in options for name, value in asdict(each).items()},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


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
    write_bundle(
        files.bundle_dir,
        final / "model.safetensors",
        final / "description.json",
        cohort=cohort,
        coordinates_mm=encoder.coordinates_mm,
        model=plan.model,
        seed=encoder.seed,
        encoder_digest=encoder.digest,
        training_range=_range(encoded),
        target=about["Target"],
        positive_value=about["PositiveValue"],
        card=model_card(about, evaluation.metrics, MAIN_MODEL, evaluation.verdict),
    )


def _range(encoded: Encoded) -> TrainingRange:
    runs = [run for person in encoded.people for run in person.runs]
    return training_range(
        [run.tr_s for run in runs if run.tr_s is not None],
        [n for each in encoded.about for n in each["n_volumes"]],
        [run.mean_fd_mm for run in runs if run.mean_fd_mm is not None],
    )


def _outcomes(encoded: Encoded, failures: Sequence[NodeFailure]) -> list[Outcome]:
    """Say how every person and every fit ended."""
    lost = [
        Outcome(each.participant_id, "failed", each.reason, error_code(failure.error))
        for each, failure in zip(encoded.exclusions, encoded.failures, strict=True)
    ]
    broken = [
        Outcome(each.node, "failed", each.message, error_code(each.error)) for each in failures
    ]
    return [Outcome(f"{len(encoded.people)} people", "done"), *lost, *broken]

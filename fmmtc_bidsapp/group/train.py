"""Train: cohort -> encode -> fit each model on each fold -> judge -> files -> bundle -> explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fmmtc_bidsapp.bidsio.cohort.distinct_runs import averaged_runs, notes_on_acquisitions
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.bidsio.files.origin import origin_keys
from fmmtc_bidsapp.engine import Outcome
from fmmtc_bidsapp.group.bundle.write import withdraw_bundle
from fmmtc_bidsapp.group.cohort.dataset import (
    Study,
    begin,
    outcome_keys,
    outcomes,
    with_baselines,
    with_scales,
)
from fmmtc_bidsapp.group.encode.encoder_config import same_input_note
from fmmtc_bidsapp.group.encode.other_modalities import other_modality_keys
from fmmtc_bidsapp.group.output import results
from fmmtc_bidsapp.group.output.explain import explain, models_to_keep
from fmmtc_bidsapp.group.output.save_bundle import keep_bundle, missing_covariates
from fmmtc_bidsapp.group.tasks.compute import training_precision
from fmmtc_bidsapp.group.tasks.fit import Fits, fit_models
from fmmtc_bidsapp.learning.estimators.models import MAIN_MODEL, expand_models
from fmmtc_bidsapp.learning.evaluate import DomainFits, FittedRun, evaluate_run, model_titles
from fmmtc_bidsapp.learning.metrics.predictions import prediction_rows
from fmmtc_bidsapp.learning.paper.tables import PaperRow
from fmmtc_bidsapp.models.encoders.registry import encoder_title
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Evaluation

__all__ = [
    "about_study",
    "asked_to_train",
    "explain_and_write",
    "judge_study",
    "train",
    "write_study",
]


def train(plan: GroupPlan, answer_first: Callable[[], None]) -> list[Outcome]:
    """Train the models that are asked for and their baselines, evaluate them, and keep the first.

    `answer_first` is called when all but the explanations is written and some will be computed.
    AppError if nothing can be started, or if the main model could not be fitted on any fold.
    """
    asked = asked_to_train(plan)
    study = begin(plan, asked)
    study = with_scales(study, (None, *study.folds))
    models = with_baselines(asked, study.encoded.examples)
    fits = fit_models(
        study.plan,
        study.encoded,
        study.folds,
        models,
        device=study.device,
        crash_dir=study.crash_dir,
        title="fit",
        final=True,
        permute=True,
        keep=models_to_keep(plan, models),
    )
    evaluation = judge_study(study, fits)
    files = GroupFiles(plan.output_dir, plan.label)
    about = about_study(study, fits, evaluation)
    write_study(files, study, fits, evaluation, about)
    if fits.final:
        keep_bundle(files, study, fits, evaluation, about)
    else:
        withdraw_bundle(files.bundle_dir)
    return [
        *outcomes(study, [fits]),
        *explain_and_write(files, study, fits, evaluation, answer_first),
    ]


def asked_to_train(plan: GroupPlan) -> tuple[str, ...]:
    """Return the models that are asked for, the main one first."""
    return expand_models(plan.protocol.network or (MAIN_MODEL,), plan.protocol.features)


def judge_study(
    study: Study,
    fits: Fits,
    *,
    rows: Sequence[PaperRow] = (),
    across: DomainFits | None = None,
) -> Evaluation:
    """Evaluate everything that was fitted; `rows` and `across` are those of a comparison."""
    plan, encoded = study.plan, study.encoded
    return evaluate_run(
        FittedRun(
            fits.predictions,
            encoded.examples,
            plan.evaluation,
            main=fits.models[0],
            seed=plan.random_seed,
            encoder=plan.model.encoder,
            permuted=fits.permuted,
            exchanged=fits.exchanged,
            folds=study.folds,
            untested=fits.untested,
            published=fits.published,
            trainings=fits.trainings,
            selection=plan.protocol.selection,
            rows=rows,
            across=across,
            duplicates=encoded.duplicates,
        )
    )


def about_study(study: Study, fits: Fits, evaluation: Evaluation) -> dict[str, Any]:
    """Return the sidecar of predictions and metrics: outcome, inputs, encoder, options."""
    plan, cohort, encoded = study.plan, study.cohort, study.encoded
    own = [each for each in fits.predictions if each.model == fits.models[0]]
    y = encoded.examples.y
    options = (plan.cohort, plan.model, plan.train, plan.evaluation, plan.protocol)
    return {
        "Analysis": plan.analysis,
        **outcome_keys(cohort),
        "N": len(y),
        "NPositive": int((y == 1).sum()),
        **origin_keys(cohort.origin),
        "Atlas": cohort.atlas_label or "unnamed",
        "AtlasFallback": cohort.atlas_label != "A424",
        "Notice": "; ".join(
            filter(
                None,
                (
                    study.notice,
                    same_input_note(plan.model),
                    *encoded.notes,
                    *notes_on_acquisitions(encoded.people),
                ),
            )
        ),
        "AveragedRuns": averaged_runs(encoded.people) or "n/a",
        "Normalisation": plan.model.normalisation,
        "Encoder": plan.model.encoder,
        "EncoderTitle": encoder_title(plan.model.encoder),
        "EncoderDigest": study.encoder.digest,
        "OrderSpread": "n/a" if encoded.order_spread is None else encoded.order_spread,
        "NumberOfWindows": encoded.total("n_windows"),
        "PatchesLeftOut": encoded.total("n_patches_dropped"),
        "ParcelsLeftOut": encoded.total("n_parcels_left_out"),
        "EdgesImputed": int(sum(each.notes.get("edges_imputed_test", 0) for each in own)),
        "MissingCovariates": missing_covariates(encoded.examples, encoded.covariate_levels),
        "Device": study.device,
        "Precision": training_precision(plan.train.precision, study.device),
        "MainModel": fits.models[0],
        "ModelNames": model_titles(plan.model.encoder, fits.models),
        "NotTested": {each.model: each.not_tested for each in evaluation.tests if each.not_tested},
        "People": {each.model: each.n_people for each in evaluation.tests},
        "FoldsFitted": {each.model: each.n_folds for each in evaluation.tests},
        "FoldsPlanned": len(study.folds),
        "AcquisitionWarnings": list(study.warnings),
        "Seeds": plan.train.seeds,
        **other_modality_keys(cohort, encoded.examples),
        "Options": {name: value for each in options for name, value in asdict(each).items()},
    }


def write_study(
    files: GroupFiles, study: Study, fits: Fits, evaluation: Evaluation, about: Mapping[str, Any]
) -> None:
    """Write the tables of an analysis: cohort, folds, predictions, evaluation, learning curves."""
    people = study.encoded.people
    own = [each for each in fits.predictions if each.model == fits.models[0]]
    results.write_cohort(files, study.cohort, people, study.encoded.exclusions)
    results.write_folds(files, people, study.folds)
    results.write_predictions(
        files,
        people,
        prediction_rows(own, study.encoded.examples),
        out_of_distribution={},
        about=about,
    )
    results.write_evaluation(files, evaluation, about)
    results.write_learning(files, fits.trainings)


def explain_and_write(
    files: GroupFiles,
    study: Study,
    fits: Fits,
    evaluation: Evaluation,
    answer_first: Callable[[], None],
) -> list[Outcome]:
    """Explain the fitted models and write it, last, as it can take longer than the fits.

    A run that is killed in it has all other results, and no explanations of older predictions.
    Return the outcomes of what failed.
    """
    results.withdraw_stale_explanation(files)
    explained = explain(study, fits, evaluation, answer_first)
    results.write_explanation(files, explained.explanation, explained.about, explained.image)
    return explained.outcomes

"""Compare: cohort -> encode -> fit on shared folds -> subgroups -> evaluate -> files -> explain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.engine import Outcome
from fmmtc_bidsapp.errors import AppError
from fmmtc_bidsapp.group.cohort.dataset import Study, begin, outcomes, with_baselines, with_scales
from fmmtc_bidsapp.group.output.explain import models_to_keep
from fmmtc_bidsapp.group.tasks.fit import Fits, fit_models
from fmmtc_bidsapp.group.train import about_study, explain_and_write, judge_study, write_study
from fmmtc_bidsapp.learning.estimators.models import (
    MAIN_MODEL,
    baselines,
    expand_models,
    missing_needs,
)
from fmmtc_bidsapp.learning.evaluate import DomainFits
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan
from fmmtc_bidsapp.learning.paper.tables import (
    FEATURES,
    TABLE_4_MODELS,
    Domain,
    PaperRow,
    domains,
    folds_to_fit,
    paper_models,
    paper_rows,
)
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Examples, Fold

__all__ = ["across_arms", "asked_to_compare", "compare", "compared_models", "lines"]

_ACROSS = "fit across arms"


def compare(plan: GroupPlan, answer_first: Callable[[], None]) -> list[Outcome]:
    """Fit the models of the paper's tables on the same folds, and evaluate them; keep no bundle.

    Errors and `answer_first` as in `fmmtc_bidsapp.group.train.train`.
    """
    asked = asked_to_compare(plan)
    study = begin(plan, asked)
    cells = _cells(study.plan, study.encoded.examples)
    arm_folds = folds_to_fit(cells)
    study = with_scales(study, (*study.folds, *arm_folds))
    rows = lines(study.plan, asked, study.encoded.examples)
    models = compared_models(asked, rows, study.encoded.examples)
    fits = fit_models(
        study.plan,
        study.encoded,
        study.folds,
        models,
        device=study.device,
        crash_dir=study.crash_dir,
        title="fit",
        final=False,
        permute=True,
        keep=models_to_keep(plan, models),
    )
    across, more, broken = _fit_across(study, cells, arm_folds, models)
    evaluation = judge_study(study, fits, rows=rows, across=across)
    about, files = about_study(study, fits, evaluation), GroupFiles(plan.output_dir, plan.label)
    write_study(files, study, fits, evaluation, about)
    explained = explain_and_write(files, study, fits, evaluation, answer_first)
    return [*outcomes(study, [fits, *more]), *broken, *explained]


def asked_to_compare(plan: GroupPlan) -> tuple[str, ...]:
    """Return the models that are asked for; none for every row of the paper."""
    return expand_models(plan.protocol.network, plan.protocol.features or FEATURES)


def compared_models(
    asked: Sequence[str], rows: Sequence[PaperRow], examples: Examples
) -> tuple[str, ...]:
    """Return the models that are fitted, the main one first; InputError for a missing input."""
    return with_baselines(asked or paper_models(rows, MAIN_MODEL), examples)


def lines(plan: GroupPlan, asked: Sequence[str], examples: Examples) -> tuple[PaperRow, ...]:
    """Return the rows of the paper; where models are asked for, only theirs."""
    rows = paper_rows(
        plan.model, plan.protocol.features, lambda name: missing_needs(name, examples)
    )
    return tuple(row for row in rows if not asked or row.model in asked)


def across_arms(
    plan: GroupPlan, examples: Examples, models: Sequence[str]
) -> tuple[tuple[Domain, ...], tuple[str, ...]]:
    """Return the cells of Table 4 and the models in each; none without arms."""
    if examples.arms is None:
        return (), ()
    return _cells(plan, examples), _models(examples, models)


def _cells(plan: GroupPlan, examples: Examples) -> tuple[Domain, ...]:
    if examples.arms is None:
        return ()
    splits = SplitPlan(
        examples.strata,
        examples.groups,
        plan.train,
        plan.random_seed,
        plan.evaluation.calibration,
    )
    return domains(examples.arms, splits)


def _models(examples: Examples, compared: Sequence[str]) -> tuple[str, ...]:
    """Return the models of Table 4: the main one, BrainLM and FMM_TC where compared, baselines."""
    printed = [name for name in compared if name in TABLE_4_MODELS]
    return tuple(dict.fromkeys([compared[0], *printed, *baselines(examples)]))


def _fit_across(
    study: Study, cells: tuple[Domain, ...], folds: tuple[Fold, ...], compared: Sequence[str]
) -> tuple[DomainFits | None, list[Fits], list[Outcome]]:
    """Train the models of Table 4 and the baselines on each arm, without shuffled outcomes.

    If that fails, the cross-validation of everyone remains.
    """
    examples, plan = study.encoded.examples, study.plan
    if examples.arms is None:
        return None, [], []
    models = _models(examples, compared)
    if not folds:
        return DomainFits(cells, models, ()), [], []
    try:
        fits = fit_models(
            replace(plan, protocol=replace(plan.protocol, selection="nested")),
            study.encoded,
            folds,
            models,
            device=study.device,
            crash_dir=study.crash_dir,
            title=_ACROSS,
            final=False,
            permute=False,
        )
    except AppError as error:
        lost = tuple(
            replace(cell, folds=(), note=str(error)) if cell.folds else cell for cell in cells
        )
        failed = Outcome(_ACROSS, "failed", str(error), error.exit_code)
        return DomainFits(lost, models, ()), [], [failed]
    return DomainFits(cells, models, fits.predictions), [fits], []

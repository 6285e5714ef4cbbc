"""Check everything that a run would refuse, and print its steps, without running them.

Nothing is encoded, so people whose files turn out to be unreadable are still counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels, covariate_columns
from fmmtc_bidsapp.bidsio.files.atomic import refuse_unwritable
from fmmtc_bidsapp.bidsio.tables.quality import find_quality
from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat, read_series
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.apply import admit_new
from fmmtc_bidsapp.group.cohort.admission import announce, check_prepared, require_quality
from fmmtc_bidsapp.group.cohort.dataset import (
    Admitted,
    admit,
    warn_of_acquisition,
    warn_of_selection,
    with_baselines,
)
from fmmtc_bidsapp.group.compare import across_arms, asked_to_compare, compared_models, lines
from fmmtc_bidsapp.group.encode.acquisition import acquisition_columns
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER, EncoderChoice, needs_of_cohort
from fmmtc_bidsapp.group.encode.person import MatrixRun, merge_matrices
from fmmtc_bidsapp.group.output.explain import models_to_keep
from fmmtc_bidsapp.group.tasks.encoding import all_known, stratum
from fmmtc_bidsapp.group.tasks.fit import blocks_of, exchangeable
from fmmtc_bidsapp.group.tasks.fit_steps import Kept, Step, list_explain_steps, list_steps
from fmmtc_bidsapp.group.tasks.memory import (
    explain_gb,
    list_kinds,
    print_explain_steps,
    print_kept_weights,
    print_models_to_fit,
    print_scales,
    step_gb,
)
from fmmtc_bidsapp.group.tasks.workflow import ENCODE_GB, MERGE_GB, PREDICT_GB
from fmmtc_bidsapp.group.train import asked_to_train
from fmmtc_bidsapp.learning.estimators.models import refuse_needs
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.tables import Domain, folds_to_fit
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Examples, Exclusion, Fold, Person

__all__ = ["dry_run"]


def dry_run(plan: GroupPlan) -> None:
    """Print the participants, models, steps and memory of a run; raise what the run would."""
    _REHEARSALS[plan.analysis](plan)
    refuse_unwritable(plan.output_dir, "output folder")
    refuse_unwritable(plan.resources.work_dir, "--work-dir")
    print("Nothing was computed or written (--dry-run).")


def _train(plan: GroupPlan) -> None:
    asked = asked_to_train(plan)
    admitted, examples, folds = _begin(plan, asked)
    models = with_baselines(asked, examples)
    _print_encoding(admitted.plan, admitted.cohort, admitted.encoder, (None, *folds))
    _print_fits(admitted, examples, _steps(admitted, examples, folds, models, final=True))
    _print_explaining(admitted, examples, folds, models)


def _compare(plan: GroupPlan) -> None:
    asked = asked_to_compare(plan)
    admitted, examples, folds = _begin(plan, asked)
    rows = lines(admitted.plan, asked, examples)
    for row in rows:
        if not row.possible:
            print(f"Not possible: {row.table}, {row.title}: {row.note}")
    models = compared_models(asked, rows, examples)
    cells, inside = across_arms(admitted.plan, examples, models)
    across = folds_to_fit(cells)
    _print_cells(cells)
    _print_encoding(admitted.plan, admitted.cohort, admitted.encoder, (*folds, *across))
    steps = _steps(admitted, examples, folds, models, final=False)
    _print_fits(admitted, examples, [*steps, *_across(admitted, across, inside)])
    _print_explaining(admitted, examples, folds, models)


def _begin(plan: GroupPlan, asked: Sequence[str]) -> tuple[Admitted, Examples, tuple[Fold, ...]]:
    """Print who would be analysed and how they would be split; return them and their folds."""
    admitted = admit(plan, asked)
    plan, cohort, train = admitted.plan, admitted.cohort, admitted.plan.train
    check_prepared(plan, cohort, admitted.digests)
    announce(plan, cohort, admitted.notice)
    warn_of_selection(plan, asked)
    _print_exclusions(cohort.exclusions)
    _require_one_readable(cohort)
    examples = _as_if_encoded(plan, cohort, admitted.encoder)
    warn_of_acquisition(examples)
    folds = outer_folds(
        examples.strata, train.folds, train.repeats, plan.random_seed, examples.groups
    )
    print(
        f"Every model on {len(folds)} folds (--folds {train.folds}, --repeats {train.repeats}), "
        f"{train.inner_folds} inner folds within each; --seeds {train.seeds}"
    )
    return admitted, examples, tuple(folds)


def _steps(
    admitted: Admitted,
    examples: Examples,
    folds: Sequence[Fold],
    models: Sequence[str],
    *,
    final: bool,
) -> list[Step]:
    plan, device = admitted.plan, admitted.device
    blocks, _ = exchangeable(plan, examples, folds)
    keep = models_to_keep(plan, models)
    steps = list_steps(
        plan, models, folds, device=device, final=final, permute=bool(blocks), keep=keep
    )
    for is_network, kind in ((True, "networks"), (False, "models without epochs")):
        if any(step.is_network == is_network for step in steps):
            n = plan.protocol.n_permutations(is_network=is_network, device=device) if blocks else 0
            print(f"Shuffled outcomes for {kind}: {n or 'none'}")
    return steps


def _across(admitted: Admitted, folds: Sequence[Fold], models: Sequence[str]) -> list[Step]:
    """Return the steps across arms of `compare`: without shuffles or another selection."""
    if not folds:
        return []
    plan = admitted.plan
    plan = replace(plan, protocol=replace(plan.protocol, selection="nested"))
    return list_steps(plan, models, folds, device=admitted.device, final=False, permute=False)


def _print_cells(cells: Sequence[Domain]) -> None:
    for cell in cells:
        n = len(cell.folds)
        counted = [f"{n} fold{'' if n == 1 else 's'}"] if n else []
        detail = "; ".join(filter(None, (*counted, cell.note)))
        print(f"Table 4, trained on {cell.train_on}, tested on {cell.test_on}: {detail}")


def _apply(plan: GroupPlan) -> None:
    admitted = admit_new(plan)
    bundle, cohort = admitted.bundle, admitted.cohort
    # The model of a bundle without a scale reads no series.
    encoder = admitted.encoder.without_scale if bundle.scale is None else admitted.encoder
    check_prepared(plan, cohort, {"bundle": bundle.digest})
    announce(plan, cohort, " ".join(admitted.notes), bundle.covariates)
    _print_exclusions(cohort.exclusions)
    _require_one_readable(cohort)
    _as_if_encoded(plan, cohort, encoder, bundle.covariates)
    refuse_needs([bundle.main], needs_of_cohort(cohort, encoder))
    _print_encoding(plan, cohort, encoder)
    known = sum(person.y is not None for person in cohort.people)
    judged = f"is evaluated on the {known} whose outcome is known" if known else "is not evaluated"
    print(
        f"{bundle.title} of {bundle.folder}, trained on {bundle.n_people} people, predicts "
        f"{len(cohort.people)} people and {judged}."
    )
    _print_memory([PREDICT_GB], plan)


def _quality(plan: GroupPlan) -> None:
    require_quality(plan)
    runs = find_quality(plan.output_dir)
    people = {run.participant_id for run in runs}
    print(f"Quality table of {len(runs)} runs of {len(people)} participants.")


def _as_if_encoded(
    plan: GroupPlan,
    cohort: Cohort,
    encoder: EncoderChoice,
    levels: Sequence[CovariateLevels] | None = None,
) -> Examples:
    """Return the cohort as if it were encoded: arrays of the right shape that take no memory."""
    people, n_parcels = cohort.people, len(cohort.parcels)
    there = needs_of_cohort(cohort, encoder)
    covariates = covariate_columns(
        [person.covariates for person in people], cohort.covariate_names, levels, cohort.meanings
    )

    acquisition, acquisition_names = acquisition_columns(people)

    def blank(need: str, *shape: int) -> Any:
        is_there = need in there
        return np.broadcast_to(np.float32(np.nan), (len(people), *shape)) if is_there else None

    return Examples(
        keys=tuple(person.key for person in people),
        arrays={
            "cls": np.empty((len(people), int("encoder" in there))),
            "fc": blank("fc", n_parcels, n_parcels),
            "series": blank("series", n_parcels, plan.model.window),
            "cls_random": blank("random encoder", 1),
            **{
                name: blank(name, *next(iter(each.arrays.values())).shape)
                for name, each in cohort.modalities.items()
            },
        },
        y=np.array([-1 if person.y is None else person.y for person in people], dtype=np.int64),
        strata=tuple(stratum(person) for person in people),
        covariates=covariates.values if covariates.names else None,
        covariate_names=covariates.names,
        mean_fd_mm=blank("motion"),
        acquisition=acquisition,
        acquisition_names=acquisition_names,
        groups=all_known([person.group for person in people]),
        arms=all_known([person.arm for person in people]),
        coordinates_mm=encoder.coordinates_mm,
    )


def _require_one_readable(cohort: Cohort) -> None:
    """Read people until one is readable; raise the first error if none is."""
    first: InputError | None = None
    for person in cohort.people:
        try:
            _read_person(person, cohort)
        except InputError as error:
            print(f"left out: {person.key} (encode), {error}")
            first = first or error
        else:
            return
    if first is not None:
        raise InputError(f"No scan could be encoded: {first}")


def _read_person(person: Person, cohort: Cohort) -> None:
    """Read the runs of a person; one readable run is enough."""
    if cohort.has_series:
        problems: list[InputError] = []
        for run in person.runs:
            try:
                read_series(run.path)
            except InputError as error:
                problems.append(error)
        if len(problems) == len(person.runs):
            raise problems[0]
        return
    merge_matrices(
        [
            MatrixRun(run.path.name, replace(read_relmat(run.path), fisher_z=run.fisher_z))
            for run in person.runs
        ],
        cohort.parcels,
    )


def _print_exclusions(exclusions: Sequence[Exclusion]) -> None:
    for each in exclusions:
        who = "_".join(filter(None, (each.participant_id, each.session_id)))
        print(f"left out: {who} ({each.stage}), {each.reason}")


def _print_encoding(
    plan: GroupPlan,
    cohort: Cohort,
    encoder: EncoderChoice,
    splits: Sequence[Fold | None] = (),
) -> None:
    """Print who is encoded: once, or with the scale of the training people of each split."""
    n = len(cohort.people)
    is_there = encoder.options.encoder != NO_ENCODER
    print(f"On {encoder.device}; scratch in {plan.workspace}, results in {plan.output_dir}")
    if not cohort.has_series:
        print(f"Merging the matrices of {n} people; nothing is encoded.")
        _print_memory([MERGE_GB] * n, plan)
        return
    if encoder.learns_scale:
        _print_scales(cohort, encoder, splits)
    else:
        print(f"Encoding {n} people." if is_there else f"Reading the series of {n} people.")
    _print_memory([ENCODE_GB] * n, plan)


def _print_scales(cohort: Cohort, encoder: EncoderChoice, splits: Sequence[Fold | None]) -> None:
    everyone = np.arange(len(cohort.people))
    rows = [everyone if each is None else np.union1d(each.train, each.test) for each in splits]
    scans = np.array([len(person.runs) for person in cohort.people])
    scans = scans * (2 if encoder.encodes_twice else 1)
    print_scales(
        len(splits),
        encodings=int(sum(scans[own].sum() for own in rows)),
        once=int(scans.sum()),
        encoder=encoder.options.encoder,
    )


def _print_fits(admitted: Admitted, examples: Examples, steps: Sequence[Step]) -> None:
    memory_gb = {step: step_gb(step, examples) for step in steps}
    print_models_to_fit(steps)
    print(*list_kinds(memory_gb), sep="\n")
    print_kept_weights(steps)
    _print_memory(memory_gb.values(), admitted.plan)


def _print_explaining(
    admitted: Admitted, examples: Examples, folds: Sequence[Fold], models: Sequence[str]
) -> None:
    """Print the steps and memory of explanations, as if the models predicted."""
    plan, device = admitted.plan, admitted.device
    kept = [
        Kept(name, fold, plan.workspace)
        for name in models_to_keep(plan, models)
        for fold in folds
        if fold.repeat == folds[0].repeat
    ]
    blocks, _ = blocks_of(examples, folds, plan.random_seed)
    steps = list_explain_steps(plan, kept, device=device, null_maps=bool(blocks))
    if not steps:
        return
    print("After that, for models with evidence of prediction:")
    memory_gb = {step: explain_gb(step, examples) for step in steps}
    print_explain_steps(steps)
    print(*list_kinds(memory_gb), sep="\n")
    _print_memory(memory_gb.values(), plan)


def _print_memory(steps_gb: Iterable[float], plan: GroupPlan) -> None:
    largest = sorted(steps_gb, reverse=True)[: plan.resources.n_procs]
    limit = plan.resources.memory_gb
    detail = "" if limit is None else f"; --mem-mb limits all steps together to {limit:.1f} GB"
    print(
        f"Memory: up to {largest[0]:.1f} GB a step, {sum(largest):.1f} GB for "
        f"{len(largest)} at once{detail}."
    )


_REHEARSALS: Mapping[str, Callable[[GroupPlan], None]] = {
    "train": _train,
    "compare": _compare,
    "apply": _apply,
    "qc": _quality,
}

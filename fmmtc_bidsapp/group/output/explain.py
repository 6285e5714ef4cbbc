"""Explain the models of an analysis: a graph after their evaluation.

A map of a model that predicts nothing looks convincing all the same. So no map is computed of a
model without evidence of prediction, unless ``--show-unsupported-maps`` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.engine import (
    NodeFailure,
    Outcome,
    error_code,
    load_arrays,
    load_record,
    node_file,
    run_workflow,
)
from fmmtc_bidsapp.errors import AppError
from fmmtc_bidsapp.group.cohort.dataset import Study, outcome_keys
from fmmtc_bidsapp.group.output.atlas_map import draw_map, read_study_atlas
from fmmtc_bidsapp.group.tasks.fit import Fits, blocks_of
from fmmtc_bidsapp.group.tasks.fit_steps import (
    EXPLAIN,
    NULL_MAPS,
    ONLY_PARCELS,
    ExplainStep,
    Kept,
    list_explain_steps,
    why_no_step,
)
from fmmtc_bidsapp.group.tasks.memory import explain_gb, kinds_of, print_explain_steps
from fmmtc_bidsapp.group.tasks.workflow import explain_workflow
from fmmtc_bidsapp.learning.explanation.cohort_maps import NullMaps, join_nulls, restore_null_maps
from fmmtc_bidsapp.learning.explanation.map_tables import Places, summarise
from fmmtc_bidsapp.learning.explanation.stream_shares import modality_shares
from fmmtc_bidsapp.modalities.table import MODALITIES
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Blocks, Evaluation, Explanation, FoldExplanation, MapRow
from fmmtc_bidsapp.records.verdict import EVIDENCE

__all__ = ["Explained", "explain", "models_to_keep"]

_COMPANION = "fc-logistic"
"""Linear model of connectivity, explained beside the main model."""
_NOTHING = "none"


@dataclass(frozen=True, eq=False)
class Explained:
    """The explanation of the models, and what could not be computed."""

    explanation: Explanation | None = None
    """None if none was asked for."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the sidecars, for all models."""
    image: bytes | None = None
    """The map of the main model in the space of the atlas; None without a map or a label image."""
    failures: tuple[NodeFailure, ...] = ()
    broken: tuple[Outcome, ...] = ()
    """Failures outside of a node."""

    @property
    def outcomes(self) -> list[Outcome]:
        """Return the outcome of everything that failed."""
        nodes = [
            Outcome(each.node, "failed", each.message, error_code(each.error))
            for each in self.failures
        ]
        return [*nodes, *self.broken]


def models_to_keep(plan: GroupPlan, models: Sequence[str]) -> tuple[str, ...]:
    """Return the models whose weights explanations need."""
    if plan.explain.explain == _NOTHING:
        return ()
    return tuple(name for name in _explained(models) if not why_no_step(name, plan.explain))


def _explained(models: Sequence[str]) -> tuple[str, ...]:
    wanted = dict.fromkeys([models[0], _COMPANION])
    return tuple(name for name in wanted if name in models)


def explain(
    study: Study, fits: Fits, evaluation: Evaluation, answer_first: Callable[[], None]
) -> Explained:
    """Explain the main model, and the linear one beside it, if they predict.

    `answer_first` is called before anything is computed. A node that fails costs the map of its
    fold; another error of this program costs all maps, and is reported.
    """
    main = fits.models[0]
    if study.plan.explain.explain == _NOTHING:
        return Explained()
    try:
        return _explain(study, fits, evaluation, main, answer_first)
    except AppError as error:
        return Explained(
            Explanation(held_back=f"it could not be computed ({error})"),
            _about(study, main, {}),
            broken=(Outcome("explanations", "failed", str(error), error.exit_code),),
        )


def _explain(
    study: Study,
    fits: Fits,
    evaluation: Evaluation,
    main: str,
    answer_first: Callable[[], None],
) -> Explained:
    options = study.plan.explain
    verdicts = {each.model: each.verdict for each in evaluation.tests}
    unsupported = verdicts[main] != EVIDENCE
    if unsupported and not options.show_unsupported_maps:
        print(
            f"The explanation of {main} is not shown: {verdicts[main]}. "
            "--show-unsupported-maps computes and shows it all the same, under a watermark.",
            flush=True,
        )
        return Explained(Explanation(held_back=verdicts[main]), _about(study, main, {}))
    # With unsupported maps the watermark covers those of the linear model too.
    left_out = {
        name: {"HeldBack": verdicts[name]}
        for name in _explained(fits.models)
        if not unsupported and verdicts[name] != EVIDENCE
    }
    nothing = {
        name: {"NoMaps": why}
        for name in _explained(fits.models)
        if name not in left_out and (why := why_no_step(name, options))
    }
    answer_first()
    atlas = read_study_atlas(study)
    steps, ended, failures = _run(study, [each for each in fits.kept if each.model not in left_out])
    rows: list[MapRow] = []
    folds: list[FoldExplanation] = []
    models: dict[str, Any] = {**left_out, **nothing}
    shuffled_shares: dict[str, Any] = {}
    for name in dict.fromkeys(step.kept.model for step in steps):
        own = _folds(steps, ended, name)
        nulls = _nulls(steps, ended, name, {each.fold.fold for each in own})
        joined = join_nulls(nulls)
        if joined is not None and joined.share is not None:
            shuffled_shares[name] = joined.share
        maps, models[name] = _summed_up(study, name, own, nulls, atlas.places)
        rows += maps
        folds += own
    shares = modality_shares(
        folds,
        study.encoded.examples.y,
        study.plan.random_seed,
        study.plan.evaluation.bootstrap,
        shuffled_shares,
    )
    own_rows = [row for row in rows if row.model == main]
    drawn = draw_map(atlas, own_rows, shares, unsupported=unsupported)
    explanation = Explanation(
        shares=shares,
        rows=tuple(rows),
        about=models,
        held_back="" if shares or rows else _why_nothing(main, models, failures),
        unsupported=unsupported,
    )
    about = {**_about(study, main, models), **atlas.about, **drawn.about}
    return Explained(explanation, about, drawn.image, failures, drawn.broken)


def _about(study: Study, main: str, models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the sidecars: what is explained, and how."""
    plan = study.plan
    return {
        "MainModel": main,
        "Explain": plan.explain.explain,
        **outcome_keys(study.cohort),
        "Repeat": f"the first of {plan.train.repeats}",
        "Training": f"the first of {plan.train.seeds}",
        "Models": dict(models),
        **_other_titles(study.cohort),
    }


def _other_places(cohort: Cohort, parcels: Places) -> dict[str, Places]:
    """Return the places of the modalities of other packages; parcels are those of the atlas."""
    found = {}
    for name, values in cohort.modalities.items():
        level = MODALITIES[name].axes[0]
        nowhere = Places(values.names, (None,) * len(values.names), {}, level)
        is_of_parcels = level == "parcel" and values.names == tuple(parcels.names)
        found[name] = parcels if is_of_parcels else nowhere
    return found


def _other_titles(cohort: Cohort) -> dict[str, dict[str, str]]:
    """Return the titles of the modalities of other packages for the report."""
    titles = {name: MODALITIES[name].title for name in cohort.modalities}
    return {"Modalities": titles} if titles else {}


def _why_nothing(main: str, models: Mapping[str, Any], failures: Sequence[NodeFailure]) -> str:
    if "NoMaps" in models.get(main, {}):
        return str(models[main]["NoMaps"])
    if failures:
        return f"it could not be computed ({failures[0].message})"
    return "it could not be fitted on a fold of the first repeat"


def _run(
    study: Study, kept: Sequence[Kept]
) -> tuple[list[ExplainStep], dict[ExplainStep, Path], tuple[NodeFailure, ...]]:
    """Explain fitted models in a graph; completed steps are reused."""
    plan, examples = study.plan, study.encoded.examples
    blocks = _blocks(study)
    steps = list_explain_steps(plan, kept, device=study.device, null_maps=bool(blocks))
    print_explain_steps(steps)
    workflow = explain_workflow(
        plan,
        {step: study.encoded.examples_file_of(step.kept.fold) for step in steps},
        sorted(steps, key=lambda step: not step.is_network),
        blocks=blocks,
        memory_gb={step: explain_gb(step, examples) for step in steps},
        device=study.device,
        crash_dir=study.crash_dir,
    )
    nodes = run_workflow(workflow, plan.resources, title="explain", kinds=kinds_of(steps))
    ended = {
        step: Path(node_file(workflow, step.name, "")) for step in steps if step.name in nodes.done
    }
    return steps, ended, nodes.failures


def _blocks(study: Study) -> Blocks:
    """Name those who may exchange outcomes, as in the test; nobody where that is too few ways."""
    blocks, error = blocks_of(study.encoded.examples, study.folds, study.plan.random_seed)
    if error is not None:
        print(f"WARNING: there is nothing to hold maps against. {error}")
    return blocks


def _folds(
    steps: Sequence[ExplainStep], ended: Mapping[ExplainStep, Path], model: str
) -> list[FoldExplanation]:
    return [
        load_record(ended[step] / "explanation.npz", FoldExplanation)
        for step in steps
        if step in ended and step.kind == EXPLAIN and step.kept.model == model
    ]


def _nulls(
    steps: Sequence[ExplainStep],
    ended: Mapping[ExplainStep, Path],
    model: str,
    explained: Set[int],
) -> list[NullMaps]:
    """Read the maps of shuffled outcomes, one a fold; none if one of them is lost.

    A shuffle is one model over the explained folds, like the real one: a mean over more folds has
    less noise.
    """
    own = [
        step
        for step in steps
        if step.kind == NULL_MAPS and step.kept.model == model and step.kept.fold.fold in explained
    ]
    if not set(own) <= set(ended):
        return []
    of_fold: dict[int, list[Mapping[str, Any]]] = {}
    for step in own:
        arrays, _ = load_arrays(ended[step] / "maps.npz")
        of_fold.setdefault(step.kept.fold.fold, []).append(arrays)
    return [
        restore_null_maps({name: np.concatenate([each[name] for each in maps]) for name in maps[0]})
        for maps in of_fold.values()
    ]


def _summed_up(
    study: Study,
    model: str,
    folds: Sequence[FoldExplanation],
    nulls: Sequence[NullMaps],
    places: Places,
) -> tuple[tuple[MapRow, ...], dict[str, Any]]:
    """Return the rows of one model, and the entries of its sidecar."""
    options, plan = study.plan.explain, study.plan
    in_all = sum(fold.repeat == study.folds[0].repeat for fold in study.folds)
    counted = {"Folds": f"{len(folds)} of {in_all}"}
    mapped = [
        each
        for each in folds
        if each.edges is not None or each.series_size is not None or each.others
    ]
    if not folds:
        return (), counted
    if not mapped:
        return (), {**counted, "NoMaps": ONLY_PARCELS}
    rows, summary_keys = summarise(
        mapped,
        nulls,
        places,
        seed=plan.random_seed,
        n_bootstrap=plan.evaluation.bootstrap,
        others=_other_places(study.cohort, places),
    )
    summary_keys = {**summary_keys, **counted}
    if mapped[0].converged is None:
        return rows, summary_keys
    return rows, {**summary_keys, "Baseline": options.explain_baseline}

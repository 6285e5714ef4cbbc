"""The graphs of the group level."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.engine import Task, new_workflow, node_name, task
from fmmtc_bidsapp.group.bundle.bundle import Bundle, fitted_files, fitted_paths
from fmmtc_bidsapp.group.encode.encoder_config import EncoderChoice
from fmmtc_bidsapp.group.tasks.fit_steps import (
    EXPLAIN,
    FINAL,
    FIT,
    NULL_MAPS,
    PUBLISHED,
    SHUFFLES,
    ExplainStep,
    Step,
)
from fmmtc_bidsapp.group.tasks.nodes import (
    Encode,
    Explain,
    FitFinal,
    FitFold,
    FitPublished,
    FitScale,
    Merge,
    NullMaps,
    Predict,
    Shuffle,
)
from fmmtc_bidsapp.group.tasks.report_tasks import report, summarise_quality
from fmmtc_bidsapp.options import EvaluationOptions, ExplainOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Blocks, Fold, Person, SeriesFile
from fmmtc_bidsapp.reports.pages.sheet import write_sheets
from fmmtc_bidsapp.reports.text.methods import write_citation

__all__ = [
    "ENCODE_GB",
    "MERGE_GB",
    "PREDICT_GB",
    "encode_name",
    "encode_workflow",
    "explain_workflow",
    "fit_workflow",
    "merge_workflow",
    "predict_workflow",
    "quality_workflow",
    "report_workflow",
    "scale_workflow",
]

ENCODE_GB = 1.5
MERGE_GB = 0.5
PREDICT_GB = 2.5
_QUALITY_GB = 0.5
"""Whatever the number of people: matrices are read one by one."""
_REPORT_GB = 0.2


def _compute(
    plan: GroupPlan, model: ModelOptions, *, seed: int, device: str, precision: str
) -> dict[str, Any]:
    """Return the inputs that every computing node shares."""
    return {
        "model_options": _options_of_model(model),
        "seed": seed,
        "device": device,
        "use_gpu": device.startswith("cuda"),
        "precision": precision,
        "threads": plan.resources.omp_nthreads,
    }


def encode_workflow(
    plan: GroupPlan,
    choices: Sequence[tuple[EncoderChoice, Person]],
    xyz_mm: Path,
    crash_dir: Path,
) -> Any:
    """One node a person and encoder, whatever the label: it is encoded once for all."""
    workflow = new_workflow("encode", plan, crash_dir)
    for encoder, person in choices:
        shared = _compute(
            plan,
            # What stands behind the encoder changes nothing here.
            replace(encoder.options, fusion=ModelOptions().fusion),
            seed=encoder.seed,
            device=encoder.device,
            precision="float32",
        )
        encode = Encode(
            series=[str(run.path) for run in person.runs],
            runs=_repetition_times(person.runs),
            xyz_mm=str(xyz_mm),
            weights=str(encoder.options.encoder_weights),
            encoder_digest=encoder.digest,
            **shared,
        )
        if encoder.scale_file is not None:
            encode.inputs.scale = str(encoder.scale_file)
        workflow.add_nodes([_node(encode, encode_name(encoder, person), plan, ENCODE_GB)])
    return workflow


def encode_name(encoder: EncoderChoice, person: Person) -> str:
    """Name the node of one person, encoder and scale."""
    scale = "" if encoder.scale_file is None else f"_{encoder.scale_file.stem}"
    return node_name(f"{encoder.options.encoder}_{person.key}{scale}")


def _repetition_times(runs: Sequence[SeriesFile]) -> str:
    return json.dumps([{"tr_s": run.tr_s} for run in runs])


def scale_workflow(
    plan: GroupPlan,
    training: Mapping[str, Sequence[Person]],
    memory_gb: Mapping[str, float],
    crash_dir: Path,
) -> Any:
    """One node a set of training people, by its name: it is shown their series and no others."""
    workflow = new_workflow("scale", plan, crash_dir)
    for name, people in training.items():
        runs = [run for person in people for run in person.runs]
        fit = FitScale(
            series=[str(run.path) for run in runs],
            runs=_repetition_times(runs),
            model_options=_options_of_model(plan.model),
        )
        workflow.add_nodes([_node(fit, name, plan, memory_gb[name])])
    return workflow


def merge_workflow(
    plan: GroupPlan,
    people: Sequence[Person],
    encoder: EncoderChoice,
    parcels: Sequence[str],
    crash_dir: Path,
) -> Any:
    """One node a person of whom there are matrices alone."""
    workflow = new_workflow("merge", plan, crash_dir)
    for person in people:
        about = [
            {"fisher_z": run.fisher_z, "n_volumes": run.n_volumes_retained} for run in person.runs
        ]
        merge = Merge(
            matrices=[str(run.path) for run in person.runs],
            runs=json.dumps(about),
            parcels=json.dumps(list(parcels)),
        )
        workflow.add_nodes([_node(merge, encode_name(encoder, person), plan, MERGE_GB)])
    return workflow


def fit_workflow(
    plan: GroupPlan,
    name: str,
    examples: Mapping[Step, Path],
    steps: Sequence[Step],
    *,
    blocks: Blocks,
    memory_gb: Mapping[Step, float],
    device: str,
    crash_dir: Path,
) -> Any:
    """One node a step; the first are begun first.

    Parameters
    ----------
    plan
        Options, seed and threads.
    name
        Of the workflow, and so of the folder of its nodes.
    examples
        By step, what `save_examples` wrote of the cohort, or `save_examples_of_fold` of its fold.
    steps
        What is fitted, networks first, so that none runs alone at the end.
    blocks
        Who may exchange the outcome with whom (`exchange_blocks`).
    memory_gb
        Of each step.
    device
        Of the networks; what has no epochs is computed on the processor.
    crash_dir
        Where crash files go.
    """
    workflow = new_workflow(name, plan, crash_dir)
    digests = {path: digest_of(path) for path in set(examples.values())}
    for step in steps:
        own, device_name = examples[step], device if step.is_network else "cpu"
        shared = _shared(plan, own, digests[own], device_name) | {
            "train_options": _json(_own_training(plan, step)),
        }
        interface = _INTERFACES[step.kind](step, blocks, shared)
        workflow.add_nodes([_node(interface, step.name, plan, memory_gb[step])])
    return workflow


def _shared(plan: GroupPlan, examples: Path, digest: str, device: str) -> dict[str, Any]:
    """Return the inputs that every node with the cohort shares."""
    return _compute(
        plan, plan.model, seed=plan.random_seed, device=device, precision=plan.train.precision
    ) | {
        "examples": str(examples),
        "examples_digest": digest,
        "weights": str(plan.model.encoder_weights),
        "adjust": plan.cohort.adjust,
        "evaluation_options": _json(replace(plan.evaluation, bootstrap=1)),
    }


def _own_training(plan: GroupPlan, step: Step) -> TrainOptions:
    """Leave out what does not change this step, so that more repeats or trainings keep it."""
    seeds = plan.train.seeds if step.kind == SHUFFLES else 1
    return replace(plan.train, device="auto", repeats=1, seeds=seeds)


def _options_of_model(model: ModelOptions) -> str:
    """Options as JSON; the folder of the weights is none of them: their digest is."""
    return json.dumps(asdict(model) | {"encoder_weights": None}, sort_keys=True)


def _json(options: TrainOptions | EvaluationOptions | ExplainOptions) -> str:
    return json.dumps(asdict(options), sort_keys=True)


def _fit(step: Step, blocks: Blocks, shared: Mapping[str, Any]) -> Any:
    kept = {"keep": list(step.keep)} if step.keep else {}
    return FitFold(
        models=list(step.models), fold=_rows(step.fold), training=step.training, **kept, **shared
    )


def _shuffle(step: Step, blocks: Blocks, shared: Mapping[str, Any]) -> Any:
    return Shuffle(
        models=list(step.models),
        fold=_rows(step.fold),
        blocks=json.dumps(list(blocks)),
        first=step.first,
        shuffles=step.shuffles,
        **shared,
    )


def _published(step: Step, blocks: Blocks, shared: Mapping[str, Any]) -> Any:
    return FitPublished(models=list(step.models), fold=_rows(step.fold), **shared)


def _final(step: Step, blocks: Blocks, shared: Mapping[str, Any]) -> Any:
    return FitFinal(models=list(step.models), training=step.training, **shared)


_INTERFACES: Mapping[str, Callable[[Step, Blocks, Mapping[str, Any]], Any]] = {
    FIT: _fit,
    SHUFFLES: _shuffle,
    PUBLISHED: _published,
    FINAL: _final,
}


def explain_workflow(
    plan: GroupPlan,
    examples: Mapping[ExplainStep, Path],
    steps: Sequence[ExplainStep],
    *,
    blocks: Blocks,
    memory_gb: Mapping[ExplainStep, float],
    device: str,
    crash_dir: Path,
) -> Any:
    """One node a step.

    Parameters
    ----------
    plan
        Options, seed and threads.
    examples
        Of each step, what was written of the cohort.
    steps
        What is explained, networks first.
    blocks
        (person,) who may exchange the outcome with whom, as in `fit_workflow`.
    memory_gb
        Of each step.
    device
        Of the networks.
    crash_dir
        Where crash files go.
    """
    workflow = new_workflow(f"explain_{plan.label}", plan, crash_dir)
    digests = {path: digest_of(path) for path in set(examples.values())}
    for step in steps:
        own, device_name = examples[step], device if step.is_network else "cpu"
        shared = _shared(plan, own, digests[own], device_name) | {
            "train_options": _json(replace(plan.train, device="auto", repeats=1, seeds=1)),
            "models": [step.kept.model],
            "fold": _rows(step.kept.fold),
            "explain_options": _json(_own_explaining(plan.explain, step)),
        }
        interface = _EXPLAINING[step.kind](step, blocks, shared)
        workflow.add_nodes([_node(interface, step.name, plan, memory_gb[step])])
    return workflow


def _own_explaining(options: ExplainOptions, step: ExplainStep) -> ExplainOptions:
    """Leave out what changes nothing in this step, so that what there is of it is kept."""
    plain = ExplainOptions(explain=options.explain)
    if not step.is_network:
        return ExplainOptions()
    if options.explain != "parcels":
        return plain
    return replace(plain, explain_baseline=options.explain_baseline)


def _explain(step: ExplainStep, blocks: Blocks, shared: Mapping[str, Any]) -> Any:
    tensors, description = fitted_paths(step.kept.folder)
    return Explain(tensors=str(tensors), description=str(description), **shared)


def _null_maps(step: ExplainStep, blocks: Blocks, shared: Mapping[str, Any]) -> Any:
    _, told = fitted_files(step.kept.folder)
    return NullMaps(
        epoch=told["epoch"],
        blocks=json.dumps(list(blocks)),
        first=step.first,
        shuffles=step.maps,
        **shared,
    )


_EXPLAINING: Mapping[str, Callable[[ExplainStep, Blocks, Mapping[str, Any]], Any]] = {
    EXPLAIN: _explain,
    NULL_MAPS: _null_maps,
}


def predict_workflow(
    plan: GroupPlan, examples: Path, bundle: Bundle, *, device: str, crash_dir: Path
) -> Any:
    """One node: the bundle on everyone."""
    workflow = new_workflow(f"predict_{plan.label}", plan, crash_dir)
    predict = Predict(
        examples=str(examples),
        bundle=str(bundle.folder),
        bundle_digest=bundle.digest,
        **_compute(plan, bundle.model, seed=bundle.seed, device=device, precision=bundle.precision),
    )
    workflow.add_nodes([_node(predict, "predict", plan, PREDICT_GB)])
    return workflow


def quality_workflow(plan: GroupPlan, crash_dir: Path) -> Any:
    """One node: a thousand matrices take minutes, and a damaged table takes nothing else with it.

    It always runs, since nipype's cache cannot see that a run was added.
    """
    workflow = new_workflow("quality", plan, crash_dir)
    quality = Task(summarise_quality, places={"output_dir": plan.output_dir})
    workflow.add_nodes([task("quality", quality, memory_gb=_QUALITY_GB, writes_output=True)])
    return workflow


def report_workflow(plan: GroupPlan, crash_dir: Path) -> Any:
    """One node each for the report, the sheets and the methods text: each fails alone."""
    workflow = new_workflow(f"report_{plan.label}", plan, crash_dir)
    places, label = {"output_dir": plan.output_dir}, {"label": plan.label}
    for name, own in {
        "report": Task(report, options=label, places=places),
        "sheets": Task(write_sheets, options=label, places=places),
        "citation": Task(write_citation, places=places),
    }.items():
        workflow.add_nodes([task(name, own, memory_gb=_REPORT_GB, writes_output=True)])
    return workflow


def _node(interface: Any, name: str, plan: GroupPlan, memory_gb: float) -> Any:
    threads = min(plan.resources.omp_nthreads, plan.resources.n_procs)
    return pe.Node(interface, name=name, mem_gb=memory_gb, n_procs=threads)


def _rows(fold: Fold | None) -> str:
    assert fold is not None, "only the fit on everyone has no fold"  # noqa: S101
    rows = {"train": fold.train.tolist(), "test": fold.test.tolist()}
    return json.dumps({"repeat": fold.repeat, "fold": fold.fold, **rows})

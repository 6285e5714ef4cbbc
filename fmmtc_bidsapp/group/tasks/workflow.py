"""The graphs of the group level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.engine import Task, new_workflow, node_name, task
from fmmtc_bidsapp.group.bundle.bundle import Bundle
from fmmtc_bidsapp.group.bundle.fitted import fitted_files, fitted_paths
from fmmtc_bidsapp.group.encode.encoder_config import EncoderChoice
from fmmtc_bidsapp.group.tasks.compute import Compute, Shuffles, Training
from fmmtc_bidsapp.group.tasks.encode_tasks import encode, fit_scale, merge
from fmmtc_bidsapp.group.tasks.fit_steps import (
    FINAL,
    FIT,
    NULL_MAPS,
    PUBLISHED,
    SHUFFLES,
    ExplainStep,
    Step,
)
from fmmtc_bidsapp.group.tasks.fit_tasks import (
    explain,
    explain_shuffled,
    fit,
    fit_everyone,
    fit_published,
    fit_shuffled,
    predict,
)
from fmmtc_bidsapp.group.tasks.report_tasks import report, summarise_quality
from fmmtc_bidsapp.options import ExplainOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Blocks, Person
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
) -> Compute:
    """Return the settings of a node that computes; the path of the weights is left out."""
    threads = plan.resources.omp_nthreads
    return Compute(replace(model, encoder_weights=None), seed, device, precision, threads)


def _node(plan: GroupPlan, name: str, interface: Task, memory_gb: float) -> Any:
    threads = min(plan.resources.omp_nthreads, plan.resources.n_procs)
    return task(name, interface, memory_gb=memory_gb, threads=threads)


def _weights(model: ModelOptions) -> dict[str, Path]:
    return {"weights": Path(str(model.encoder_weights))}


def encode_workflow(
    plan: GroupPlan,
    choices: Sequence[tuple[EncoderChoice, Person]],
    xyz_mm: Path,
    crash_dir: Path,
) -> Any:
    """Return a graph with a node for each person and encoder, shared by all labels."""
    workflow = new_workflow("encode", plan, crash_dir)
    for encoder, person in choices:
        compute = _compute(
            plan,
            # The fusion does not change what is encoded.
            replace(encoder.options, fusion=ModelOptions().fusion),
            seed=encoder.seed,
            device=encoder.device,
            precision="float32",
        )
        own = Task(
            encode,
            options={"compute": compute, "tr_s": [run.tr_s for run in person.runs]},
            files={
                "series": [run.path for run in person.runs],
                "xyz_mm": xyz_mm,
                "scale": encoder.scale_file,
            },
            elsewhere=_weights(encoder.options),
            stamp=encoder.digest,
            gpu=encoder.device.startswith("cuda"),
        )
        workflow.add_nodes([_node(plan, encode_name(encoder, person), own, ENCODE_GB)])
    return workflow


def encode_name(encoder: EncoderChoice, person: Person) -> str:
    """Return the name of the node of one person, encoder and scale."""
    scale = "" if encoder.scale_file is None else f"_{encoder.scale_file.stem}"
    return node_name(f"{encoder.options.encoder}_{person.key}{scale}")


def scale_workflow(
    plan: GroupPlan,
    training: Mapping[str, Sequence[Person]],
    memory_gb: Mapping[str, float],
    crash_dir: Path,
) -> Any:
    """Return a graph with a node for each set of training people, whose series alone it reads."""
    workflow = new_workflow("scale", plan, crash_dir)
    model = replace(plan.model, encoder_weights=None)
    for name, people in training.items():
        runs = [run for person in people for run in person.runs]
        own = Task(
            fit_scale,
            options={"model": model, "tr_s": [run.tr_s for run in runs]},
            files={"series": [run.path for run in runs]},
        )
        workflow.add_nodes([_node(plan, name, own, memory_gb[name])])
    return workflow


def merge_workflow(
    plan: GroupPlan,
    people: Sequence[Person],
    encoder: EncoderChoice,
    parcels: Sequence[str],
    crash_dir: Path,
) -> Any:
    """Return a graph with a node for each person who has matrices alone."""
    workflow = new_workflow("merge", plan, crash_dir)
    for person in people:
        own = Task(
            merge,
            options={
                "fisher_z": [run.fisher_z for run in person.runs],
                "n_volumes": [run.n_volumes_retained for run in person.runs],
                "parcels": list(parcels),
            },
            files={"matrices": [run.path for run in person.runs]},
        )
        workflow.add_nodes([_node(plan, encode_name(encoder, person), own, MERGE_GB)])
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
    """Return a graph with a node for each step; the first are begun first, so give networks first.

    `examples` are the files of the cohort or of the fold of each step, `blocks` those of
    `exchange_blocks`; models without epochs are computed on the CPU whatever `device` is.
    """
    workflow = new_workflow(name, plan, crash_dir)
    digests = {path: digest_of(path) for path in set(examples.values())}
    for step in steps:
        device_name = device if step.is_network else "cpu"
        training = _training(plan, step.models, device_name, _own_training(plan, step))
        function, own = _FITS[step.kind](step, blocks)
        fold = {} if step.fold is None else {"fold": step.fold}
        interface = _of_cohort(
            plan,
            function,
            {"training": training, **fold, **own},
            examples[step],
            digests[examples[step]],
            device_name,
        )
        workflow.add_nodes([_node(plan, step.name, interface, memory_gb[step])])
    return workflow


def _training(plan: GroupPlan, models: Sequence[str], device: str, train: TrainOptions) -> Training:
    compute = _compute(
        plan, plan.model, seed=plan.random_seed, device=device, precision=plan.train.precision
    )
    # The bootstrap runs later, on the results of all folds.
    evaluation = replace(plan.evaluation, bootstrap=1)
    return Training(compute, tuple(models), train, evaluation, plan.cohort.adjust)


def _of_cohort(
    plan: GroupPlan,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    examples: Path,
    digest: str,
    device: str,
    files: Mapping[str, Path] | None = None,
) -> Task:
    """Return the task of a step on the cohort, which is hashed by its digest alone."""
    return Task(
        function,
        options=options,
        files=files,
        places={"examples": examples},
        elsewhere=_weights(plan.model),
        stamp=digest,
        gpu=device.startswith("cuda"),
    )


def _own_training(plan: GroupPlan, step: Step) -> TrainOptions:
    """Return the training options that change this step, so that others let it be reused."""
    seeds = plan.train.seeds if step.kind == SHUFFLES else 1
    return replace(plan.train, device="auto", repeats=1, seeds=seeds)


Called = tuple[Callable[..., Any], Mapping[str, Any]]
"""A function, and options of this function alone."""


def _fit(step: Step, blocks: Blocks) -> Called:
    # Left out if empty, so that the hash of other steps does not change.
    keep = {"keep": step.keep} if step.keep else {}
    return fit, {"number": step.training, **keep}


def _shuffle(step: Step, blocks: Blocks) -> Called:
    return fit_shuffled, {"shuffles": Shuffles(blocks, step.first, step.shuffles)}


def _publish(step: Step, blocks: Blocks) -> Called:
    return fit_published, {}


def _finish(step: Step, blocks: Blocks) -> Called:
    return fit_everyone, {"number": step.training}


_FITS: Mapping[str, Callable[[Step, Blocks], Called]] = {
    FIT: _fit,
    SHUFFLES: _shuffle,
    PUBLISHED: _publish,
    FINAL: _finish,
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
    """Return a graph with a node for each step; arguments as in `fit_workflow`."""
    workflow = new_workflow(f"explain_{plan.label}", plan, crash_dir)
    digests = {path: digest_of(path) for path in set(examples.values())}
    train = replace(plan.train, device="auto", repeats=1, seeds=1)
    for step in steps:
        device_name = device if step.is_network else "cpu"
        options = {
            "training": _training(plan, [step.kept.model], device_name, train),
            "fold": step.kept.fold,
            "options": _own_explaining(plan.explain, step),
        }
        tensors, description = fitted_paths(step.kept.folder)
        function: Callable[..., Any] = explain
        files = {"tensors": tensors, "description": description}
        if step.kind == NULL_MAPS:
            _, about = fitted_files(step.kept.folder)
            shuffles = Shuffles(blocks, step.first, step.maps)
            options |= {"epoch": about["epoch"], "shuffles": shuffles}
            function, files = explain_shuffled, {}
        own, digest = examples[step], digests[examples[step]]
        interface = _of_cohort(plan, function, options, own, digest, device_name, files)
        workflow.add_nodes([_node(plan, step.name, interface, memory_gb[step])])
    return workflow


def _own_explaining(options: ExplainOptions, step: ExplainStep) -> ExplainOptions:
    """Return the options without those that do not change this step, so that it is reused."""
    plain = ExplainOptions(explain=options.explain)
    if not step.is_network:
        return ExplainOptions()
    if options.explain != "parcels":
        return plain
    return replace(plain, explain_baseline=options.explain_baseline)


def predict_workflow(
    plan: GroupPlan, examples: Path, bundle: Bundle, *, device: str, crash_dir: Path
) -> Any:
    """Return a graph with one node: the bundle on everyone."""
    workflow = new_workflow(f"predict_{plan.label}", plan, crash_dir)
    compute = _compute(
        plan, bundle.model, seed=bundle.seed, device=device, precision=bundle.precision
    )
    own = Task(
        predict,
        options={"compute": compute},
        files={"examples": examples},
        places={"bundle": bundle.folder},
        stamp=bundle.digest,
        gpu=device.startswith("cuda"),
    )
    workflow.add_nodes([_node(plan, "predict", own, PREDICT_GB)])
    return workflow


def quality_workflow(plan: GroupPlan, crash_dir: Path) -> Any:
    """Return a graph with one node, which always runs, since runs may have been added."""
    workflow = new_workflow("quality", plan, crash_dir)
    quality = Task(summarise_quality, places={"output_dir": plan.output_dir})
    workflow.add_nodes([task("quality", quality, memory_gb=_QUALITY_GB, writes_output=True)])
    return workflow


def report_workflow(plan: GroupPlan, crash_dir: Path) -> Any:
    """Return a graph with a node each for report, sheets and methods text: each fails alone."""
    workflow = new_workflow(f"report_{plan.label}", plan, crash_dir)
    places, label = {"output_dir": plan.output_dir}, {"label": plan.label}
    for name, own in {
        "report": Task(report, options=label, places=places),
        "sheets": Task(write_sheets, options=label, places=places),
        "citation": Task(write_citation, places=places),
    }.items():
        workflow.add_nodes([task(name, own, memory_gb=_REPORT_GB, writes_output=True)])
    return workflow

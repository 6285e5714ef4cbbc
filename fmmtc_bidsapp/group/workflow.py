"""The graphs of the group level: encode each person, then fit each model on each fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow, node_name
from fmmtc_bidsapp.group.bundle import Bundle
from fmmtc_bidsapp.group.choice import EncoderChoice
from fmmtc_bidsapp.group.nodes import Encode, FitFinal, FitFold, Predict, Quality, Report
from fmmtc_bidsapp.learning.experiments import MODELS
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Fold, Person

__all__ = [
    "FINAL",
    "encode_workflow",
    "fit_name",
    "fit_workflow",
    "predict_workflow",
    "quality_workflow",
    "report_workflow",
]

FINAL = "final"
"""Node of the fit on everyone."""

_ENCODE_GB = 1.5
_FIT_GB = 2.5
_LINEAR_GB = 1.0
_QUALITY_GB = 0.5
"""Whatever the number of people: matrices are read one by one."""


def fit_name(model: str, fold: Fold) -> str:
    """Name the node of one model and fold."""
    return node_name(f"{model}_repeat_{fold.repeat}_fold_{fold.fold}")


def _compute(
    plan: GroupPlan, model: ModelOptions, *, seed: int, device: str, precision: str
) -> dict[str, Any]:
    """Return the inputs that every computing node shares."""
    # The folder of the weights is no option of the computation: their digest is.
    options = asdict(model) | {"encoder_weights": None}
    return {
        "model_options": json.dumps(options, sort_keys=True),
        "seed": seed,
        "device": device,
        "use_gpu": device.startswith("cuda"),
        "precision": precision,
        "threads": plan.resources.omp_nthreads,
    }


def encode_workflow(
    plan: GroupPlan, people: Sequence[Person], encoder: EncoderChoice, xyz_mm: Path, crash_dir: Path
) -> Any:
    """One node a person, whatever the label: it is encoded once for all."""
    workflow = new_workflow("encode", plan, crash_dir)
    shared = _compute(
        plan,
        encoder.options,
        seed=encoder.seed,
        device=encoder.device,
        precision=encoder.precision,
    )
    for person in people:
        encode = Encode(
            series=[str(run.path) for run in person.runs],
            xyz_mm=str(xyz_mm),
            weights=str(encoder.options.encoder_weights),
            encoder_digest=encoder.digest,
            **shared,
        )
        workflow.add_nodes([_node(encode, node_name(person.key), plan, _ENCODE_GB)])
    return workflow


def fit_workflow(
    plan: GroupPlan,
    examples: Path,
    folds: Sequence[Fold],
    models: Sequence[str],
    *,
    main: str,
    device: str,
    crash_dir: Path,
) -> Any:
    """One node a model and fold, and one that fits the main model on everyone."""
    workflow = new_workflow(f"fit_{plan.label}", plan, crash_dir)
    shared = _compute(
        plan, plan.model, seed=plan.random_seed, device=device, precision=plan.train.precision
    ) | {
        "examples": str(examples),
        "train_options": json.dumps(asdict(plan.train), sort_keys=True),
        "evaluation_options": json.dumps(asdict(plan.evaluation), sort_keys=True),
    }
    # The longest first, so that it does not run alone at the end.
    final = FitFinal(model=main, **shared)
    workflow.add_nodes([_node(final, FINAL, plan, _FIT_GB)])
    for model in models:
        for fold in folds:
            fit = FitFold(model=model, fold=json.dumps(_rows(fold)), **shared)
            memory_gb = _FIT_GB if MODELS[model].is_network else _LINEAR_GB
            workflow.add_nodes([_node(fit, fit_name(model, fold), plan, memory_gb)])
    return workflow


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
    workflow.add_nodes([_node(predict, "predict", plan, _FIT_GB)])
    return workflow


def quality_workflow(plan: GroupPlan, crash_dir: Path) -> Any:
    """One node: a thousand matrices take minutes, and a damaged table takes nothing else with it.

    It always runs, since nipype's cache cannot see that a run was added.
    """
    workflow = new_workflow("quality", plan, crash_dir)
    quality = Quality(output_dir=str(plan.output_dir))
    workflow.add_nodes([pe.Node(quality, name="quality", mem_gb=_QUALITY_GB, overwrite=True)])
    return workflow


def report_workflow(plan: GroupPlan, crash_dir: Path) -> Any:
    """One node, so that a report that fails takes nothing else with it."""
    workflow = new_workflow(f"report_{plan.label}", plan, crash_dir)
    report = Report(output_dir=str(plan.output_dir), label=plan.label)
    workflow.add_nodes([pe.Node(report, name="report", overwrite=True)])
    return workflow


def _node(interface: Any, name: str, plan: GroupPlan, memory_gb: float) -> Any:
    threads = min(plan.resources.omp_nthreads, plan.resources.n_procs)
    return pe.Node(interface, name=name, mem_gb=memory_gb, n_procs=threads)


def _rows(fold: Fold) -> Mapping[str, Any]:
    return {
        "repeat": fold.repeat,
        "fold": fold.fold,
        "train": fold.train.tolist(),
        "test": fold.test.tolist(),
    }

"""The graphs of the group level: encode each person, then fit each model on each fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow
from fmmtc_bidsapp.group.nodes import Encode, FitFinal, FitFold, Predict
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Fold, Person

__all__ = ["encode_workflow", "fit_name", "fit_workflow", "node_name", "predict_workflow"]

_ENCODE_GB = 1.5
_FIT_GB = 2.5
_LINEAR_GB = 1.0
_NETWORKS = frozenset({"fmmtc"})


def node_name(text: str) -> str:
    """Spell a key or label so that nipype takes it as a node's name."""
    return text.replace("-", "_").replace("+", "")


def fit_name(model: str, fold: Fold) -> str:
    """Name the node of one model and fold."""
    return node_name(f"{model}_repeat_{fold.repeat}_fold_{fold.fold}")


def _compute(plan: GroupPlan, model: ModelOptions, device: str) -> dict[str, Any]:
    """Return the inputs that every computing node shares."""
    options = {
        "train": asdict(plan.train),
        "model": asdict(model),
        "evaluation": asdict(plan.evaluation),
    }
    return {
        "options": json.dumps(options, sort_keys=True),
        "seed": plan.random_seed,
        "device": device,
        "threads": plan.resources.omp_nthreads,
    }


def encode_workflow(
    plan: GroupPlan,
    people: Sequence[Person],
    model: ModelOptions,
    *,
    xyz_mm: Path,
    encoder_digest: str,
    seed: int,
    device: str,
    crash_dir: Path,
) -> Any:
    """One node a person, none depending on another."""
    workflow = new_workflow("encode", plan.resources, crash_dir)
    shared = _compute(plan, model, device) | {"seed": seed}
    for person in people:
        encode = Encode(
            series=[str(run.path) for run in person.runs],
            xyz_mm=str(xyz_mm),
            encoder_digest=encoder_digest,
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
    workflow = new_workflow(node_name(f"fit_{plan.label}"), plan.resources, crash_dir)
    shared = _compute(plan, plan.model, device) | {"examples": str(examples)}
    # The longest first, so that it does not run alone at the end.
    final = FitFinal(model=main, **shared)
    workflow.add_nodes([_node(final, "final", plan, _FIT_GB)])
    for model in models:
        for fold in folds:
            fit = FitFold(model=model, fold=json.dumps(_rows(fold)), **shared)
            memory_gb = _FIT_GB if model in _NETWORKS else _LINEAR_GB
            workflow.add_nodes([_node(fit, fit_name(model, fold), plan, memory_gb)])
    return workflow


def predict_workflow(
    plan: GroupPlan,
    examples: Path,
    model: ModelOptions,
    *,
    bundle_digest: str,
    device: str,
    crash_dir: Path,
) -> Any:
    """One node: the bundle on everyone."""
    workflow = new_workflow(node_name(f"predict_{plan.label}"), plan.resources, crash_dir)
    predict = Predict(
        examples=str(examples),
        bundle=str(plan.model_dir),
        bundle_digest=bundle_digest,
        **_compute(plan, model, device),
    )
    workflow.add_nodes([_node(predict, "predict", plan, _FIT_GB)])
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

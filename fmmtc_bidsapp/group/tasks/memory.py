"""Memory and disk that the steps of an analysis need, and their number by kind.

Times are not estimated: they differ by machine, precision and data. The progress derives the time
left from completed steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.tasks.fit_steps import NULL_MAPS, ExplainStep, Step
from fmmtc_bidsapp.records import Examples

__all__ = [
    "explain_gb",
    "kinds_of",
    "list_kinds",
    "print_explain_steps",
    "print_kept_weights",
    "print_models_to_fit",
    "print_scales",
    "scale_gb",
    "step_gb",
]

_NETWORK_GB = 2.5
_EXPLAIN_GB = 3.0
_PROGRAM_GB = 0.6
_COPIES = 10
"""Copies of all matrices in float64 while the features of a classifier are made."""
_KEPT_GB = 0.05
"""Size of the weights of a network on disk: a ResNet-18, or BrainLM."""


def scale_gb(n_volumes: int, n_parcels: int) -> float:
    """Return the memory of learning a scale: all series of the training people, in float64."""
    return _PROGRAM_GB + float(8 * n_volumes * n_parcels) / 1e9


def step_gb(step: Step, examples: Examples) -> float:
    """Return the memory of one step."""
    return _NETWORK_GB if step.is_network else _columns_gb(examples)


def explain_gb(step: ExplainStep, examples: Examples) -> float:
    """Return the memory of one step of the explanations."""
    return _EXPLAIN_GB if step.is_network else _columns_gb(examples)


def _columns_gb(examples: Examples) -> float:
    n, parcels = len(examples.keys), examples.fc.shape[1]
    return _PROGRAM_GB + float(_COPIES * 8 * n * parcels**2) / 1e9


def kinds_of(steps: Sequence[Step] | Sequence[ExplainStep]) -> dict[str, str]:
    """Return the kind of each step by its name: steps of a kind take about equally long."""
    return {step.name: _kind(step) for step in steps}


def _kind(step: Step | ExplainStep) -> str:
    models = step.models if isinstance(step, Step) else (step.kept.model,)
    return f"{step.kind.replace('_', ' ')}: {', '.join(models)}"


def list_kinds(memory_gb: Mapping[Step, float] | Mapping[ExplainStep, float]) -> list[str]:
    """Return a line for each kind of step: the number of steps and the memory of one."""
    counts = Counter((_kind(step), gb) for step, gb in memory_gb.items())
    return [f"  {n} x {kind} ({gb:.1f} GB each)" for (kind, gb), n in counts.items()]


def print_scales(n_scales: int, *, encodings: int, once: int, encoder: str) -> None:
    """Print how many scans are encoded with the scales of all training sets, against `once`."""
    what = "scans to scale" if encoder == NO_ENCODER else "encodings"
    print(
        f"--normalisation robust learns a scale for each of {n_scales} training sets: {encodings} "
        f"{what} instead of {once}; completed ones are reused.",
        flush=True,
    )


def print_models_to_fit(steps: Sequence[Step]) -> None:
    """Print the models and the number of steps."""
    models = dict.fromkeys(name for step in steps for name in step.models)
    print(
        f"Fitting {len(models)} models in {len(steps)} steps: {', '.join(models)}; completed steps "
        "are reused.",
        flush=True,
    )


def print_explain_steps(steps: Sequence[ExplainStep]) -> None:
    """Print the models to explain and the number of steps."""
    models = dict.fromkeys(step.kept.model for step in steps)
    n_maps = sum(step.maps for step in steps if step.kind == NULL_MAPS)
    null = f", with {n_maps} maps of shuffled outcomes among them" if n_maps else ""
    print(
        f"Explaining {', '.join(models)} in {len(steps)} steps{null}; completed steps are reused.",
        flush=True,
    )


def print_kept_weights(steps: Sequence[Step]) -> None:
    """Print the disk space of the weights kept for explanations, if above 1 GB."""
    n = sum(len(step.keep) for step in steps if step.is_network)
    if n * _KEPT_GB > 1:
        print(
            f"The weights of {n} fits are kept in the work folder for explanations, up to "
            f"{n * _KEPT_GB:.1f} GB. --explain none keeps none.",
            flush=True,
        )

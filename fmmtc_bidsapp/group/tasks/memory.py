"""What the steps of an analysis need in memory and on disk, and how many there are of each kind.

No times: they differ by machine, precision and data more than any table could tell. The progress
says what is left, from the steps that have ended.
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
    "say_explain_steps",
    "say_kept",
    "say_scales",
    "say_steps",
    "scale_gb",
    "step_gb",
]

_NETWORK_GB = 2.5
_EXPLAIN_GB = 3.0
_PROGRAM_GB = 0.6
_COPIES = 10
"""Of everyone's matrices in float64, while a classifier's features are made."""
_KEPT_GB = 0.05
"""Of a network's weights on disk: a ResNet-18, or BrainLM."""


def scale_gb(n_volumes: int, n_parcels: int) -> float:
    """Estimate the memory of learning a scale: all series of the training people, in float64."""
    return _PROGRAM_GB + float(8 * n_volumes * n_parcels) / 1e9


def step_gb(step: Step, examples: Examples) -> float:
    """Estimate the memory of one step."""
    return _NETWORK_GB if step.is_network else _columns_gb(examples)


def explain_gb(step: ExplainStep, examples: Examples) -> float:
    """Estimate the memory of one step of the explanations."""
    return _EXPLAIN_GB if step.is_network else _columns_gb(examples)


def _columns_gb(examples: Examples) -> float:
    n, parcels = len(examples.keys), examples.fc.shape[1]
    return _PROGRAM_GB + float(_COPIES * 8 * n * parcels**2) / 1e9


def kinds_of(steps: Sequence[Step] | Sequence[ExplainStep]) -> dict[str, str]:
    """Name the kind of each step, by its name: steps of one kind take about equally long."""
    return {step.name: _kind(step) for step in steps}


def _kind(step: Step | ExplainStep) -> str:
    models = step.models if isinstance(step, Step) else (step.kept.model,)
    return f"{step.kind.replace('_', ' ')}: {', '.join(models)}"


def list_kinds(memory_gb: Mapping[Step, float] | Mapping[ExplainStep, float]) -> list[str]:
    """List how many steps of each kind there are, and what one needs in memory; a line each."""
    counts = Counter((_kind(step), gb) for step, gb in memory_gb.items())
    return [f"  {n} x {kind} ({gb:.1f} GB each)" for (kind, gb), n in counts.items()]


def say_scales(n_scales: int, *, encodings: int, once: int, encoder: str) -> None:
    """Print how often everyone is encoded with the scale of every fold's training people.

    Parameters
    ----------
    n_scales
        Sets of training people: of the folds, and everyone where a model of them is kept.
    encodings, once
        Scans to be encoded in all, and with a scale of the scan's own.
    encoder
        As ``--encoder``.
    """
    what = "scans to bring to it" if encoder == NO_ENCODER else "encodings"
    print(
        f"--normalisation robust takes its scale from the training people, of whom there are "
        f"{n_scales} sets: {encodings} {what} in place of {once}; completed ones are reused.",
        flush=True,
    )


def say_steps(steps: Sequence[Step]) -> None:
    """Print how much is to be fitted."""
    models = dict.fromkeys(name for step in steps for name in step.models)
    print(
        f"Fitting {len(models)} models in {len(steps)} steps: {', '.join(models)}; completed steps "
        "are reused.",
        flush=True,
    )


def say_explain_steps(steps: Sequence[ExplainStep]) -> None:
    """Print how much is to be explained."""
    models = dict.fromkeys(step.kept.model for step in steps)
    n_maps = sum(step.maps for step in steps if step.kind == NULL_MAPS)
    null = f", with {n_maps} maps of shuffled outcomes among them" if n_maps else ""
    print(
        f"Explaining {', '.join(models)} in {len(steps)} steps{null}; completed steps are reused.",
        flush=True,
    )


def say_kept(steps: Sequence[Step]) -> None:
    """Print how much room the weights that are kept to be explained take, where it is much.

    Parameters
    ----------
    steps
        Everything that is to be fitted.
    """
    n = sum(len(step.keep) for step in steps if step.is_network)
    if n * _KEPT_GB > 1:
        print(
            f"The weights of {n} fits are kept in the work folder to be explained, up to "
            f"{n * _KEPT_GB:.1f} GB. --explain none keeps none.",
            flush=True,
        )

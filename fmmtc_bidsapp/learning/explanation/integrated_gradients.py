"""Integrated gradients, with enough steps for completeness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import IntegratedGradients

__all__ = ["MOST_STEPS", "TOLERANCE", "Integral", "Term", "integrate", "relative"]

TOLERANCE = 0.01
"""Share of f(x) - f(baseline) that attributions may miss: from there on a map has converged."""

MOST_STEPS = 1024
"""Of a term whose points are cheap."""

_FIRST_STEPS = 16


@dataclass(frozen=True, eq=False)
class Term:
    """A part of a function, which is the sum of its terms; no two read the same input."""

    function: Callable[..., torch.Tensor]
    """(batch, ...) inputs -> (batch,)"""
    inputs: tuple[torch.Tensor, ...]
    """(1, ...)"""
    baselines: tuple[torch.Tensor, ...]
    at_once: int
    """Points of the path in one pass, which bounds the memory."""
    most_steps: int = MOST_STEPS
    """Where doubling ends, which bounds the time: every doubling begins anew."""


@dataclass(frozen=True, eq=False)
class Integral:
    """Attributions of one person."""

    attributions: tuple[torch.Tensor, ...]
    """(1, ...) by term, then input"""
    error: float
    """Sum of all attributions minus `difference`."""
    difference: float
    """f(x) - f(baseline)"""
    steps: int
    """Of the term that took most."""


def integrate(terms: Sequence[Term]) -> Integral:
    """Integrate gradients along the straight line from the baselines to the inputs.

    Each term begins with 16 steps of Gauss-Legendre quadrature (Sundararajan, Taly & Yan 2017,
    arXiv 1703.01365); the one with the largest error has them doubled, up to its `most_steps`,
    until the sum is complete to 1 % of f(x) - f(baseline).
    """
    found = [_attribute(each, _FIRST_STEPS) for each in terms]
    while (worst := _worst(terms, found)) is not None:
        steps = min(2 * found[worst].steps, terms[worst].most_steps)
        found[worst] = _attribute(terms[worst], steps)
    return _sum(found)


def relative(error: float, difference: float) -> float:
    """Return error over difference; infinite without a difference, as no map is meaningful."""
    return abs(error / difference) if difference else float("inf")


def _worst(terms: Sequence[Term], found: Sequence[Integral]) -> int | None:
    """Return the term to spend more steps on; None if the sum is complete or none would help."""
    whole = _sum(found)
    if relative(whole.error, whole.difference) <= TOLERANCE:
        return None
    allowed = TOLERANCE * abs(whole.difference) / len(found)
    open_terms = [
        i
        for i, (term, each) in enumerate(zip(terms, found, strict=True))
        if each.steps < term.most_steps and abs(each.error) > allowed
    ]
    return max(open_terms, key=lambda i: abs(found[i].error), default=None)


def _sum(found: Sequence[Integral]) -> Integral:
    return Integral(
        attributions=tuple(own for each in found for own in each.attributions),
        error=sum(each.error for each in found),
        difference=sum(each.difference for each in found),
        steps=max(each.steps for each in found),
    )


def _attribute(term: Term, steps: int) -> Integral:
    method: Any = IntegratedGradients(term.function)
    attributions, error = method.attribute(
        term.inputs,
        baselines=term.baselines,
        n_steps=steps,
        internal_batch_size=term.at_once,
        return_convergence_delta=True,
    )
    total = sum(float(each.double().sum()) for each in attributions)
    missed = float(error.double().mean())
    return Integral(attributions, missed, total - missed, steps)

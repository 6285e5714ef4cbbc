"""The verdict in three steps, and the words in which every file and page tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "EVIDENCE",
    "LEVEL",
    "NOT_TESTED",
    "NO_EVIDENCE",
    "PREDICTS",
    "STEPS",
    "Step",
    "added_steps",
    "meaning_of_verdict",
    "predicts",
    "untested_steps",
    "verdict_of_steps",
]

LEVEL = 0.05
"""Largest adjusted p of a step that is reached."""

EVIDENCE = "evidence of prediction"
NO_EVIDENCE = "no evidence of prediction"
NOT_TESTED = "not tested"
PREDICTS = "predicts"


@dataclass(frozen=True)
class Step:
    """A row of the table of steps."""

    name: str
    """As in every table: ``predicts``, ``beyond covariates``, …"""
    references: tuple[str, ...]
    """Models of no brain activity whose columns, together, the brain is held against."""
    meaning: str
    """What it means that a model reaches the step."""
    without: str = ""
    """Why the step is not tested where the references have no column."""


STEPS = (
    Step(PREDICTS, (), "does better than with shuffled outcomes"),
    Step(
        "beyond covariates",
        ("covariates",),
        "adds to the covariates",
        "no covariates were given",
    ),
    Step(
        "beyond motion and acquisition",
        ("covariates", "motion", "acquisition"),
        "adds to covariates, head motion and acquisition together",
        "head motion is not known, and no known property of the acquisition differs between people",
    ),
)
"""In the order in which they are told. The last one holds the brain against all references at once:
a model that carries a bit of each would add to each alone."""


def added_steps() -> tuple[Step, ...]:
    """List the steps that ask whether the brain adds to references."""
    return tuple(step for step in STEPS if step.references)


def verdict_of_steps(reached: Mapping[str, bool | None]) -> str:
    """Name the verdict from the steps that a model reached.

    Parameters
    ----------
    reached : mapping of str to bool or None
        By name of the step; None or absent where it was not tested.

    Returns
    -------
    str
        ``evidence of prediction`` where every step that could be tested is reached; else
        ``predicts; not shown beyond …``, ``no evidence of prediction`` or ``not tested``.
    """
    if reached.get(PREDICTS) is None:
        return NOT_TESTED
    if not reached[PREDICTS]:
        return NO_EVIDENCE
    missed = [step.name for step in added_steps() if reached.get(step.name) is False]
    return f"{PREDICTS}; not shown {' and not '.join(missed)}" if missed else EVIDENCE


def predicts(verdict: str) -> bool:
    """Say whether a verdict is of a model that does better than with shuffled outcomes."""
    return verdict == EVIDENCE or verdict.startswith(f"{PREDICTS};")


def meaning_of_verdict(verdict: str) -> str:
    """Say in one sentence what a verdict means for whoever reads a single prediction."""
    if verdict == EVIDENCE:
        return "The procedure that made this model passed every step that could be tested."
    if verdict == NOT_TESTED:
        return "Whether this model predicts better than chance is not known."
    if predicts(verdict):
        missed = [step for step in added_steps() if step.name in verdict]
        shown = "; nor that it ".join(step.meaning for step in missed)
        return (
            "This model does better than with shuffled outcomes, but it is not shown that it "
            f"{shown}."
        )
    return "There is no evidence that this model predicts anything."


def untested_steps(reasons: Sequence[tuple[str, str]]) -> str:
    """Tell the steps that were not tested, each with its reason; empty where all were."""
    listed = "; ".join(f"{name} ({reason})" for name, reason in reasons)
    return f"{NOT_TESTED}: {listed}" if listed else ""

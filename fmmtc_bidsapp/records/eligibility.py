"""Who is in an analysis: exclusions with their reasons, and how many each condition left."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ArmCount", "EligibilityStep", "Exclusion"]


@dataclass(frozen=True)
class Exclusion:
    """Someone or something left out, and why; nobody is dropped without one."""

    participant_id: str
    session_id: str | None
    stage: str
    """Where: ``find``, ``table``, ``series``, ``quality``, ``window``."""
    reason: str


@dataclass(frozen=True)
class ArmCount:
    """People of one arm, and their outcomes."""

    arm: str
    """Value of the ``--subset-by`` column, ``n/a`` where it has none."""
    n: int
    n_positive: int | None = None
    n_negative: int | None = None


@dataclass(frozen=True)
class EligibilityStep:
    """How many people a condition left, and how they divide; a row of ``_eligibility.tsv``."""

    step: str
    n: int
    n_positive: int | None = None
    """None where no outcome was asked for, or its values do not say which is positive."""
    n_negative: int | None = None
    arms: tuple[ArmCount, ...] = ()
    """The same arms in every step of a run; none without ``--subset-by``."""

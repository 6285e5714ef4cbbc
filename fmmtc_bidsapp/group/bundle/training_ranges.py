"""Scan properties of the training participants, and how another scan differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TrainingRange", "training_range"]

_TR_TOLERANCE_S = 0.001


def _within(value: float, limits: tuple[float, float], tolerance: float) -> bool:
    return limits[0] - tolerance <= value <= limits[1] + tolerance


@dataclass(frozen=True)
class TrainingRange:
    """Ranges of scan properties of the training people; outside them a prediction is flagged."""

    tr_s: tuple[float, float] | None
    n_volumes: tuple[int, int] | None
    """None for a cohort of matrices alone."""
    mean_fd_mm: tuple[float, float] | None

    def outside(
        self, tr_s: float | None, n_volumes: int | None, mean_fd_mm: float | None
    ) -> list[str]:
        """Return in which respects a scan lies outside."""
        reasons = []
        if tr_s is not None and self.tr_s and not _within(tr_s, self.tr_s, _TR_TOLERANCE_S):
            reasons.append(f"TR {tr_s:g} s, trained on {self.tr_s[0]:g} to {self.tr_s[1]:g} s")
        if n_volumes and self.n_volumes and not _within(n_volumes, self.n_volumes, 0):
            reasons.append(
                f"{n_volumes} volumes, trained on {self.n_volumes[0]} to {self.n_volumes[1]}"
            )
        if mean_fd_mm is not None and self.mean_fd_mm and mean_fd_mm > self.mean_fd_mm[1]:
            reasons.append(
                f"mean FD {mean_fd_mm:.2f} mm, trained on up to {self.mean_fd_mm[1]:.2f} mm"
            )
        return reasons


def training_range(
    tr_s: Sequence[float], n_volumes: Sequence[int], mean_fd_mm: Sequence[float]
) -> TrainingRange:
    """Return the ranges over the scans of the training people."""
    return TrainingRange(
        tr_s=(min(tr_s), max(tr_s)) if tr_s else None,
        n_volumes=(min(n_volumes), max(n_volumes)) if n_volumes else None,
        mean_fd_mm=(min(mean_fd_mm), max(mean_fd_mm)) if mean_fd_mm else None,
    )

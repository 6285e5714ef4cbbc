"""A way to clean parcel series."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Regressor", "Strategy"]


@dataclass(frozen=True)
class Regressor:
    """Columns of a confounds table that a strategy takes: one of several spellings."""

    title: str
    """Plain words, ``the first five CSF components``."""
    alternatives: tuple[tuple[str, ...], ...]
    """Sets of patterns (regular expressions that must match a whole column name); the first set of
    which every pattern finds a column is taken."""
    optional: bool = False
    """A short run has no cosine columns, for one."""


@dataclass(frozen=True)
class Strategy:
    """A way to clean parcel series."""

    name: str
    """As in ``desc-``."""
    title: str
    regressors: tuple[Regressor, ...] = ()
    detrend: bool = True
    low_pass_hz: float | None = None
    high_pass_hz: float | None = None
    fd_threshold_mm: float | None = None
    std_dvars_threshold: float | None = None
    min_segment: int = 1
    """Shortest stretch of volumes that is kept between censored ones."""
    references: tuple[str, ...] = ()
    """Keys of ``references.bib``."""

    @property
    def cleans(self) -> bool:
        """Whether anything is done at all; the paper's ``none`` does nothing."""
        return bool(self.regressors) or self.detrend or self.filters or self.censors

    @property
    def filters(self) -> bool:
        """Whether frequencies are removed."""
        return self.low_pass_hz is not None or self.high_pass_hz is not None

    @property
    def censors(self) -> bool:
        """Whether volumes are left out for motion."""
        return self.fd_threshold_mm is not None or self.std_dvars_threshold is not None

    def takes(self, kind: str) -> bool:
        """Say whether columns of a kind, such as ``comp_cor``, are among the regressors."""
        return any(
            kind in pattern
            for regressor in self.regressors
            for patterns in regressor.alternatives
            for pattern in patterns
        )

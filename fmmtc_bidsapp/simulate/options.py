"""Options of a simulated study."""

from __future__ import annotations

from dataclasses import dataclass

from fmmtc_bidsapp.errors import UsageError

__all__ = ["EFFECTS", "SimulationOptions"]

EFFECTS: tuple[str, ...] = ("level", "autoregression", "amplitude", "coupling")
"""Effects of a response, in the order of every table."""

_POSITIVE = ("tr_s", "fluctuation", "voxel_noise", "mean_fd_mm")
_NOT_NEGATIVE = ("controls", "strength", "outcome_noise", "baseline", "seed")
_MIN_VOLUMES = 20
_MIN_PATIENTS = 4


@dataclass(frozen=True)
class SimulationOptions:
    """A study to simulate."""

    people: int = 24
    """Patients and controls together."""

    controls: int = 4
    """Number of controls among the people; they have no drug and no response."""

    volumes: int = 120
    """Volumes of a scan."""

    tr_s: float = 2.0
    """Repetition time in seconds."""

    effects: tuple[str, ...] = ("coupling",)
    """Effects of the response: any of level, autoregression, amplitude, coupling. Without an effect
    (none on the command line) the response is random."""

    strength: float = 1.0
    """Size of the effects. With 60 patients, 200 volumes and 10 networks the oracle of a single
    effect has an AUROC of about 0.97 at 1, 0.8 at 0.25 and 0.5 at 0."""

    outcome_noise: float = 0.0
    """SD of the part of the response that is independent of the brain, relative to an effect's SD
    of 1; lowers the oracle's AUROC but not the size of the effect."""

    planted_networks: tuple[str, ...] = ()
    """Names of the networks that carry the effects; empty takes the first three."""

    parcel_noise: float = 0.5
    """Share of a parcel's variance that is independent of its network."""

    baseline: float = 1000.0
    """Mean signal over parcels, in scanner units; 0 gives series around zero."""

    fluctuation: float = 10.0
    """SD of a parcel's signal over time, in scanner units."""

    voxel_noise: float = 10.0
    """SD of a voxel around the mean of its parcel, in scanner units."""

    mean_fd_mm: float = 0.15
    """Mean framewise displacement of a typical person, in mm; it does not affect the signal."""

    seed: int = 0
    """Seed of all random numbers."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            self._require(name, getattr(self, name) > 0, "it must be above 0")
        for name in _NOT_NEGATIVE:
            self._require(name, getattr(self, name) >= 0, "it must not be negative")
        self._require("volumes", self.volumes >= _MIN_VOLUMES, f"it must be {_MIN_VOLUMES} or more")
        self._require("parcel_noise", 0 <= self.parcel_noise < 1, "it must lie in 0 to 1")
        self._require(
            "people",
            self.people - self.controls >= _MIN_PATIENTS,
            f"at least {_MIN_PATIENTS} patients are needed besides the {self.controls} controls",
        )
        known = set(self.effects) <= set(EFFECTS) and len(set(self.effects)) == len(self.effects)
        self._require("effects", known, f"allowed, each once, are {', '.join(EFFECTS)}")

    def _require(self, name: str, condition: bool, need: str) -> None:
        if not condition:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is {getattr(self, name)}; {need}.")

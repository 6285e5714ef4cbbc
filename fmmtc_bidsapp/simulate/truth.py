"""Simulate a cohort of parcel series with a known response effect.

Every network has a latent first-order autoregressive process, and a parcel is a mixture of its
network's latent and independent noise, in scanner units. The networks form two communities, the
planted one and the rest; within a community the latents correlate through a common source. For
each planted effect a person has a z ~ N(0, 1) that shifts one parameter of the planted networks
and nothing else. A patient responds when the sum of these z lies in the upper half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.simulate.options import EFFECTS, SimulationOptions
from fmmtc_bidsapp.simulate.oracles import Oracle, judge_oracles
from fmmtc_bidsapp.simulate.streams import Stream, random_stream

__all__ = ["GroundTruth", "choose_planted", "simulate_cohort", "simulate_series"]

Floats = NDArray[np.float64]

_UNKNOWN = "n/a"
_N_PLANTED = 3
_PARCEL_LEVELS = (0.8, 1.2)
_AUTOREGRESSION = 0.5
_COUPLING = 0.4
# Shifts per unit of strength and z that put the four oracles at about the same AUROC.
_GAIN = {"level": 0.26, "autoregression": 0.27, "amplitude": 0.068, "coupling": 0.8}
_ARMS = (("1", "placebo"), ("2", "duloxetine"), ("2", "placebo"))
"""Study and drug, taken in turn; study 1 has placebo only, as in ds000208."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A simulated cohort and its ground truth."""

    options: SimulationOptions
    networks: tuple[str, ...]
    """(parcel,)"""
    planted: tuple[str, ...]
    """Networks that carry the effects."""
    series: NDArray[np.float32]
    """(person, time, parcel) in scanner units"""
    y: NDArray[np.int64]
    """(person,) 1 responder, 0 not, -1 for controls, who have no outcome."""
    latents: Mapping[str, Floats]
    """(person,) z of each planted effect"""
    covariates: Mapping[str, tuple[str, ...]]
    """(person,) columns of the participants table after ``participant_id``"""
    oracles: tuple[Oracle, ...]

    @property
    def participant_ids(self) -> tuple[str, ...]:
        """``sub-01``, ``sub-02``, … with the digits that the largest needs."""
        digits = max(2, len(str(len(self.y))))
        return tuple(f"sub-{number:0{digits}d}" for number in range(1, len(self.y) + 1))


@dataclass(frozen=True)
class _Dynamics:
    """Parameters that effects shift in the planted networks; other networks have the defaults."""

    level: float = 0.0
    autoregression: float = _AUTOREGRESSION
    amplitude: float = 1.0
    coupling: float = _COUPLING


def simulate_cohort(options: SimulationOptions, networks: Sequence[str]) -> GroundTruth:
    """Simulate all parcel series and outcomes, given the network of each parcel (parcel,)."""
    planted = choose_planted(options, networks)
    latents = {
        name: random_stream(options.seed, Stream.LATENT, EFFECTS.index(name)).standard_normal(
            options.people
        )
        for name in EFFECTS
        if name in options.effects
    }
    y = _outcome(options, latents)
    series = np.stack(
        [
            simulate_series(options, networks, {name: z[i] for name, z in latents.items()}, i)
            for i in range(options.people)
        ]
    )
    labels = np.array(networks)
    carries = np.isin(labels, planted)
    return GroundTruth(
        options=options,
        networks=tuple(networks),
        planted=planted,
        series=series,
        y=y,
        latents=latents,
        covariates=_covariates(options, y),
        oracles=judge_oracles(series[:, :, carries], labels[carries], y, tuple(latents)),
    )


def choose_planted(options: SimulationOptions, networks: Sequence[str]) -> tuple[str, ...]:
    """Return the networks that carry the effects: two or more asked for, or the first three."""
    known = [name for name in dict.fromkeys(networks) if name != _UNKNOWN]
    if len(known) < 2:
        raise InputError(f"An effect needs two networks; the atlas has {known or 'none'}.")
    planted = options.planted_networks or tuple(known[:_N_PLANTED])
    if len(set(planted)) < 2 or not set(planted) <= set(known):
        raise UsageError(
            f"--planted-networks is {' '.join(planted)}; name two or more of {', '.join(known)}."
        )
    return planted


def simulate_series(
    options: SimulationOptions, networks: Sequence[str], latents: Mapping[str, float], person: int
) -> NDArray[np.float32]:
    """Return a person's parcel series (time, parcel) in scanner units, given z by effect."""
    names, network = np.unique(np.array(networks), return_inverse=True)
    planted = np.isin(names, choose_planted(options, networks))
    dynamics = (_Dynamics(), _shifted(options.strength, latents))
    level, phi, amplitude, coupling = (
        np.array([getattr(each, name) for each in dynamics])[planted.astype(int)]
        for name in EFFECTS
    )
    rng = random_stream(options.seed, Stream.SERIES, person)
    common = _autoregressive(rng, options.volumes, [each.autoregression for each in dynamics])
    own = _autoregressive(rng, options.volumes, phi)
    noise = _autoregressive(rng, options.volumes, phi[network])
    latent = np.sqrt(coupling) * common[:, planted.astype(int)] + np.sqrt(1 - coupling) * own
    share = options.parcel_noise
    mixture = np.sqrt(1 - share) * latent[:, network] + np.sqrt(share) * noise
    fluctuation = options.fluctuation * (level[network] + amplitude[network] * mixture)
    return np.asarray(_parcel_levels(options, len(networks)) + fluctuation, dtype=np.float32)


def _shifted(strength: float, latents: Mapping[str, float]) -> _Dynamics:
    shift = {name: strength * _GAIN[name] * latents.get(name, 0.0) for name in EFFECTS}
    return _Dynamics(
        level=shift["level"],
        autoregression=float(expit(logit(_AUTOREGRESSION) + shift["autoregression"])),
        amplitude=float(np.exp(shift["amplitude"])),
        coupling=float(expit(logit(_COUPLING) + shift["coupling"])),
    )


def _autoregressive(
    rng: np.random.Generator, volumes: int, phi: Sequence[float] | Floats
) -> Floats:
    """Draw stationary processes of unit variance, (time, process)."""
    lag_1 = np.asarray(phi)
    process = rng.standard_normal((volumes, len(lag_1)))
    process[1:] *= np.sqrt(1 - lag_1**2)
    for t in range(1, volumes):
        process[t] += lag_1 * process[t - 1]
    return process


def _parcel_levels(options: SimulationOptions, n_parcels: int) -> Floats:
    # The same for everyone: without an effect, a person's level carries no information.
    rng = random_stream(options.seed, Stream.PARCELS)
    return options.baseline * rng.uniform(*_PARCEL_LEVELS, n_parcels)


def _outcome(options: SimulationOptions, latents: Mapping[str, Floats]) -> NDArray[np.int64]:
    chance = random_stream(options.seed, Stream.OUTCOME).standard_normal(options.people)
    if latents:
        score = np.sum(list(latents.values()), axis=0) + options.outcome_noise * chance
    else:
        score = chance
    y = np.full(options.people, -1)
    ranked = options.controls + np.argsort(score[options.controls :])
    n_negative = len(ranked) // 2
    y[ranked[:n_negative]] = 0
    y[ranked[n_negative:]] = 1
    return y


def _covariates(options: SimulationOptions, y: NDArray[np.int64]) -> dict[str, tuple[str, ...]]:
    rng = random_stream(options.seed, Stream.COVARIATES)
    study, drug = [_UNKNOWN] * len(y), [_UNKNOWN] * len(y)
    for outcome in (0, 1):
        # Arms are assigned within an outcome, so that arm and response are independent.
        for turn, person in enumerate(rng.permutation(np.flatnonzero(y == outcome))):
            study[person], drug[person] = _ARMS[turn % len(_ARMS)]
    age = rng.normal(57, 7, len(y)).clip(40, 75).round().astype(int)
    return {
        "type": tuple("control" if each < 0 else "patient" for each in y),
        "study": tuple(study),
        "gender": tuple(rng.choice(["female", "male"], len(y)).tolist()),
        "Age": tuple(str(each) for each in age),
        "Drug": tuple(drug),
        "Response": tuple(_UNKNOWN if each < 0 else str(each) for each in y),
    }

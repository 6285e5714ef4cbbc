"""The table of cleaning strategies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.options import DenoiseOptions
from fmmtc_bidsapp.records import Regressor, Strategy
from fmmtc_bidsapp.signals.denoising.confounds import MOTION

__all__ = ["STRATEGIES_TABLE", "choose_strategy"]

_FULL = ("", "_derivative1", "_power2", "_derivative1_power2")


def _columns(title: str, bases: tuple[str, ...], suffixes: tuple[str, ...] = ("",)) -> Regressor:
    patterns = tuple(f"{base}{suffix}" for base in bases for suffix in suffixes)
    return Regressor(title, (patterns,))


_MOTION_24 = _columns("24 motion parameters", MOTION, _FULL)
_MOTION_12 = _columns("12 motion parameters", MOTION, ("", "_derivative1"))
_TISSUE = ("white_matter", "csf")
_MEANS = _columns("white matter and CSF signals", _TISSUE)
_MEANS_8 = _columns("white matter and CSF signals, their derivatives and squares", _TISSUE, _FULL)
_GLOBAL = _columns("global signal", ("global_signal",))
_GLOBAL_4 = _columns("global signal, its derivative and squares", ("global_signal",), _FULL)
_COSINES = Regressor("cosine columns", ((r"cosine\d+",),), optional=True)
_COMPONENTS = Regressor(
    "five CSF and five white matter components",
    (
        ("c_comp_cor_0[0-4]", "w_comp_cor_0[0-4]"),
        # Before 1.4 there were six, of both tissues together; no sidecar says so.
        ("a_comp_cor_0[0-5]",),
    ),
)
_AROMA = Regressor(
    "ICA-AROMA's motion components",
    # What motion components share with the others is spared, as XCP-D does: regressing the whole
    # components is AROMA's aggressive variant. fMRIPrep up to 23.0 wrote those only.
    ((r"aroma_orth_motion_\d+",), (r"aroma_motion_\d+",)),
)

_TABLE = (
    Strategy(name="none", title="uncleaned, as in the paper", detrend=False),
    Strategy(
        name="simple",
        title="24 motion parameters, white matter, CSF and cosines",
        regressors=(_MOTION_24, _MEANS, _COSINES),
        references=("fox2005", "friston1996"),
    ),
    Strategy(
        name="simpleGSR",
        title="24 motion parameters, white matter, CSF, global signal and cosines",
        regressors=(_MOTION_24, _MEANS, _GLOBAL, _COSINES),
        references=("fox2005", "friston1996"),
    ),
    Strategy(
        name="p36",
        title="36 parameters and a band-pass filter",
        regressors=(_MOTION_24, _MEANS_8, _GLOBAL_4),
        low_pass_hz=0.08,
        high_pass_hz=0.01,
        references=("satterthwaite2013", "ciric2017", "lindquist2019"),
    ),
    Strategy(
        name="acompcor",
        # Twelve, as in Ciric et al. (2017) and in XCP-D's strategy of this name.
        title="12 motion parameters, components of white matter and CSF, and cosines",
        regressors=(_MOTION_12, _COMPONENTS, _COSINES),
        references=("behzadi2007", "muschelli2014", "ciric2017"),
    ),
    Strategy(
        name="scrubbing",
        title="24 motion parameters, expanded white matter and CSF, cosines and censoring",
        regressors=(_MOTION_24, _MEANS_8, _COSINES),
        fd_threshold_mm=0.5,
        std_dvars_threshold=1.5,
        min_segment=5,
        references=("power2014", "satterthwaite2013"),
    ),
    Strategy(
        name="aroma",
        title="ICA-AROMA's motion components, white matter, CSF and cosines",
        regressors=(_MEANS, _AROMA, _COSINES),
        references=("pruim2015",),
    ),
)

STRATEGIES_TABLE: Mapping[str, Strategy] = MappingProxyType({each.name: each for each in _TABLE})
"""The strategies this program brings, by the name of the option."""


def choose_strategy(base: Strategy, options: DenoiseOptions) -> Strategy:
    """Return a strategy with a user's thresholds and frequencies.

    None keeps the strategy's value, 0 disables it. UsageError if the band is empty.
    """
    chosen = replace(
        base,
        low_pass_hz=_either(options.low_pass, base.low_pass_hz),
        high_pass_hz=_either(options.high_pass, base.high_pass_hz),
        fd_threshold_mm=_either(options.fd_threshold, base.fd_threshold_mm),
        std_dvars_threshold=_either(options.dvars_threshold, base.std_dvars_threshold),
    )
    low, high = chosen.low_pass_hz, chosen.high_pass_hz
    if low is not None and high is not None and low <= high:
        raise UsageError(
            f"The strategy {base.name} has a high-pass of {high:g} Hz, which must be below the "
            f"low-pass of {low:g} Hz. Give both --low-pass and --high-pass, or 0 for one."
        )
    return chosen


def _either(given: float | None, own: float | None) -> float | None:
    return own if given is None else given or None

"""Describe the processing of runs, from their sidecars."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from fmmtc_bidsapp.bidsio.files.names import UNCLEANED, RunFiles, atlas_description
from fmmtc_bidsapp.bidsio.tables.read_series import read_parcel_names
from fmmtc_bidsapp.reports.data.bibliography import code, escaped, references
from fmmtc_bidsapp.reports.data.outputs import Combined, read_json, read_table

__all__ = [
    "REGRESSOR_KEYS",
    "averaged_as_z",
    "cleanings",
    "matrices",
    "parcellations",
    "regressors_in_words",
]


class _Family(NamedTuple):
    """Regressors that one phrase stands for."""

    columns: str
    """Regular expression of a whole column name."""
    one: str
    several: str
    key: str | None = None
    """Its source in ``references.bib``."""


_EXPANDED = "(_derivative1)?(_power2)?"
_FAMILIES = (
    _Family(f"(trans|rot)_[xyz]{_EXPANDED}", "motion parameter", "motion parameters"),
    _Family(f"white_matter{_EXPANDED}", "mean white matter signal",
            "white matter signals (the mean, its derivative and their squares)"),
    _Family(f"csf{_EXPANDED}", "mean CSF signal",
            "CSF signals (the mean, its derivative and their squares)"),
    _Family(f"global_signal{_EXPANDED}", "global signal",
            "global signals (the mean, its derivative and their squares)"),
    _Family(r"[acw]_comp_cor_\d+", "aCompCor component", "aCompCor components", "behzadi2007"),
    _Family(r"t_comp_cor_\d+", "tCompCor component", "tCompCor components", "behzadi2007"),
    _Family(r"aroma(_orth)?_motion_\d+", "ICA-AROMA motion component",
            "ICA-AROMA motion components", "pruim2015"),
    _Family(r"cosine_?\d+", "cosine of slow drift", "cosines of slow drift"),
    _Family(r"(non_steady_state|motion)_outlier_?\d+", "single-volume regressor",
            "single-volume regressors"),
)  # fmt: skip

REGRESSOR_KEYS = frozenset(family.key for family in _FAMILIES if family.key)
"""References that words about regressors may cite."""


def regressors_in_words(columns_of_runs: Sequence[Sequence[str]]) -> str:
    """Summarise regressors: ``24 motion parameters, the mean CSF signal and 5 cosines``."""
    phrases = []
    for family in _FAMILIES:
        counts = [sum(_is_of(family, name) for name in names) for names in columns_of_runs]
        if any(counts):
            always_one = set(counts) == {1}
            words = f"the {family.one}" if always_one else f"{_range(counts)} {family.several}"
            cited = f" [@{family.key}]" if family.key else ""
            phrases.append(words + cited)
    every = dict.fromkeys(name for names in columns_of_runs for name in names)
    others = [name for name in every if not any(_is_of(family, name) for family in _FAMILIES)]
    if others:
        phrases.append(f"the columns {', '.join(map(code, others))}")
    return _joined(phrases)


def _is_of(family: _Family, name: str) -> bool:
    return re.fullmatch(family.columns, name) is not None


def parcellations(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Describe how runs were reduced to parcels, per atlas, space and transform.

    User text is escaped for Markdown.
    """
    # Several cleanings of a run share its parcels.
    parcels = {run.uncleaned: run for run in runs}.values()
    sidecars = [
        {
            "label": run.atlas,
            "title": escaped(
                read_json(atlas_description(run.output_dir, run.atlas)).get("Name", run.atlas)
            ),
            "n_parcels": len(read_parcel_names(run.uncleaned)),
            "space": run.space,
            "grayordinates": run.den,
            **_carried(read_json(run.timeseries.with_suffix(".json"))),
        }
        for run in parcels
    ]
    counts: dict[str, dict[str, Any]] = {}
    for entry in sidecars:
        counts.setdefault(repr(entry), entry | {"n_runs": 0})["n_runs"] += 1
    return list(counts.values())


def _carried(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    transform = sidecar.get("AtlasTransform", "n/a")
    return {
        "atlas_space": escaped(sidecar.get("AtlasSpace") or "") or None,
        "transform": None if transform == "n/a" else code(transform),
        "resampled": sidecar.get("AtlasResampling", "none") not in ("none", "n/a"),
        "to_atlas": sidecar.get("ResamplingTarget") == "atlas",
        "min_coverage": sidecar.get("MinimumCoverage"),
    }


def cleanings(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Describe how runs were cleaned, one entry per ``desc-``; ``title`` is None if they were not.

    User text is escaped for Markdown.
    """
    by_desc: dict[str, list[RunFiles]] = {}
    for run in runs:
        by_desc.setdefault(run.desc, []).append(run)
    return [_cleaning(desc, members) for desc, members in sorted(by_desc.items())]


def _cleaning(desc: str, runs: Sequence[RunFiles]) -> dict[str, Any]:
    sidecars = [read_json(run.timeseries.with_suffix(".json")) for run in runs]
    quality = pd.concat([read_table(run.qc) for run in runs])
    filters = [_mapping(each.get("SoftwareFilters")) for each in sidecars]
    return {
        "name": desc,
        "title": None
        if sidecars[0].get("CleaningStrategy") == UNCLEANED
        else escaped(sidecars[0].get("CleaningTitle") or "") or None,
        "keys": [key for key in sidecars[0].get("CleaningReferences", []) if key in references()],
        "dropped": any(each.get("NumberOfDummyVolumes", 0) for each in sidecars),
        # Thresholds are the configuration's, so all runs of a desc- share them.
        "fd_threshold_mm": _number(sidecars[0].get("FramewiseDisplacementThreshold")),
        "std_dvars_threshold": _number(sidecars[0].get("StandardisedDVARSThreshold")),
        "censored": _share_censored(sidecars),
        "unknown": any(each.get("NumberOfVolumesOfUnknownMotion", 0) for each in sidecars),
        "interpolated": any(each.get("Interpolated") is True for each in sidecars),
        "detrended": any("Detrend" in each for each in filters),
        # A low-pass beyond a run's Nyquist frequency is not applied to that run.
        "band": " or ".join(
            sorted({_band(_mapping(each.get("Bandpass"))) for each in filters} - {""})
        ),
        "regressors": regressors_in_words(
            [each.get("ConfoundRegressors", []) for each in sidecars]
        ),
        "signals": ", ".join(
            dict.fromkeys(code(name) for each in sidecars for name in each.get("SignalColumns", []))
        ),
        "dof": _range(quality["dof"].dropna().astype(int)) if "dof" in quality else "",
    }


def _share_censored(sidecars: Iterable[Mapping[str, Any]]) -> str:
    shares = [
        100 * each.get("NumberOfCensoredVolumes", 0) / each["NumberOfVolumes"]
        for each in sidecars
        if each.get("NumberOfVolumes")
    ]
    return f"{pd.Series(shares).median():.0f}" if shares else "n/a"


def _band(bandpass: Mapping[str, Any]) -> str:
    """``0.01 to 0.08 Hz``; empty where no frequency was removed."""
    low, high = (_number(bandpass.get(end)) for end in ("LowCutoffHz", "HighCutoffHz"))
    if low is not None and high is not None:
        return f"{low:g} to {high:g} Hz were kept"
    if low is not None:
        return f"those above {low:g} Hz were kept"
    return "" if high is None else f"those below {high:g} Hz were kept"


def averaged_as_z(measure: str) -> bool:
    """Whether matrices of a measure are averaged as Fisher's z, which is for coefficients only."""
    return measure in ("correlation", "partial-correlation")


def matrices(runs: Sequence[RunFiles], combined: Sequence[Combined] = ()) -> list[dict[str, Any]]:
    """Describe the connectivity measures, and how many runs of a task were combined."""
    alone = [run for run in runs if run.relmat.exists()]
    ways = dict.fromkeys((run.measure, _is_z(run)) for run in alone)
    return [_matrices(*way, alone, combined) for way in ways]


def _matrices(
    measure: str, fisher_z: bool, runs: Sequence[RunFiles], combined: Sequence[Combined]
) -> dict[str, Any]:
    way = measure, fisher_z
    together = [each for each in combined if (each.files.measure, _is_z(each.files)) == way]
    return {
        "measure": measure,
        "fisher_z": fisher_z,
        "averaged_as_z": averaged_as_z(measure),
        "cleanings": sorted({run.desc for run in runs if (run.measure, _is_z(run)) == way}),
        "combined_cleanings": sorted({each.files.desc for each in together}),
        "n_combined": _range(len(each.runs) for each in together),
    }


def _is_z(files: RunFiles) -> bool:
    return read_json(files.relmat.with_suffix(".json")).get("FisherZ") is True


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _range(counts: Iterable[int]) -> str:
    ends = sorted(set(counts))
    if not ends:
        return ""
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"


def _joined(phrases: Sequence[str]) -> str:
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"

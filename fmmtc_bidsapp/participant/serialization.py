"""What travels between the nodes of a run, as files and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.engine import load_arrays, save_arrays
from fmmtc_bidsapp.records import CleanedSeries, Regressor, Strategy
from fmmtc_bidsapp.signals.parcellation.means import ParcelMeans

__all__ = [
    "describe_files",
    "describe_strategy",
    "load_cleaned",
    "load_means",
    "read_files",
    "read_strategy_text",
    "save_cleaned",
    "save_means",
    "stamp",
]

_DESIGN = "design "
_PLAIN = ("dof", "notes", "low_pass_hz", "high_pass_hz", "signal_columns")
"""Fields of a cleaned series that are no arrays."""


def stamp(path: Path | None) -> str:
    """Tell one state of an input from another by its size and date.

    nipype would read a whole image several times to hash its content.
    """
    if path is None:
        return ""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def describe_files(files: RunFiles) -> str:
    """Write the names of a run's files as JSON, which `read_files` takes back."""
    return json.dumps(asdict(files) | {"output_dir": str(files.output_dir)})


def read_files(text: str) -> RunFiles:
    """Read what `describe_files` wrote."""
    values = json.loads(text)
    return RunFiles(**values | {"output_dir": Path(values["output_dir"])})


def describe_strategy(strategy: Strategy) -> str:
    """Write a strategy as JSON, which `read_strategy_text` takes back."""
    return json.dumps(asdict(strategy), sort_keys=True)


def read_strategy_text(text: str) -> Strategy:
    """Read what `describe_strategy` wrote."""
    values = json.loads(text)
    regressors = tuple(
        Regressor(
            title=each["title"],
            alternatives=tuple(tuple(patterns) for patterns in each["alternatives"]),
            optional=each["optional"],
        )
        for each in values["regressors"]
    )
    references = tuple(values["references"])
    return Strategy(**values | {"regressors": regressors, "references": references})


def save_means(path: Path, means: ParcelMeans, about: Mapping[str, Any]) -> str:
    """Write parcel means and what else is known of how they were made."""
    values = {name: value for name, value in vars(means).items() if value is not None}
    return save_arrays(path, values, about)


def load_means(path: str | Path) -> tuple[ParcelMeans, dict[str, Any]]:
    """Read what `save_means` wrote."""
    arrays, about = load_arrays(path)
    values: dict[str, Any] = {
        name: array if array.ndim else array.item() for name, array in arrays.items()
    }
    return ParcelMeans(**{"tr_header_s": None} | values), about


def save_cleaned(path: Path, cleaned: CleanedSeries) -> str:
    """Write a cleaned series and everything that was done to it."""
    arrays = {
        "signal": cleaned.signal,
        "dummy": cleaned.dummy,
        "censored": cleaned.censored,
        "unknown": cleaned.unknown,
        **{_DESIGN + name: values for name, values in cleaned.design.items()},
    }
    known = {"fd_mm": cleaned.fd_mm, "std_dvars": cleaned.std_dvars}
    arrays |= {name: values for name, values in known.items() if values is not None}
    about = {name: getattr(cleaned, name) for name in _PLAIN}
    return save_arrays(path, arrays, about)


def load_cleaned(path: str | Path) -> CleanedSeries:
    """Read what `save_cleaned` wrote."""
    arrays, about = load_arrays(path)
    return CleanedSeries(
        signal=arrays["signal"],
        fd_mm=arrays.get("fd_mm"),
        std_dvars=arrays.get("std_dvars"),
        dummy=arrays["dummy"],
        censored=arrays["censored"],
        unknown=arrays["unknown"],
        design={
            name.removeprefix(_DESIGN): values
            for name, values in arrays.items()
            if name.startswith(_DESIGN)
        },
        **about
        | {"notes": tuple(about["notes"]), "signal_columns": tuple(about["signal_columns"])},
    )

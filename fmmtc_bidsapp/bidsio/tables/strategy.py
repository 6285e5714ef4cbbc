"""Read a user's cleaning strategy from YAML in XCP-D's format."""

from __future__ import annotations

import importlib.resources
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.plain_yaml import read_plain_yaml
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.extensions import STRATEGIES as EXTENSIONS
from fmmtc_bidsapp.extensions import Extension, Registry
from fmmtc_bidsapp.options import STRATEGIES
from fmmtc_bidsapp.records import Regressor, Strategy

__all__ = ["read_strategy"]

_SUFFIXES = (".yml", ".yaml")

_REGISTERED = Registry(EXTENSIONS, dict.fromkeys(STRATEGIES, ""), str)
"""Names of this program's strategies and of other packages'."""

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "low_pass": "low_pass_hz",
        "high_pass": "high_pass_hz",
        "fd_threshold": "fd_threshold_mm",
        "dvars_threshold": "std_dvars_threshold",
    }
)
"""Our keys beside XCP-D's, named like the flags, and the fields they fill."""

_KEYS = ("name", "description", "confounds", "detrend", *_SETTINGS)
_ENTRY_KEYS = ("name", "dataset", "query", "columns")
_DATASETS = ("preprocessed", "aroma", "fmriprep", "fmripost-aroma")
"""The last two are what XCP-D called them for a while."""

_NAMES_OF_XCPD: Mapping[str, str] = MappingProxyType(
    {
        "36P": "p36 here",
        "24P": "nothing of the same here; simple adds white matter, CSF and cosines",
        "27P": "nothing of the same here; simpleGSR adds cosines",
        "acompcor_gsr": "nothing of the same here; acompcor lacks the means of tissues and brain",
        "aroma_gsr": "nothing of the same here; aroma lacks the global signal",
        "gsr_only": "nothing of the same here",
    }
)
"""Names that XCP-D's ``--nuisance-regressors`` has and we lack, and what comes nearest."""
_ALIKE = ("acompcor", "aroma")
"""Names of both programs; ``desc-`` of XCP-D's file ends in XCPD."""

# Allowed values of a query: the run's confounds table or AROMA's.
_MET: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "extension": (".tsv", "tsv"),
        "suffix": ("timeseries", "regressors"),
        "desc": ("confounds", "aroma"),
        "description": ("confounds", "aroma"),
        "datatype": ("func",),
    }
)

_COSINES = "cosine"
_PER_RUN = ("motion_outlier", "non_steady_state_outlier")
"""Columns that a good run does not have."""


def read_strategy(text: str) -> Strategy | None:
    """Read the strategy of ``--denoise-strategy``: a path, or a name of another package.

    None for this program's own. The file (``.yml``, ``.yaml``) has XCP-D's keys ``name``,
    ``description`` and ``confounds`` (a column between ``^`` and ``$`` is a regular expression),
    and may have ``low_pass``, ``high_pass`` (Hz), ``fd_threshold`` (mm), ``dvars_threshold`` and
    ``detrend``. UsageError if there is no such name or file, or the file cannot be applied.
    """
    if text in STRATEGIES:
        return None
    path = Path(text)
    registered = _REGISTERED.extension(text)
    if registered is not None:
        return _of_package(registered)
    if text in _NAMES_OF_XCPD:
        raise UsageError(
            f"--denoise-strategy {text!r} is a name of XCP-D: {_NAMES_OF_XCPD[text]}. Use one of "
            f"{', '.join(STRATEGIES)}, or the path of XCP-D's {text}.yml."
        )
    if path.suffix not in _SUFFIXES:
        raise UsageError(
            f"--denoise-strategy is {text!r}; it must be one of {', '.join(_REGISTERED)}, or the "
            "path of a .yml file."
        )
    try:
        return _strategy(_read(path))
    except UsageError as error:
        raise UsageError(f"--denoise-strategy {path}: {error}") from error


def _of_package(extension: Extension) -> Strategy:
    """Read the file ``NAME.yml`` of the package that an entry point names."""
    with importlib.resources.as_file(extension.file(f"{extension.name}.yml")) as path:
        try:
            strategy = _strategy(_read(path))
        except UsageError as error:
            raise UsageError(f"{extension.title}: {error}") from error
    if strategy.name != extension.name:
        raise UsageError(
            f"{extension.title}: the file names the strategy {strategy.name!r}; it must have the "
            "name of the entry point, in letters and digits."
        )
    source = f"{extension.distribution} {extension.version}"
    return replace(strategy, title=f"{strategy.title} (of {source})")


def _read(path: Path) -> dict[str, Any]:
    problem = content_problem(path)
    if problem is not None:
        raise UsageError(problem)
    try:
        content = read_plain_yaml(path)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"it is not valid YAML ({error}). Correct it.") from error
    return _mapping("the file", content, _KEYS)


def _mapping(what: str, content: Any, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UsageError(f"{what} is {content!r}; it must have keys and values.")
    unknown = sorted(str(key) for key in content if keys is not None and key not in keys)
    if unknown:
        raise UsageError(
            f"{what} has the unknown key {', '.join(unknown)}; those allowed are "
            f"{', '.join(keys or ())}."
        )
    return {str(key): value for key, value in content.items()}


def _strategy(content: Mapping[str, Any]) -> Strategy:
    name = _label(content.get("name"))
    detrend = content.get("detrend", True)
    if not isinstance(detrend, bool):
        raise UsageError(f"detrend is {detrend!r}; it must be true or false.")
    settings = {field: _number(key, content.get(key)) for key, field in _SETTINGS.items()}
    low, high = settings["low_pass_hz"], settings["high_pass_hz"]
    if low is not None and high is not None and low <= high:
        raise UsageError(f"high_pass {high:g} Hz must be below low_pass {low:g} Hz.")
    strategy = Strategy(
        name=name,
        title=" ".join(str(content.get("description") or name).split()),
        regressors=_regressors(content.get("confounds")),
        detrend=detrend,
        low_pass_hz=low,
        high_pass_hz=high,
        fd_threshold_mm=settings["fd_threshold_mm"],
        std_dvars_threshold=settings["std_dvars_threshold"],
    )
    if not strategy.cleans:
        raise UsageError("it cleans nothing. For no cleaning use --denoise-strategy none.")
    return strategy


def _label(name: Any) -> str:
    """Return a strategy's name for file names: ``acompcor_gsr`` becomes acompcorGsr."""
    if not isinstance(name, str) or not re.fullmatch("[0-9A-Za-z]+([-_+ ][0-9A-Za-z]+)*", name):
        raise UsageError(
            f"name is {name!r}; it is part of file names: use letters and digits only."
        )
    if name in _ALIKE:
        return f"{name}XCPD"
    first, *others = re.split("[-_+ ]", name)
    label = first + "".join(each[0].upper() + each[1:] for each in others)
    if label.casefold() in {each.casefold() for each in STRATEGIES}:
        raise UsageError(
            f"name is {name}, which is a strategy of this program. Choose another name, so that "
            "their files differ."
        )
    return label


def _number(key: str, value: Any) -> float | None:
    """Return a setting; 0 disables it, as on the command line."""
    if value is None:
        return None
    wrong = isinstance(value, bool) or not isinstance(value, int | float)
    if wrong or not 0 <= value <= sys.float_info.max:
        raise UsageError(f"{key} is {value!r}; it must be a number, 0 or more.")
    return float(value) or None


def _regressors(confounds: Any) -> tuple[Regressor, ...]:
    if confounds is None:
        return ()
    found: list[Regressor] = []
    for name, entry in _entries(confounds).items():
        entry = _mapping(name, entry, _ENTRY_KEYS)
        _check_source(name, entry)
        columns = entry.get("columns")
        if not isinstance(columns, list) or not columns:
            raise UsageError(f"{name}: columns is {columns!r}; it must be a list of columns.")
        found += [_regressor(name, column) for column in columns]
    return tuple(found)


def _entries(confounds: Any) -> dict[str, Any]:
    """Return the entries of ``confounds`` by name; some versions of XCP-D write a list."""
    if not isinstance(confounds, list):
        return _mapping("confounds", confounds)
    numbered = enumerate(confounds, start=1)
    return {f"entry {n} of confounds": entry for n, entry in numbered}


def _check_source(name: str, entry: Mapping[str, Any]) -> None:
    query = _mapping(f"{name}: query", entry.get("query") or {})
    extension = query.get("extension")
    if "columns" not in entry or (extension or ".tsv") not in _MET["extension"]:
        raise UsageError(
            f"{name} asks for images (extension {extension}, columns {entry.get('columns')}). "
            "Voxelwise regressors are not possible, as parcel series are cleaned, not voxels. "
            "Remove this entry."
        )
    dataset = entry.get("dataset", _DATASETS[0])
    if dataset not in _DATASETS:
        raise UsageError(
            f"{name}: dataset is {dataset!r}; it must be preprocessed (fMRIPrep's own confounds "
            "table) or aroma (that of --derivatives aroma=DIR)."
        )
    for key, met in _MET.items():
        wanted = query.get(key)
        if wanted is not None and wanted not in met:
            raise UsageError(
                f"{name}: query has {key} {wanted!r}; only the run's confounds table and AROMA's "
                f"are available ({key} {' or '.join(met)})."
            )


def _regressor(name: str, column: Any) -> Regressor:
    if not isinstance(column, str) or not column:
        raise UsageError(f"{name}: the column {column!r} is not text. Give the name of a column.")
    pattern = re.escape(column)
    if column.startswith("^") and column.endswith("$"):
        pattern = column[1:-1]
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(
                f"{name}: {column} is not a valid regular expression ({error})."
            ) from error
    if column.lstrip("^").startswith(_COSINES):
        # Short runs have none; XCP-D's files have cosine_00, fMRIPrep cosine00.
        return Regressor("cosine columns", ((r"cosine\d+",),), optional=True)
    optional = column.lstrip("^").startswith(_PER_RUN)
    return Regressor(f"{column} ({name})", ((pattern,),), optional)

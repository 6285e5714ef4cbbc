"""Provenance of a dataset, from its description or a sidecar; unknown if not stated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.files.names import dataset_description
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Origin

__all__ = [
    "NOT_STATED",
    "SIMULATOR",
    "join_origins",
    "makers_of",
    "origin_keys",
    "origin_of",
    "read_origin",
]

SIMULATOR = "fmmtc-tools simulate"
"""``Name`` in ``GeneratedBy`` of what this program simulates."""

NOT_STATED = "not stated"
_PROGRAM = "fmmtc_bidsapp"
_DATASET, _MADE_BY, _SIMULATED = "InputDataset", "InputGeneratedBy", "Simulated"
_SIMULATED_VERSION = "simulated"
"""``Version`` that simulations of 0.1.0 gave to an fMRIPrep that never ran."""


def read_origin(root: Path, bids_dir: Path | None = None) -> Origin:
    """Read the provenance of a derivative dataset, its name from the raw dataset ``bids_dir``.

    A damaged or absent description gives no programs. Derivatives of simulated data are simulated.
    """
    own = _description(root)
    raw = {} if bids_dir is None or bids_dir == root else _description(bids_dir)
    named = makers_of(own)
    simulated = any(_is_simulated(each) for each in (*named, *makers_of(raw)))
    return Origin(
        dataset=_text(raw.get("Name")) or _text(own.get("Name")),
        made_by=_spelled(named),
        simulated=simulated or own.get(_SIMULATED) is True or raw.get(_SIMULATED) is True,
    )


def makers_of(description: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the programs that a dataset's description names, each with its ``Name``."""
    made_by = description.get("GeneratedBy")
    # fMRIPrep before 20.2 wrote PipelineDescription.
    found = [
        *(made_by if isinstance(made_by, list) else []),
        description.get("PipelineDescription"),
    ]
    return [each for each in found if isinstance(each, dict) and _text(each.get("Name"))]


def origin_keys(origin: Origin) -> dict[str, Any]:
    """Return the sidecar keys that state a provenance."""
    simulated = {_SIMULATED: True} if origin.simulated else {}
    return {
        _DATASET: origin.dataset or "n/a",
        _MADE_BY: list(origin.made_by),
        **simulated,
    }


def origin_of(sidecar: Mapping[str, Any]) -> Origin | None:
    """Read the provenance from one of our sidecars; None if it has none."""
    if _MADE_BY not in sidecar and _SIMULATED not in sidecar:
        return None
    dataset, made_by = _text(sidecar.get(_DATASET)), sidecar.get(_MADE_BY)
    return Origin(
        dataset=None if dataset == "n/a" else dataset,
        made_by=tuple(map(str, made_by)) if isinstance(made_by, list) else (),
        simulated=sidecar.get(_SIMULATED) is True,
    )


def join_origins(origins: Iterable[Origin | None]) -> Origin:
    """Combine the provenance of several files; unknown programs are listed as not stated."""
    found = [Origin() if each is None else each for each in origins]
    named = dict.fromkeys(name for each in found for name in each.made_by or (NOT_STATED,))
    datasets = dict.fromkeys(each.dataset for each in found if each.dataset)
    return Origin(
        dataset="; ".join(datasets) or None,
        made_by=() if set(named) <= {NOT_STATED} else tuple(named),
        simulated=any(each.simulated for each in found),
    )


def _description(root: Path) -> dict[str, Any]:
    try:
        return read_json(dataset_description(root))
    except InputError:
        # Without a readable description the programs are unknown.
        return {}


def _is_simulated(maker: Mapping[str, Any]) -> bool:
    return maker["Name"] == SIMULATOR or _text(maker.get("Version")) == _SIMULATED_VERSION


def _spelled(makers: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return names and versions of programs, without ours and without simulated fMRIPrep."""
    named = [
        SIMULATOR
        if _text(each.get("Version")) == _SIMULATED_VERSION
        else " ".join(filter(None, (_text(each["Name"]), _text(each.get("Version")))))
        for each in makers
        if each["Name"] != _PROGRAM
    ]
    return tuple(dict.fromkeys(named))


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None

"""The section of a group report on what the models go by, from the written tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.reports import group_networks as networks
from fmmtc_bidsapp.reports.explanation_tables import (
    edge_rows,
    group_rows,
    parcel_rows,
    share_sentences,
    z_sentences,
)
from fmmtc_bidsapp.reports.explanation_trust import trust_rows
from fmmtc_bidsapp.reports.figures import inline_svg
from fmmtc_bidsapp.reports.group_maps import NO_EVIDENCE, Glass, glass_figure
from fmmtc_bidsapp.reports.group_places import Places, drawing_places, paint
from fmmtc_bidsapp.reports.group_slices import Slices, slices_figure
from fmmtc_bidsapp.reports.written import read_json, read_table

__all__ = ["explanation_section"]

_MAIN_MODEL, _MAIN_NAME = "fmmtc", "FMM_TC"
_ROLLOUT = "rollout"
_SOURCES = ("series", "connectivity")
_SOURCE_TITLES = {"series": "time series", "connectivity": "connectivity", _ROLLOUT: "attention"}
_HAUFE = "Haufe pattern"
_NOT_TESTED = "not tested"
_BROAD = ("network", "hemisphere", "subnetwork")


@dataclass(frozen=True, eq=False)
class _Explained:
    """The written tables of one label, as far as they explain."""

    rows: pd.DataFrame
    shares: pd.DataFrame
    told: Mapping[str, Any]
    """Sidecar of the maps."""
    names: Mapping[str, str]
    """Readable names of the models, the main one first."""
    main: str
    positive: str
    places: Places | None

    @property
    def mark(self) -> str:
        """Watermark of every figure."""
        return "" if self.told.get("Supported", True) else NO_EVIDENCE

    @property
    def maps(self) -> list[tuple[str, str]]:
        """Model and source of each map of parcels, the main model first, without rollout."""
        there = self.of("parcel")
        pairs = set(zip(there["model"], there["source"], strict=True))
        return [(m, s) for m in self.names for s in _SOURCES if (m, s) in pairs]

    def of(self, level: str, model: str | None = None, source: str | None = None) -> pd.DataFrame:
        """Take the rows of a level; of one model and source where they are named."""
        kept = self.rows[self.rows["level"] == level]
        if model is not None:
            kept = kept[kept["model"] == model]
        return kept if source is None else kept[kept["source"] == source]

    def title(self, model: str, source: str) -> str:
        """Name a map."""
        name, stream = self.names[model], _SOURCE_TITLES[source]
        if self.told_of(model).get("Method") != _HAUFE:
            return f"{name}: {stream}"
        return f"{name}: Haufe pattern" if source == _SOURCES[1] else f"{name}: Haufe, {stream}"

    def told_of(self, model: str) -> Mapping[str, Any]:
        """Take what the sidecar says of one model."""
        told: Mapping[str, Any] = self.told.get("Models", {}).get(model, {})
        return told


def explanation_section(files: GroupFiles) -> dict[str, Any]:
    """Make everything that the section on explanations shows.

    Parameters
    ----------
    files
        Names of the group's files.

    Returns
    -------
    dict
        For the macro ``explanation`` of ``explanation.html.jinja``; empty where nothing was
        explained. Where it is held back, ``held_back`` says why and nothing else is in it.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    sidecar = files.attributions.with_suffix(".json")
    told = read_json(sidecar) or read_json(files.modality.with_suffix(".json"))
    if not told:
        return {}
    found = _read(files, told)
    if told.get("HeldBack"):
        reason, flag_helps = _held_back(str(told["HeldBack"]), found.names[found.main])
        return {"held_back": reason, "flag_helps": flag_helps}
    return {
        "held_back": "",
        "notes": _notes(found),
        "unsupported": bool(found.mark),
        **_shares(found),
        **_parcels(found, files),
        **_groups(found),
        **_edges(found),
        **_rollout(found),
        "trust": trust_rows({m: found.told_of(m) for m in found.names}, found.names),
    }


def _read(files: GroupFiles, told: Mapping[str, Any]) -> _Explained:
    about = read_json(files.metrics.with_suffix(".json"))
    main = str(about.get("MainModel", _MAIN_MODEL))
    names: dict[str, str] = dict(about.get("ModelNames", {}))
    rows, shares = read_table(files.attributions), read_table(files.modality)
    columns = ["model", "source", "level"]
    rows = rows if len(rows) else pd.DataFrame(columns=columns)
    shares = shares if len(shares) else pd.DataFrame(columns=["model", "modality"])
    present = dict.fromkeys([main, *rows["model"], *shares["model"], *told.get("Models", {})])
    target, value = about.get("Target"), about.get("PositiveValue")
    return _Explained(
        rows,
        shares,
        told,
        {model: names.get(model, _MAIN_NAME if model == main else model) for model in present},
        main,
        "the positive outcome" if target is None else f"{target} = {value}",
        drawing_places(files.output_dir, str(about.get("Atlas", ""))),
    )


def _held_back(reason: str, model: str) -> tuple[str, bool]:
    """Say in a sentence why there is nothing, and whether the flag would show it."""
    verdicts = {
        NO_EVIDENCE: f"There is no evidence that {model} predicts.",
        _NOT_TESTED: f"Whether {model} predicts was not tested.",
    }
    return verdicts.get(reason, f"{reason[:1].upper()}{reason[1:].rstrip('.')}."), (
        reason in verdicts
    )


def _notes(found: _Explained) -> list[str]:
    """Say which models have no maps, and why."""
    said = {model: found.told_of(model) for model in found.told.get("Models", {})}
    kinds = {"HeldBack": "What {} goes by is held back: {}.", "NoMaps": "No maps of {}: {}."}
    return [
        text.format(found.names.get(model, model), told[key])
        for model, told in said.items()
        for key, text in kinds.items()
        if told.get(key)
    ]


def _shares(found: _Explained) -> dict[str, Any]:
    if found.shares.empty:
        return {"shares": "", "share_sentences": []}
    figure = networks.shares_figure(found.shares, found.names, found.mark)
    alt = "How much of |attribution| each stream of each model carries."
    return {
        "shares": inline_svg(figure, "shares", alt),
        "share_sentences": share_sentences(found.shares, found.names),
    }


def _parcels(found: _Explained, files: GroupFiles) -> dict[str, Any]:
    own = [pair for pair in found.maps if pair[0] == found.main]
    beside = [pair for pair in found.maps if pair[0] != found.main]
    return {
        "positive": found.positive,
        "maps_of_main": bool(own),
        "maps_beside": bool(beside),
        "main_name": found.names[found.main],
        "beside_names": ", ".join(dict.fromkeys(found.names[model] for model, _ in beside)),
        "glass": _glass(found, own, "glass"),
        "slices": _slices(found, own),
        "glass_beside": _glass(found, beside, "glass-beside"),
        "image_file": files.attribution_map.name if files.attribution_map.exists() else "",
        "z_sentences": z_sentences(
            {found.title(*pair): found.of("parcel", *pair) for pair in found.maps}
        ),
        "parcels": [
            {"title": found.title(*pair), "rows": parcel_rows(found.of("parcel", *pair))}
            for pair in found.maps
        ],
    }


def _row_of_glass(found: _Explained, places: Places, model: str, source: str) -> Glass:
    """Bring a map into the order of the atlas's table."""
    rows = found.of("parcel", model, source).set_index("index").reindex(places.index)
    amount, signed = (rows[each].to_numpy(dtype=float) for each in ("attribution", "signed"))
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = np.where(amount > 0, signed / amount, 0.0)
    direction = np.full(len(amount), np.nan) if source == _ROLLOUT else direction
    title = found.title(model, source)
    z = rows["z"].to_numpy(dtype=float)
    return Glass(title, amount / np.nanmean(amount), direction, z)


def _glass(found: _Explained, pairs: list[tuple[str, str]], name: str) -> Markup | str:
    places = found.places
    if not pairs or places is None or not places.known:
        return ""
    rows = [_row_of_glass(found, places, *pair) for pair in pairs]
    alt = f"Parcels in a glass brain: {'; '.join(row.title for row in rows)}."
    return inline_svg(glass_figure(rows, places, found.mark), name, alt)


def _slices(found: _Explained, pairs: list[tuple[str, str]]) -> Markup | str:
    places = found.places
    if not pairs or places is None or places.volume is None:
        return ""
    rows = [_row_of_glass(found, places, *pair) for pair in pairs]
    drawn = [Slices(row.title, paint(places.volume, row.amount)) for row in rows]
    alt = f"The same on axial slices: {'; '.join(row.title for row in rows)}."
    return inline_svg(slices_figure(drawn, found.mark), "slices", alt)


def _groups(found: _Explained) -> dict[str, Any]:
    panels = [
        networks.Bars(found.title(*pair), found.of("network", *pair), pair[1])
        for pair in found.maps
    ]
    drawn = [panel for panel in panels if len(panel.rows)][:3]
    alt = "|attribution| of a parcel of each network, as multiples of the average."
    return {
        "networks": inline_svg(networks.networks_figure(drawn, found.mark), "networks", alt)
        if drawn
        else "",
        "groups": [
            {"title": found.title(*pair), "rows": rows}
            for pair in found.maps
            if (rows := group_rows([found.of(level, *pair) for level in _BROAD]))
        ],
    }


def _edges(found: _Explained) -> dict[str, Any]:
    pairs = [pair for pair in found.maps if len(found.of("edge", *pair))]
    drawn = []
    for model, source in pairs:
        edges = found.of("edge", model, source).sort_values("attribution", ascending=False)
        figure = (
            ""
            if found.places is None or not found.places.known
            else inline_svg(
                networks.edges_figure(edges, found.places, found.mark),
                f"edges-{model}",
                f"The strongest edges of {found.title(model, source)}, by network.",
            )
        )
        rows = edge_rows(edges, found.places)
        drawn.append({"title": found.title(model, source), "figure": figure, "rows": rows})
    return {"edges": drawn}


def _rollout(found: _Explained) -> dict[str, Any]:
    models = dict.fromkeys(found.of("parcel", source=_ROLLOUT)["model"])
    # Of a frozen encoder it is the same for every model that reads it.
    pairs = [(model, _ROLLOUT) for model in models][:1]
    return {"rollout": _glass(found, pairs, "rollout") if pairs else "", "has_rollout": bool(pairs)}

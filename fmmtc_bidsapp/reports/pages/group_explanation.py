"""Explanation section of the group report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.records.verdict import NO_EVIDENCE, NOT_TESTED, predicts
from fmmtc_bidsapp.reports.data.group_places import Places, paint
from fmmtc_bidsapp.reports.data.outputs import read_json
from fmmtc_bidsapp.reports.figures import group_networks as networks
from fmmtc_bidsapp.reports.figures.group_maps import (
    Glass,
    Slices,
    glass_figure,
    largest_amount,
    slices_figure,
)
from fmmtc_bidsapp.reports.figures.style import inline_svg
from fmmtc_bidsapp.reports.text.explanation_data import Explained, read_explained
from fmmtc_bidsapp.reports.text.explanation_tables import (
    edge_rows,
    group_rows,
    parcel_rows,
    share_rows,
    share_sentences,
    z_sentences,
)
from fmmtc_bidsapp.reports.text.explanation_trust import SOURCE_TITLES, trust_rows

__all__ = ["explanation_section"]

_BROAD = ("network", "hemisphere", "subnetwork")


def explanation_section(files: GroupFiles) -> dict[str, Any]:
    """Return the values of ``explanation.html.jinja``, empty without an explanation."""
    path = files.attributions.with_suffix(".json")
    sidecar = read_json(path) or read_json(files.modality.with_suffix(".json"))
    if not sidecar:
        return {}
    found = read_explained(files, sidecar)
    if sidecar.get("HeldBack"):
        reason, flag_helps = _held_back(str(sidecar["HeldBack"]), found.names[found.main])
        return {"held_back": reason, "flag_helps": flag_helps}
    return {
        "held_back": "",
        "notes": _notes(found),
        "unsupported": bool(found.mark),
        **_shares(found),
        **_parcels(found, files),
        **_groups(found),
        **_edges(found),
        "trust": trust_rows({m: found.model_sidecar(m) for m in found.names}, found.names, sidecar),
    }


def _held_back(reason: str, model: str) -> tuple[str, bool]:
    """State why maps are withheld, and whether the flag would show them."""
    verdicts = {
        NO_EVIDENCE: f"There is no evidence that {model} predicts.",
        NOT_TESTED: f"Whether {model} predicts was not tested.",
    }
    if predicts(reason):
        verdicts[reason] = f"The verdict on {model} is: {reason}."
    return verdicts.get(reason, f"{reason[:1].upper()}{reason[1:].rstrip('.')}."), (
        reason in verdicts
    )


def _notes(found: Explained) -> list[str]:
    """List models without maps, with reasons, and maps without values."""
    said = {model: found.model_sidecar(model) for model in found.sidecar.get("Models", {})}
    kinds = {"HeldBack": "The explanation of {} is not shown: {}.", "NoMaps": "No maps of {}: {}."}
    return [
        text.format(found.names.get(model, model), sidecar[key])
        for model, sidecar in said.items()
        for key, text in kinds.items()
        if sidecar.get(key)
    ] + list(found.lacking)


def _shares(found: Explained) -> dict[str, Any]:
    if found.shares.empty:
        return {"shares": "", "share_sentences": [], "share_rows": []}
    figure = networks.shares_figure(found.shares, found.names, found.mark, found.titles)
    alt = "How much of |attribution| each stream of each model carries."
    return {
        "shares": inline_svg(figure, "shares", alt),
        "share_sentences": share_sentences(found.shares, found.names, found.titles),
        "share_rows": share_rows(found.shares, found.names, found.titles),
    }


def _parcels(found: Explained, files: GroupFiles) -> dict[str, Any]:
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
        "main_is_pattern": found.is_pattern(found.main),
        "beside_is_pattern": all(found.is_pattern(model) for model, _ in beside),
        "no_places": found.no_places,
        "image": _image(found, files),
        "z_sentences": z_sentences(
            {
                found.title(*pair): (
                    found.of("parcel", *pair),
                    found.model_sidecar(pair[0]).get("NullMaps"),
                )
                for pair in found.maps
            }
        ),
        "parcels": [
            _table(found, pair, parcel_rows(found.of("parcel", *pair), found.z_limit(pair[0])))
            for pair in found.maps
        ]
        + [
            _table(found, (m, s), parcel_rows(found.of(level, m, s), found.z_limit(m)))
            for m, s, level in found.other_maps
        ],
    }


def _image(found: Explained, files: GroupFiles) -> dict[str, str]:
    """Name the image of the main model's parcels and what it is of, or say why there is none."""
    if not files.attribution_map.exists():
        return {"file": "", "stream": "", "why_none": str(found.sidecar.get("NoImage", ""))}
    source = str(found.sidecar.get("Image", {}).get("Source", ""))
    stream = SOURCE_TITLES.get(source, "one stream")
    return {"file": files.attribution_map.name, "stream": stream, "why_none": ""}


def _table(found: Explained, pair: tuple[str, str], rows: list[dict[str, str]]) -> dict[str, Any]:
    limit = found.z_limit(pair[0])
    said = f"z (* beyond {limit:.2f})" if np.isfinite(limit) else "z"
    return {"title": found.title(*pair), "rows": rows, "z_head": said}


def _row_of_glass(found: Explained, places: Places, model: str, source: str) -> Glass | None:
    """Return a map in the order of the atlas's table, by names; None if no name matches."""
    own = found.of("parcel", model, source).drop_duplicates("name").set_index("name")
    mean = float(own["attribution"].mean())
    rows = own.reindex(places.names)
    amount, signed = (rows[each].to_numpy(dtype=float) for each in ("attribution", "signed"))
    if not (np.isfinite(amount) & (amount > 0)).any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = np.where(amount > 0, signed / amount, 0.0)
    z = rows["z"].to_numpy(dtype=float)
    return Glass(found.title(model, source), amount / mean, direction, z, found.z_limit(model))


def _drawn(found: Explained, places: Places, pairs: list[tuple[str, str]]) -> list[Glass]:
    rows = [_row_of_glass(found, places, *pair) for pair in pairs]
    return [row for row in rows if row is not None]


def _glass(found: Explained, pairs: list[tuple[str, str]], name: str) -> Markup | str:
    places = found.places
    if places is None or not places.known or not (rows := _drawn(found, places, pairs)):
        return ""
    alt = f"Parcels in a glass brain: {'; '.join(row.title for row in rows)}."
    # One scale for all glass brains of the page, those of other models too.
    largest = largest_amount(_drawn(found, places, found.maps))
    return inline_svg(glass_figure(rows, places, found.mark, largest), name, alt)


def _slices(found: Explained, pairs: list[tuple[str, str]]) -> Markup | str:
    places = found.places
    if places is None or places.volume is None or not (rows := _drawn(found, places, pairs)):
        return ""
    drawn = [Slices(row.title, paint(places.volume, row.amount)) for row in rows]
    alt = f"The same on axial slices: {'; '.join(row.title for row in rows)}."
    return inline_svg(slices_figure(drawn, found.mark), "slices", alt)


def _groups(found: Explained) -> dict[str, Any]:
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
            _table(found, pair, rows)
            for pair in found.maps
            if (
                rows := group_rows(
                    [found.of(level, *pair) for level in _BROAD], found.z_limit(pair[0])
                )
            )
        ],
    }


def _edges(found: Explained) -> dict[str, Any]:
    pairs = [pair for pair in found.maps if len(found.of("edge", *pair))]
    return {"edges": [_edges_of(found, pair) for pair in pairs]}


def _edges_of(found: Explained, pair: tuple[str, str]) -> dict[str, Any]:
    edges = _placed(found, pair).sort_values("attribution", ascending=False)
    title, places, figure = found.title(*pair), found.places, Markup()
    somewhere = edges[["index", "other"]].notna().all(axis=1).any()
    if places is not None and places.known and somewhere:
        figure = inline_svg(
            networks.edges_figure(edges, places, found.mark),
            f"edges-{pair[0]}",
            f"The strongest edges of {title}, by network.",
        )
    return {
        **_table(found, pair, edge_rows(edges, places, found.z_limit(pair[0]))),
        "figure": figure,
    }


def _placed(found: Explained, pair: tuple[str, str]) -> pd.DataFrame:
    """Exchange the ends of edges for those of the parcels of their names in the atlas's table."""
    parcels, edges = found.of("parcel", *pair), found.of("edge", *pair)
    index_of = {} if found.places is None else found.places.index_of
    ends = dict(zip(parcels["index"], parcels["name"].map(index_of), strict=True))
    return edges.assign(index=edges["index"].map(ends), other=edges["other"].map(ends))

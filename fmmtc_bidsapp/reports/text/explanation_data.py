"""The written explanation of one label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records.verdict import NO_EVIDENCE
from fmmtc_bidsapp.reports.data.group_analysis import MAIN_MODEL, MAIN_NAME
from fmmtc_bidsapp.reports.data.group_places import Places, drawing_places
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table
from fmmtc_bidsapp.reports.text.explanation_trust import SOURCE_TITLES

__all__ = ["STREAM_SOURCES", "Explained", "read_explained", "z_limit"]

_REMOVED_SOURCES = ("rollout",)
"""Maps that earlier versions wrote: where an encoder's attention goes, whatever the outcome."""
STREAM_SOURCES = ("series", "connectivity")
_HAUFE = "Haufe pattern"
_ROW_COLUMNS = ("model", "source", "level", "name", "index", "other", "attribution")
_SHARE_COLUMNS = ("model", "modality", "share")
_NO_PLACES = "The atlas’s table in this dataset has no coordinates, so no brain is drawn."
_NO_NAMES = "No parcel of the maps is named in the atlas’s table, so no brain is drawn."


@dataclass(frozen=True, eq=False)
class Explained:
    """The written tables of one label, as far as they explain."""

    rows: pd.DataFrame
    """Of ``_attributions.tsv``, of maps that hold a value."""
    shares: pd.DataFrame
    """Of ``_modality.tsv``, of models whose two shares are known."""
    sidecar: Mapping[str, Any]
    """Sidecar of the maps."""
    names: Mapping[str, str]
    """Readable names of the models, the main one first."""
    main: str
    positive: str
    places: Places | None
    """None where no parcel of the maps has a place."""
    no_places: str
    """Why not."""
    lacking: tuple[str, ...]
    """What was written without values, in sentences."""

    @property
    def mark(self) -> str:
        """Watermark of every figure, empty if the maps are supported."""
        return "" if self.sidecar.get("Supported") is True else NO_EVIDENCE

    @property
    def titles(self) -> dict[str, str]:
        """Readable name of each modality: this program's, then those of other packages."""
        own = {name: SOURCE_TITLES[name] for name in STREAM_SOURCES}
        return own | dict(self.sidecar.get("Modalities", {}))

    @property
    def maps(self) -> list[tuple[str, str]]:
        """Model and source of each map of parcels, the main model first."""
        there = self.of("parcel")
        pairs = set(zip(there["model"], there["source"], strict=True))
        return [(m, s) for m in self.names for s in self.titles if (m, s) in pairs]

    @property
    def other_maps(self) -> list[tuple[str, str, str]]:
        """Model, source and level of each map of places that are no parcels."""
        here = self.rows[self.rows["source"].isin(self.sidecar.get("Modalities", {}))]
        keys = zip(here["model"], here["source"], here["level"], strict=True)
        return [(m, s, level) for m, s, level in dict.fromkeys(keys) if level != "parcel"]

    def of(self, level: str, model: str | None = None, source: str | None = None) -> pd.DataFrame:
        """Return the rows of a level, or only those of one model and source."""
        kept = self.rows[self.rows["level"] == level]
        if model is not None:
            kept = kept[kept["model"] == model]
        return kept if source is None else kept[kept["source"] == source]

    def title(self, model: str, source: str) -> str:
        """Name a map."""
        name, stream = self.names[model], {**SOURCE_TITLES, **self.titles}[source]
        if not self.is_pattern(model):
            return f"{name}: {stream}"
        return f"{name}: Haufe pattern" if source == "connectivity" else f"{name}: Haufe, {stream}"

    def is_pattern(self, model: str) -> bool:
        """Whether its map says how places differ with the prediction, not what the model uses."""
        return bool(self.model_sidecar(model).get("Method") == _HAUFE)

    def z_limit(self, model: str) -> float:
        """Return the |z| beyond which a place of a model's maps is marked."""
        return z_limit(self.model_sidecar(model).get("NullMaps"))

    def model_sidecar(self, model: str) -> Mapping[str, Any]:
        """Return the part of the sidecar on one model."""
        sidecar: Mapping[str, Any] = self.sidecar.get("Models", {}).get(model, {})
        return sidecar


def read_explained(files: GroupFiles, sidecar: Mapping[str, Any]) -> Explained:
    """Read the explanation tables of a label.

    A map without values and an atlas that cannot be read are left out and named.
    """
    about = read_json(files.metrics.with_suffix(".json"))
    main = str(about.get("MainModel", MAIN_MODEL))
    given: dict[str, str] = dict(about.get("ModelNames", {}))
    rows = _with_columns(read_table(files.attributions), _ROW_COLUMNS)
    rows = rows[~rows["source"].isin(_REMOVED_SOURCES)]
    shares = _with_columns(read_table(files.modality), _SHARE_COLUMNS)
    present = dict.fromkeys([main, *rows["model"], *shares["model"], *sidecar.get("Models", {})])
    names = {model: given.get(model, MAIN_NAME if model == main else model) for model in present}
    kept, no_maps = _with_values(rows, names)
    known, no_shares = _known_shares(shares, names)
    places, no_places, unread = _places(files, str(about.get("Atlas", "")), sidecar, kept)
    return Explained(
        kept,
        known,
        sidecar,
        names,
        main,
        outcome_words(about)["1"] if "Target" in about else "the positive outcome",
        places,
        no_places,
        (*no_maps, *no_shares, *unread),
    )


def _with_columns(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    return table if len(table) else pd.DataFrame(columns=list(columns))


def _with_values(rows: pd.DataFrame, names: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Keep the tables with a value, except those of maps without a value of a parcel."""
    if rows.empty:
        return rows, []
    amount = pd.to_numeric(rows["attribution"], errors="coerce")
    keys = [rows[each] for each in ("model", "source", "level")]
    there = (np.isfinite(amount) & (amount > 0)).groupby(keys, sort=False).any()
    lacking = [key for key, has in there.items() if not has]
    maps = {(model, source) for model, source, level in lacking if level == "parcel"}
    gone = [
        (model, source, level) in lacking or (model, source) in maps
        for model, source, level in zip(*keys, strict=True)
    ]
    alone = [each for each in lacking if each[:2] not in maps]
    return rows[~np.array(gone)], [
        f"There is no map of {names[model]}, {SOURCE_TITLES.get(source, source)}: every "
        "attribution is 0 or not known, as when the output of a network is constant."
        for model, source in sorted(maps)
    ] + [
        f"Of {names[model]}, {SOURCE_TITLES.get(source, source)}, no {level} has a value."
        for model, source, level in alone
    ]


def _known_shares(shares: pd.DataFrame, names: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    known = shares[pd.to_numeric(shares["share"], errors="coerce").notna()]
    streams = shares.groupby("model")["modality"].nunique()
    whole = [
        model
        for model, own in known.groupby("model")["modality"]
        if own.nunique() == streams[model] > 1
    ]
    return known[known["model"].isin(whole)], [
        f"The stream shares of {names[model]} are not known: no stream changes its output."
        for model in dict.fromkeys(shares["model"])
        if model not in whole
    ]


def _places(
    files: GroupFiles, atlas: str, sidecar: Mapping[str, Any], rows: pd.DataFrame
) -> tuple[Places | None, str, list[str]]:
    """Read where the parcels are; else None, why, and what could not be read."""
    # Where an image was painted, it says which labels it was painted into.
    used = {**sidecar.get("Image", {}), **sidecar}
    try:
        places = drawing_places(files.output_dir, atlas, used)
    except InputError as error:
        return None, _NO_PLACES, [f"The atlas cannot be drawn: {error}"]
    if places is None:
        return None, _NO_PLACES, []
    parcels = set(rows.loc[rows["level"] == "parcel", "name"])
    strangers = parcels - set(places.names)
    if parcels and strangers == parcels:
        return None, _NO_NAMES, []
    notes = [places.note] if places.note else []
    if strangers:
        notes.append(
            f"{len(strangers)} of {len(parcels)} parcels are not named in the atlas’s table, "
            "and are not drawn."
        )
    return places, "" if places.known else _NO_PLACES, notes


_TWO_SIDED = 0.975


def z_limit(n_null: object) -> float:
    """Return the |z| that one parcel in twenty exceeds by chance.

    Student's t with n - 1 degrees of freedom for n null maps, widened since the mean is estimated
    too: 2.14 for 20; infinite for fewer than two or an unknown number.
    """
    if not isinstance(n_null, int | float) or pd.isna(n_null) or n_null < 2:
        return math.inf
    return float(t.ppf(_TWO_SIDED, n_null - 1) * math.sqrt(1 + 1 / n_null))

"""What a group's maps say, in the words and tables of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fmmtc_bidsapp.reports.group_places import Places
from fmmtc_bidsapp.reports.pages import interval, number

__all__ = ["edge_rows", "group_rows", "parcel_rows", "share_sentences", "z_sentences"]

_N_SHOWN = 20
_Z_95 = 1.96
_LEVELS = {"network": "network", "hemisphere": "hemisphere", "subnetwork": "subnetwork"}


def share_sentences(shares: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """Say of each model how much it takes from which stream.

    Parameters
    ----------
    shares
        Rows of ``_modality.tsv``.
    names
        Readable name of each model, in the order of the sentences.
    """
    rows = {(row["model"], row["modality"]): row for row in shares.to_dict("records")}
    sentences = []
    for model, name in names.items():
        series, other = rows.get((model, "series")), rows.get((model, "connectivity"))
        if series is None or other is None:
            continue
        carried = interval(100 * series["low"], 100 * series["high"], 0)
        sentences.append(
            f"{name}: {number(100 * series['share'], 0)} % of |attribution| is of the time series"
            f"{f' (95 % interval {carried} %)' if carried else ''}, "
            f"{number(100 * other['share'], 0)} % of connectivity, over "
            f"{number(series['n'], 0)} people; the SD over folds is "
            f"{number(100 * series['fold_sd'], 0)} points."
        )
    return sentences


def z_sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say of each map how many parcels stand out against maps of shuffled outcomes.

    Parameters
    ----------
    tables
        By title of the map, its rows of level ``parcel``. Those without z have no sentence.
    """
    sentences = []
    for title, rows in tables.items():
        z = rows["z"].dropna()
        if z.empty:
            continue
        beyond = int((z.abs() > _Z_95).sum())
        sentences.append(
            f"{title}: {beyond} of {len(z)} parcels lie beyond |z| = 1.96 against maps of models "
            f"fitted to shuffled outcomes; about {round(0.05 * len(z))} would do so by chance "
            "(uncorrected)."
        )
    return sentences


def parcel_rows(rows: pd.DataFrame) -> list[dict[str, str]]:
    """Spell the parcels with the largest |attribution|.

    Parameters
    ----------
    rows
        Rows of level ``parcel`` of one map.

    Returns
    -------
    list of dict
        Text by column, the largest first.
    """
    mean = rows["attribution"].mean()
    largest = rows.sort_values("attribution", ascending=False, kind="stable").head(_N_SHOWN)
    return [
        {
            "name": str(row["name"]),
            "amount": number(row["attribution"] / mean),
            "interval": interval(row["low"] / mean, row["high"] / mean),
            **_signs(row),
        }
        for row in largest.to_dict("records")
    ]


def group_rows(tables: Iterable[pd.DataFrame]) -> list[dict[str, str]]:
    """Spell networks, hemispheres and subnetworks, one row each.

    Parameters
    ----------
    tables
        Rows of one map, a level each.

    Returns
    -------
    list of dict
        Text by column, in the order of the tables.
    """
    return [
        {
            "level": _LEVELS.get(row["level"], str(row["level"])),
            "name": str(row["name"]),
            "amount": number(row["attribution"]),
            "interval": interval(row["low"], row["high"]),
            **_signs(row),
        }
        for table in tables
        for row in table.to_dict("records")
    ]


def edge_rows(edges: pd.DataFrame, places: Places | None) -> list[dict[str, str]]:
    """Spell the edges with the largest |attribution|.

    Parameters
    ----------
    edges
        Rows of level ``edge`` of one map, the largest first.
    places
        Of the parcels, for their networks; None where they are not known.

    Returns
    -------
    list of dict
        Text by column.
    """
    network = (
        {} if places is None else dict(zip(places.index.tolist(), places.networks, strict=True))
    )
    return [
        {
            "name": str(row["name"]),
            "networks": _joined(network.get(int(row[end]), "n/a") for end in ("index", "other")),
            "amount": f"{100 * row['attribution']:.3g}",
            **_signs(row),
        }
        for row in edges.head(_N_SHOWN).to_dict("records")
    ]


def _joined(networks: Iterable[str]) -> str:
    first, second = networks
    return f"within {first}" if first == second else f"{first} – {second}"


def _signs(row: Mapping[Any, Any]) -> dict[str, str]:
    """Spell which outcome a place speaks for, in how many people, and how it stands to chance."""
    signed, consistency = row["signed"], row["sign_consistency"]
    outcome = "n/a" if pd.isna(signed) else "positive" if signed > 0 else "other"
    z = row["z"]
    stands_out = bool(np.isfinite(z) and abs(z) > _Z_95)
    return {
        "outcome": outcome,
        "consistency": "n/a" if pd.isna(consistency) else f"{100 * consistency:.0f} %",
        "z": f"{number(z)}{' *' if stands_out else ''}",
    }

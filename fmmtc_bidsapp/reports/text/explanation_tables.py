"""Tables of the explanation section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fmmtc_bidsapp.reports.data.group_places import Places
from fmmtc_bidsapp.reports.data.number_format import interval, number
from fmmtc_bidsapp.reports.text.explanation_data import z_limit
from fmmtc_bidsapp.reports.text.explanation_trust import SOURCE_TITLES

__all__ = [
    "edge_rows",
    "group_rows",
    "parcel_rows",
    "share_rows",
    "share_sentences",
    "z_sentences",
]

_N_SHOWN = 20


def share_sentences(
    shares: pd.DataFrame, names: Mapping[str, str], titles: Mapping[str, str] = SOURCE_TITLES
) -> list[str]:
    """State how each model's attribution divides over its streams (``_modality.tsv``)."""
    sentences = []
    for model, name in names.items():
        rows = [row for row in shares.to_dict("records") if row["model"] == model]
        if len(rows) < 2:
            continue
        lost = _lost_words(rows, titles)
        if lost:
            sentences.append(f"{name}: {lost}.")
        # One of two streams leaves the other what it does not take.
        stated = rows[:1] if len(rows) == 2 else rows
        parts = [_share_words(row, titles, row in stated, i == 0) for i, row in enumerate(rows)]
        spread = " and ".join(number(100 * row["fold_sd"], 0) for row in stated)
        sentences.append(
            f"{name}: {', '.join(parts)}, over {number(rows[0]['n'], 0)} people; the SD over folds "
            f"is {spread} points. {_null_words(stated, titles)}"
        )
    return sentences


def _share_words(
    row: Mapping[Any, Any], titles: Mapping[str, str], with_interval: bool, is_first: bool
) -> str:
    carried = interval(100 * row["low"], 100 * row["high"], 0) if with_interval else ""
    verb = " of |attribution| is" if is_first else ""
    return (
        f"{number(100 * row['share'], 0)} %{verb} of {_article(row, titles)}"
        f"{f' (95 % interval {carried} %)' if carried else ''}"
    )


def _title(row: Mapping[Any, Any], titles: Mapping[str, str]) -> str:
    return titles.get(row["modality"], str(row["modality"]))


def _article(row: Mapping[Any, Any], titles: Mapping[str, str]) -> str:
    return f"{'the ' if row['modality'] == 'series' else ''}{_title(row, titles)}"


def _lost_words(rows: Sequence[Mapping[Any, Any]], titles: Mapping[str, str]) -> str:
    """State what held-out people's AUROC loses without each stream; empty where it is not known."""
    losses = []
    for row in reversed(rows):
        lost = row.get("auroc_lost")
        if number(lost) == "n/a":
            return ""
        low, high = row["auroc_lost_low"], row["auroc_lost_high"]
        # A stream without an effect is often worth less than its training mean.
        change, limits = (
            (f"falls by {number(lost)}", interval(low, high))
            if lost >= 0
            else (f"rises by {number(-lost)}", interval(-high, -low))
        )
        losses.append(
            f"{change} ({limits or 'interval n/a'}) with the {_title(row, titles)} replaced by the "
            "training mean"
        )
    return f"the AUROC of held-out people {', and '.join(losses)}"


def _null_words(rows: Sequence[Mapping[Any, Any]], titles: Mapping[str, str]) -> str:
    """State what shares streams have where outcomes are shuffled, or that this is not known."""
    if number(rows[0].get("null_share")) == "n/a":
        return (
            "Streams of different scale or size have different shares even without an effect; "
            "without fits to shuffled outcomes (--null-maps) a share is not evidence."
        )
    return " ".join(_null_of(row, titles) for row in rows)


def _null_of(row: Mapping[Any, Any], titles: Mapping[str, str]) -> str:
    limits = interval(100 * row["null_low"], 100 * row["null_high"], 0)
    inside = row["null_low"] <= row["share"] <= row["null_high"]
    return (
        f"In {number(row['n_null'], 0)} fits to shuffled outcomes {_article(row, titles)} "
        f"{'have' if row['modality'] == 'series' else 'has'} "
        f"{number(100 * row['null_share'], 0)} % ({limits} %): the share "
        f"is {'within' if inside else 'outside'} this range."
    )


def share_rows(
    shares: pd.DataFrame, names: Mapping[str, str], titles: Mapping[str, str] = SOURCE_TITLES
) -> list[dict[str, str]]:
    """Format the shares, a row per model and stream."""
    return [
        {
            "model": names[row["model"]],
            "stream": _title(row, titles),
            "share": number(100 * row["share"], 0),
            "interval": interval(100 * row["low"], 100 * row["high"], 0),
            "fold_sd": number(100 * row["fold_sd"], 0),
            "null": number(_percent(row.get("null_share")), 0),
            "null_interval": interval(
                _percent(row.get("null_low")), _percent(row.get("null_high")), 0
            ),
            "lost": number(row.get("auroc_lost")),
            "lost_interval": interval(row.get("auroc_lost_low"), row.get("auroc_lost_high")),
            "n": number(row["n"], 0),
        }
        for row in shares.to_dict("records")
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def z_sentences(tables: Mapping[str, tuple[pd.DataFrame, object]]) -> list[str]:
    """State how many parcels of each map exceed the limit of z.

    None for a map without z or with fewer than two null maps.
    """
    sentences = []
    for title, (rows, n_null) in tables.items():
        z, limit = rows["z"].dropna(), z_limit(n_null)
        if z.empty or np.isinf(limit):
            continue
        beyond = int((z.abs() > limit).sum())
        sentences.append(
            f"{title}: {beyond} of {len(z)} parcels exceed |z| = {limit:.2f} relative to "
            f"{number(n_null, 0)} maps of models fitted to shuffled outcomes; about "
            f"{round(0.05 * len(z))} are expected by chance (uncorrected)."
        )
    return sentences


def parcel_rows(rows: pd.DataFrame, limit: float) -> list[dict[str, str]]:
    """Format the parcels with the largest |attribution|, as multiples of the mean parcel."""
    mean = rows["attribution"].mean()
    largest = rows.sort_values("attribution", ascending=False, kind="stable").head(_N_SHOWN)
    return [
        {
            "name": str(row["name"]),
            "amount": number(row["attribution"] / mean),
            "interval": interval(row["low"] / mean, row["high"] / mean),
            **_signs(row, limit),
        }
        for row in largest.to_dict("records")
    ]


def group_rows(tables: Iterable[pd.DataFrame], limit: float) -> list[dict[str, str]]:
    """Format networks, hemispheres and subnetworks, a row each, in the order of the tables."""
    return [
        {
            "level": str(row["level"]),
            "name": str(row["name"]),
            "amount": number(row["attribution"]),
            "interval": interval(row["low"], row["high"]),
            **_signs(row, limit),
        }
        for table in tables
        for row in table.to_dict("records")
    ]


def edge_rows(edges: pd.DataFrame, places: Places | None, limit: float) -> list[dict[str, str]]:
    """Format the first rows of ``edges``, which are sorted by |attribution|."""
    network = (
        {} if places is None else dict(zip(places.index.tolist(), places.networks, strict=True))
    )
    return [
        {
            "name": str(row["name"]),
            "networks": _joined(network.get(row[end], "n/a") for end in ("index", "other")),
            "amount": f"{100 * row['attribution']:.3g}",
            **_signs(row, limit),
        }
        for row in edges.head(_N_SHOWN).to_dict("records")
    ]


def _joined(networks: Iterable[str]) -> str:
    first, second = networks
    return f"within {first}" if first == second else f"{first} – {second}"


def _signs(row: Mapping[Any, Any], limit: float) -> dict[str, str]:
    """Format the outcome that a place favours, the share of people with its sign, and z."""
    signed, consistency = row["signed"], row["sign_consistency"]
    outcome = "n/a" if pd.isna(signed) else "positive" if signed > 0 else "other"
    z = row["z"]
    stands_out = bool(np.isfinite(z) and abs(z) > limit)
    return {
        "outcome": outcome,
        "consistency": "n/a" if pd.isna(consistency) else f"{100 * consistency:.0f} %",
        "z": f"{number(z)}{' *' if stands_out else ''}",
    }

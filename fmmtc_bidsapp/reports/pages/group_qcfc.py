"""QC-FC section of the group report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from fmmtc_bidsapp.bidsio.files.names import group_motion_connectivity, group_quality
from fmmtc_bidsapp.reports.data.number_format import number
from fmmtc_bidsapp.reports.data.outputs import read_table
from fmmtc_bidsapp.reports.figures.style import (
    ACCENT,
    CATEGORICAL,
    DASHED,
    LINE,
    MUTED,
    inline_svg,
    plain_axes,
    themed,
)

__all__ = ["not_checked", "qcfc_section"]

_MOST_KINDS = 4


def qcfc_section(output_dir: Path) -> dict[str, Any]:
    """Return the figure and rows of head motion against connectivity, or the reason for neither."""
    kinds = read_table(group_motion_connectivity(output_dir))
    checked = group_quality(output_dir).exists()
    return {
        "motion_edges": _distance_figure(kinds),
        "motion_kinds": _kind_rows(kinds),
        "motion_kinds_absent": _why_no_kinds(kinds, checked=checked),
    }


def not_checked(what: str) -> str:
    """Say what to run where nobody looked at the quality of the runs."""
    return (
        f"There is no table of the runs’ quality, so {what}. Run fmmtc BIDS_DIR OUTPUT_DIR group "
        "--analysis qc on the folder of the participant level, then this label again with "
        "--reports-only."
    )


def _kind_rows(kinds: pd.DataFrame) -> list[dict[str, str]]:
    """Spell QC-FC over all edges, a row for every kind of matrix."""
    if kinds.empty:
        return []
    figures = {
        "n_participants": 0, "n_edges": 0, "median_abs_r": 2, "chance_median_abs_r": 2,
        "share_p_below_05": 3, "share_q_below_05": 3, "distance_spearman": 2,
    }  # fmt: skip
    return [
        {
            "name": _kind_name(row),
            "note": "" if pd.isna(row["note"]) else str(row["note"]),
            **{column: number(row[column], digits) for column, digits in figures.items()},
        }
        for row in kinds[kinds["bin"] == "all"].to_dict("records")
    ]


def _kind_name(row: Mapping[Any, Any]) -> str:
    return f"{row['desc']}, {row['measure']} ({row['atlas']}, {row['space']})"


def _why_no_kinds(kinds: pd.DataFrame, *, checked: bool) -> str:
    if not kinds.empty:
        return ""
    if checked:
        return "The usable runs have no connectivity matrices, so QC-FC was not computed."
    return not_checked("QC-FC was not computed")


@themed
def _distance_figure(kinds: pd.DataFrame) -> Markup | str:
    """Draw QC-FC by the distance of the parcels: its size, and its direction."""
    if kinds.empty:
        return ""
    bins = kinds[(kinds["bin"] != "all") & kinds["distance_low_mm"].notna()]
    if bins.empty:
        return ""
    figure = Figure(figsize=(9.4, 3.0))
    size, direction = figure.subplots(1, 2)
    colours = (ACCENT, *CATEGORICAL[1:])
    shown = list(bins.groupby(["desc", "atlas", "space", "measure"], sort=False))[:_MOST_KINDS]
    for (key, own), colour in zip(shown, colours, strict=False):
        middle = (own["distance_low_mm"] + own["distance_high_mm"]) / 2
        label = f"{key[0]}, {key[3]}"
        size.plot(middle, own["median_abs_r"], "o-", color=colour, markersize=4, label=label)
        direction.plot(middle, own["median_r"], "o-", color=colour, markersize=4)
    chance = kinds["chance_median_abs_r"].dropna()
    if len(chance):
        size.axhline(chance.iloc[0], color=MUTED, linewidth=1, linestyle=DASHED)
    direction.axhline(0, color=MUTED, linewidth=1, linestyle=DASHED)
    size.set_ylim(bottom=0)
    for axes, name in ((size, "Median |r|"), (direction, "Median r")):
        axes.grid(color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        plain_axes(axes, "Distance of the parcels (mm)", name)
    figure.legend(loc="outside upper right", ncols=2)
    told = "Correlation of head motion with connectivity over people, by distance of the parcels."
    return inline_svg(figure, "qcfc", told)

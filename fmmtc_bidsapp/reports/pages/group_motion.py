"""Head motion section of the group report: motion and predictions, motion and connectivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp import stats
from fmmtc_bidsapp.bidsio.files.names import group_motion_connectivity, group_quality
from fmmtc_bidsapp.reports.data.group_analysis import Analysis
from fmmtc_bidsapp.reports.data.metric_columns import HEADLINE
from fmmtc_bidsapp.reports.data.number_format import interval, number
from fmmtc_bidsapp.reports.data.outputs import read_table
from fmmtc_bidsapp.reports.figures.group_figures import motion_scatter, qcfc_by_distance

__all__ = [
    "RankCorrelation",
    "mean_fd_mm",
    "motion_section",
    "not_checked",
    "qcfc_section",
    "rank_correlation",
]

_DRAWS, _SEED = 2000, 20250303
_FEWEST = 5
"""People from which a rank correlation is worth a number."""
_MOTION = "motion"
"""Key of the model that predicts from head motion alone."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation with its bootstrap interval; NaN where there is none."""

    value: float
    low: float
    high: float
    n: int


def motion_section(analysis: Analysis) -> dict[str, Any]:
    """Return the figure, sentences, or reason for neither, on head motion and the prediction."""
    quality = read_table(group_quality(analysis.files.output_dir))
    nothing = {"motion": "", "motion_sentences": [], "motion_absent": ""}
    if quality.empty:
        return nothing | {"motion_absent": not_checked("this was not checked")}
    people = analysis.people.assign(mean_fd_mm=mean_fd_mm(quality, analysis.people, analysis.about))
    known = people[people["mean_fd_mm"].notna()]
    if known.empty:
        absent = "No run of the people predicted is in the table of the runs’ quality, or their "
        return nothing | {"motion_absent": f"{absent}head motion is not known."}
    return nothing | {
        "motion": motion_scatter(known, analysis.outcome_names),
        "motion_sentences": [
            *_correlation_sentences(analysis, known),
            *_unknown_motion(len(people) - len(known)),
            *_baseline(analysis),
        ],
    }


def mean_fd_mm(quality: pd.DataFrame, people: pd.DataFrame, about: Mapping[str, Any]) -> Floats:
    """Return the mean framewise displacement (participant,) in mm, weighted by volumes.

    Over the runs that were analysed; NaN where it is not known.
    """
    options = about.get("Options", {})
    known = quality[quality["mean_fd"].notna()]
    for column, asked in (("atlas", about.get("Atlas")), ("desc", options.get("desc"))):
        if asked in set(known[column]):
            known = known[known[column] == asked]
    if not options.get("keep_unusable"):
        known = known[known["usable"]]
    # A run with two cleanings or grids counts once.
    runs = known.drop_duplicates([each for each in known if str(each).endswith("_id")])
    return np.array(
        [
            _weighted(runs, participant, session)
            for participant, session in zip(
                people["participant_id"], people["session_id"], strict=True
            )
        ]
    )


def _weighted(runs: pd.DataFrame, participant_id: str, session_id: Any) -> float:
    own = runs[runs["participant_id"] == participant_id]
    if not pd.isna(session_id):
        own = own[own["session_id"] == session_id]
    if own.empty:
        return float("nan")
    return float(np.average(own["mean_fd"], weights=own["n_volumes"]))


def rank_correlation(x: Floats, y: Floats, draws: int = _DRAWS) -> RankCorrelation:
    """Return Spearman's correlation of x and y (participant,) with a bootstrap interval.

    NaN with fewer than five participants or a constant; the same values give the same interval.
    """
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    n, nothing = len(x), float("nan")
    if n < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return RankCorrelation(nothing, nothing, nothing, n)
    low, high = stats.rank_correlation_interval(x, y, draws, np.random.default_rng(_SEED))
    return RankCorrelation(stats.rank_correlation(x, y, _FEWEST), low, high, n)


def _correlation_sentences(analysis: Analysis, known: pd.DataFrame) -> list[str]:
    found = rank_correlation(
        known["mean_fd_mm"].to_numpy(dtype=float), known["probability"].to_numpy(dtype=float)
    )
    if np.isnan(found.value):
        return [
            f"No rank correlation of head motion with the prediction: the {found.n} people "
            "with known motion are too few, or all values are the same."
        ]
    words = "no clear relation"
    if found.low > 0:
        words = "people who moved more were given higher probabilities"
    elif found.high < 0:
        words = "people who moved more were given lower probabilities"
    sentence = (
        f"Rank correlation of mean framewise displacement with the predicted probability, over "
        f"{found.n} people: {number(found.value)} (95 % bootstrap interval "
        f"{interval(found.low, found.high)}): {words}."
    )
    return [sentence, *_by_outcome(known, analysis.outcome_names)]


def _by_outcome(known: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    medians = known.groupby("y_true")["mean_fd_mm"].median()
    found = [f"{names[key]} {number(medians[key])} mm" for key in names if key in medians]
    return [f"Median of mean framewise displacement: {', '.join(found)}."] if found else []


def _unknown_motion(n: int) -> list[str]:
    noun = "person" if n == 1 else "people"
    return [f"Head motion of {n} {noun} is not known; they are not in the figure."] if n else []


def _baseline(analysis: Analysis) -> list[str]:
    """Compare the main model with the model of head motion alone."""
    metrics = analysis.metrics
    if metrics.empty:
        return []
    rows = metrics[(metrics["metric"] == HEADLINE) & metrics["mean"].notna()].set_index("model")
    if _MOTION not in rows.index:
        return ["No model of head motion alone was fitted, so its AUROC is not known."]
    own = rows.loc[_MOTION]
    limits = interval(own["mean_low"], own["mean_high"]) or "interval not known"
    words = f"Head motion alone predicts the outcome with an AUROC of {number(own['mean'])} "
    if analysis.main == _MOTION or analysis.main not in rows.index:
        return [f"{words}({limits})."]
    ours = number(rows.loc[analysis.main, "mean"])
    return [f"{words}({limits}); {analysis.main_name}: {ours}."]


def qcfc_section(output_dir: Path) -> dict[str, Any]:
    """Return the figure and rows of head motion against connectivity, or the reason for neither."""
    kinds = read_table(group_motion_connectivity(output_dir))
    checked = group_quality(output_dir).exists()
    return {
        "motion_edges": qcfc_by_distance(kinds),
        "motion_kinds": _kind_rows(kinds),
        "motion_kinds_absent": _why_no_kinds(kinds, checked=checked),
    }


def not_checked(what: str) -> str:
    """State which command computes the quality of the runs."""
    return (
        f"There is no table of the runs’ quality, so {what}. Run fmmtc BIDS_DIR OUTPUT_DIR group "
        "--analysis qc on the folder of the participant level, then this label again with "
        "--reports-only."
    )


def _kind_rows(kinds: pd.DataFrame) -> list[dict[str, str]]:
    """Format QC-FC over all edges, a row for every kind of matrix."""
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

"""Report sections of one run and of a matrix over several runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
from markupsafe import Markup

from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.records import RunQuality
from fmmtc_bidsapp.reports.data.number_format import number, percent
from fmmtc_bidsapp.reports.data.outputs import Combined, read_json, read_table
from fmmtc_bidsapp.reports.data.run_tables import Series, read_coverage, read_series
from fmmtc_bidsapp.reports.figures.run_figures import COMBINED_KIND, KINDS, why_not_drawn
from fmmtc_bidsapp.reports.figures.style import inline_file
from fmmtc_bidsapp.reports.pages.render import render_part
from fmmtc_bidsapp.reports.text.processing_summary import averaged_as_z

__all__ = ["RunSection", "Section", "combined_section", "picture_of", "run_section"]

THIN_COVERAGE = 0.9
"""Below this share of its volume a parcel is listed, though its series may be kept."""

_TEMPLATE = "participant.html.jinja"
_IN_THE_HEAD = ("usable", "reasons")

_CAPTIONS = {
    "motion": "Framewise displacement and standardised DVARS of every volume, as fMRIPrep wrote "
    "them. Shaded volumes were excluded from the cleaned series and the matrix.",
    "design": "Left: correlations between regressors; many strong colours mean that they are "
    "redundant. Right: correlation of each regressor with the mean of the uncleaned parcels.",
    "carpet": "Each row is a parcel, ordered by network, before and after cleaning. White is +2 SD "
    "and black −2 SD of the uncleaned series, without its linear trend. Patterns that fade were "
    "removed by cleaning. Vertical bands are changes that all parcels share, often motion or "
    "breathing. Sand: parcels without data. Gaps: excluded volumes.",
    "outline": "Each parcel is outlined in the colour of its network; right is right. On a BOLD "
    "reference image, the outlines should follow grey matter.",
    "coverage": "Share of each parcel's volume in the atlas that has data; the vertical axis of "
    "the histogram is logarithmic.",
    "connectivity": "Parcels ordered by network; grey rows and columns are missing "
    "parcels. Right: histogram of all pairs of parcels.",
}


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading of its own."""

    anchor: str
    """Unique in the page."""
    title: str
    pieces: Mapping[str, Markup]
    """By their suffix in ``participant.yml``."""


@dataclass(frozen=True)
class RunSection(Section):
    """What a report shows of one run."""

    usable: bool
    reasons: str
    """Why it is not usable, or what to know; empty where there is nothing."""

    @property
    def result(self) -> str:
        """What the badge says."""
        return "usable" if self.usable else "not usable"


def run_section(anchor: str, title: str, run: RunFiles) -> RunSection:
    """Return the section of a run, with a piece for every entry of ``participant.yml``."""
    quality = read_table(run.qc).iloc[0]
    sidecar = read_json(run.timeseries.with_suffix(".json"))
    usable = bool(quality["usable"])
    reasons = "" if pd.isna(quality.get("reasons")) else str(quality["reasons"])
    head = {
        "anchor": anchor,
        "title": title,
        "result": "usable" if usable else "not usable",
        "reasons": reasons,
        "retained": _retained(quality),
        "notes": sidecar.get("CleaningNotes", []),
    }
    pictures = {kind: picture_of(anchor, run, kind) for kind in KINDS}
    pictures["coverage"] |= _coverage(run, sidecar.get("MinimumCoverage"), pictures["coverage"])
    pictures["design"] |= {"regressors": sidecar.get("ConfoundRegressors", [])}
    parts = {"design": "design", "coverage": "coverage"}
    pieces = {
        "head": render_part(_TEMPLATE, "run_head", head),
        "quality": render_part(_TEMPLATE, "quality", {"rows": _quality_rows(quality)}),
    } | {
        kind: render_part(_TEMPLATE, parts.get(kind, "picture"), values)
        for kind, values in pictures.items()
    }
    return RunSection(anchor, title, pieces, usable, reasons)


def picture_of(anchor: str, run: RunFiles, kind: str) -> dict[str, Any]:
    """Return a picture and its caption, or why there is none, as ``svg caption absent``."""
    path = run.figure(kind)
    if not path.exists():
        return {"svg": "", "caption": "", "absent": why_not_drawn(run, kind)}
    svg = inline_file(path, f"{anchor}-{kind}")
    return {"svg": svg, "caption": _CAPTIONS[kind], "absent": ""}


def _retained(quality: pd.Series) -> str:
    counts = [
        quality.get(name)
        for name in (
            "num_retained_volumes",
            "n_volumes",
            "num_dummy_volumes",
            "num_censored_volumes",
            "dof",
        )
    ]
    retained, volumes, dummy, censored, dof = (number(each, 0) for each in counts)
    return (
        f"{retained} of {volumes} volumes are retained ({dummy} dummy and {censored} censored "
        f"volumes left out); {dof} degrees of freedom remain after cleaning."
    )


def _quality_rows(quality: pd.Series) -> list[dict[str, str]]:
    """One row per measure, in the words of the record that holds them."""
    return [
        {
            "name": each.metadata["title"],
            "value": _spelled(quality.get(each.name), each.metadata),
            "meaning": each.metadata["meaning"],
        }
        for each in fields(RunQuality)
        if each.name not in _IN_THE_HEAD
    ]


def _spelled(value: Any, column: Mapping[str, Any]) -> str:
    shown = value * 100 if column["unit"] == "%" and value is not None else value
    text = number(shown, column["digits"])
    return f"{text} {column['unit']}" if column["unit"] and text != "n/a" else text


def _coverage(
    run: RunFiles, min_coverage: float | None, picture: Mapping[str, Any]
) -> dict[str, Any]:
    series = read_series(run)
    limit = (
        "" if min_coverage is None else f" Dashed: below {percent(min_coverage)} a parcel is n/a."
    )
    flat = (
        " This run is on grayordinates (CIFTI), so there is no image."
        if run.den is not None
        else ""
    )
    return {
        "caption": f"{picture['caption']}{limit}{flat}",
        **_missing_or_thin(series, read_coverage(run, series.parcels)),
    }


def _missing_or_thin(series: Series, coverage: Any) -> dict[str, Sequence[Mapping[Hashable, Any]]]:
    """List the parcels without a series, and apart from them those kept with thin coverage."""
    table = pd.DataFrame(
        {"name": series.parcels, "network": series.networks, "share": coverage}
    ).assign(coverage=[percent(each) for each in coverage])
    missing = pd.Series(series.missing)
    thin = ~missing & (table["share"] < THIN_COVERAGE)
    return {
        name: table[rows].sort_values("share", kind="stable").to_dict("records")
        for name, rows in (("missing", missing), ("thin", thin))
    }


def combined_section(
    anchor: str,
    name: str,
    combined: Combined,
    titles: Sequence[str],
    shown: Mapping[str, RunSection],
) -> Section:
    """Return the section of a matrix over several runs: runs, weights, and the picture."""
    files = combined.files
    n_runs = len(combined.runs)
    title = f"{name} ({n_runs} run{'' if n_runs == 1 else 's'} combined)"
    sidecar = read_json(files.relmat.with_suffix(".json"))
    head = {
        "anchor": anchor,
        "title": title,
        "measure": sidecar.get("RelationshipMeasure", files.measure),
        "averaged_as_z": averaged_as_z(files.measure),
        "fisher_z": sidecar.get("FisherZ") is True,
        "runs": [
            _run(run_title, run, shown.get(run_title))
            for run_title, run in zip(titles, combined.runs, strict=True)
        ],
        "left_out": _left_out(sidecar),
    }
    pieces = {
        "head": render_part(_TEMPLATE, "combined_head", head),
        COMBINED_KIND: render_part(_TEMPLATE, "picture", picture_of(anchor, files, COMBINED_KIND)),
    }
    return Section(anchor, title, pieces)


def _left_out(sidecar: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the runs that were not averaged, with their reasons."""
    runs = sidecar.get("RunsLeftOut")
    found = runs.items() if isinstance(runs, dict) else ()
    return [{"name": uri.rpartition("/")[2], "reasons": str(why)} for uri, why in found]


def _run(title: str, run: RunFiles, section: RunSection | None) -> dict[str, Any]:
    sidecar = read_json(run.timeseries.with_suffix(".json"))
    return {
        "title": title,
        "anchor": "" if section is None else section.anchor,
        "result": "" if section is None else section.result,
        "retained": number(sidecar.get("NumberOfVolumesRetained"), 0),
    }

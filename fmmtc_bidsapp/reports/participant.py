"""The report of one participant: what came out of each run, and whether it can be used."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.names import (
    RunFiles,
    atlas_description,
    atlas_files,
    dataset_description,
    participant_report,
)
from fmmtc_bidsapp.bidsio.write import write_text
from fmmtc_bidsapp.reports.methods import participant_methods
from fmmtc_bidsapp.reports.pages import methods_html, number, percent, render_page
from fmmtc_bidsapp.reports.run_figures import carpet, connectome, coverage_histogram
from fmmtc_bidsapp.reports.written import finished_runs, program_version, read_json, read_table

__all__ = ["write_participant_report"]

PUBLISHED_ATLAS = "A424"
THIN_COVERAGE = 0.9
"""Below this share of its voxels a parcel is listed, though its series may be kept."""


class _Measure(NamedTuple):
    column: str
    name: str
    unit: str
    digits: int
    meaning: str


_MEASURES = (
    _Measure("n_volumes", "Volumes", "", 0, "Length of the run."),
    _Measure("tr_s", "Repetition time", "s", 3, "Time between volumes."),
    _Measure("mean_fd_mm", "Mean framewise displacement", "mm", 3, "Head motion, on average."),
    _Measure("max_fd_mm", "Largest framewise displacement", "mm", 2, "The worst jump."),
    _Measure("n_parcels", "Parcels in the atlas", "", 0, "Columns of the series."),
    _Measure("n_parcels_missing", "Missing parcels", "", 0, "Written as n/a throughout."),
    _Measure(
        "n_parcels_low_coverage", "Parcels of low coverage", "", 0, "Too few voxels held data."
    ),
    _Measure(
        "n_parcels_zero_variance", "Parcels without variance", "", 0, "Constant over the run."
    ),
    _Measure("coverage_min", "Lowest coverage", "%", 0, "Share of voxels with data, worst parcel."),
    _Measure("coverage_median", "Median coverage", "%", 0, "Share of voxels with data, typical."),
    _Measure(
        "n_voxels_nonfinite", "Voxels with NaN or infinity", "", 0, "Left out of their parcels."
    ),
    _Measure("n_voxels_constant", "Constant voxels", "", 0, "Left out of their parcels."),
    _Measure("fc_mean", "Mean connectivity", "", 3, "Mean correlation over all parcel pairs."),
    _Measure(
        "atlas_resampled", "Atlas resampled", "", 0, "Labels were brought to the grid of the data."
    ),
)


def write_participant_report(
    output_dir: Path, participant_id: str, *, problems: Sequence[tuple[str, str]] = ()
) -> Path:
    """Write the HTML report of a participant from the files of their runs.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    participant_id
        The label with its prefix, ``sub-01``.
    problems
        What failed: where, and the summary of the crash.

    Returns
    -------
    Path
        ``sub-01.html``, one file without outside assets.

    Raises
    ------
    InputError
        If a written file cannot be read.
    OutputError
        If the report cannot be written.
    """
    runs = finished_runs(output_dir, participant_id)
    pages = [_run_section(f"run{i}", run) for i, run in enumerate(runs, start=1)]
    text = participant_methods(output_dir, participant_id)
    html = render_page(
        "participant.html.jinja",
        {
            "title": participant_id,
            "lead": _lead(pages, problems),
            "sections": _sections(pages),
            "notices": _notices(runs, problems),
            "facts": _facts(runs, pages),
            "runs": pages,
            "problems": problems,
            "methods": methods_html(text) if text else "",
            "about": _about(output_dir, runs),
        },
    )
    path = participant_report(output_dir, participant_id)
    write_text(path, html)
    return path


def _sections(pages: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    runs = [(page["anchor"], page["title"]) for page in pages]
    ending = [(name.lower(), name) for name in ("Errors", "Methods", "About")]
    return [("summary", "Summary"), *runs, *ending]


def _lead(pages: Sequence[dict[str, Any]], problems: Sequence[tuple[str, str]]) -> str:
    usable = sum(page["usable"] for page in pages)
    runs = "1 run" if len(pages) == 1 else f"{len(pages)} runs"
    failed = f" {len(problems)} failed; see Errors." if problems else ""
    return f"{runs} finished, {usable} usable.{failed}" if pages else f"No run finished.{failed}"


def _notices(
    runs: Sequence[RunFiles], problems: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    others = {run.atlas: run for run in runs if run.atlas != PUBLISHED_ATLAS}
    atlases = [
        (
            f"These series were not made with {PUBLISHED_ATLAS}, but with {_atlas_title(run)}.",
            f"{_atlas_text(run)} The published encoder was trained on {PUBLISHED_ATLAS}; results "
            "on other parcels cannot be compared with it.",
        )
        for run in others.values()
    ]
    failed = [("Not everything finished.", "What failed is listed under Errors.")]
    return atlases + (failed if problems else [])


def _atlas_title(run: RunFiles) -> str:
    name = read_json(atlas_description(run.output_dir, run.atlas)).get("Name")
    return f"{name} ({run.atlas})" if name else run.atlas


def _atlas_text(run: RunFiles) -> str:
    told = read_json(run.timeseries.with_suffix(".json")).get("AtlasDescription")
    described = read_json(atlas_description(run.output_dir, run.atlas))
    return str(told or described.get("Description") or "")


def _facts(runs: Sequence[RunFiles], pages: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    sessions = _joined(f"ses-{run.entities['ses']}" for run in runs if "ses" in run.entities)
    cleaning = _joined("none (parcel means)" if r.desc == "none" else r.desc for r in runs)
    return [
        ("Runs finished", str(len(pages))),
        *([("Sessions", sessions)] if sessions else []),
        ("Atlas", _joined(run.atlas for run in runs) or "n/a"),
        ("Space", _joined(run.space for run in runs) or "n/a"),
        ("Cleaning", cleaning or "n/a"),
    ]


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _about(output_dir: Path, runs: Sequence[RunFiles]) -> list[tuple[str, str]]:
    described = {run.atlas: read_json(atlas_description(output_dir, run.atlas)) for run in runs}
    sources = read_json(dataset_description(output_dir)).get("DatasetLinks", {})
    return [
        ("Program", f"fmmtc_bidsapp {program_version(output_dir) or 'n/a'}"),
        *((f"Atlas {label}", each.get("Name", label)) for label, each in described.items()),
        *((f"Licence of {label}", each.get("License", "n/a")) for label, each in described.items()),
        *((f"Input {name}", uri) for name, uri in sources.items()),
    ]


def _run_section(anchor: str, run: RunFiles) -> dict[str, Any]:
    quality = read_table(run.qc).iloc[0]
    series = read_table(run.timeseries)
    signal = series.to_numpy(dtype=float)
    networks = _networks(run, tuple(series.columns))
    coverage = _coverage(run, tuple(series.columns))
    tr_s = None if pd.isna(quality["tr_s"]) else float(quality["tr_s"])
    min_coverage = read_json(run.timeseries.with_suffix(".json")).get("MinimumCoverage")
    return {
        "anchor": anchor,
        "title": " ".join(f"{k}-{v}" for k, v in run.entities.items() if k != "sub") or "Run",
        "usable": bool(quality["usable"]),
        "reasons": number(quality["reasons"]),
        "carpet": carpet(f"{anchor}-carpet", signal, networks, tr_s),
        "connectome": connectome(f"{anchor}-fc", _matrix(run), networks, _measure_name(run)),
        "coverage_plot": ""
        if np.isnan(coverage).all()
        else coverage_histogram(f"{anchor}-coverage", coverage, min_coverage),
        "coverage_caption": _coverage_caption(min_coverage),
        "low_parcels": _low_parcels(series, networks, coverage),
        "quality": [_quality_row(measure, quality) for measure in _MEASURES],
    }


def _measure_name(run: RunFiles) -> str:
    sidecar = read_json(run.relmat.with_suffix(".json"))
    return str(sidecar.get("RelationshipMeasure", "connectivity"))


def _matrix(run: RunFiles) -> NDArray[np.float64]:
    return read_table(run.relmat).set_index("Node").to_numpy(dtype=float)


def _networks(run: RunFiles, parcels: tuple[str, ...]) -> tuple[str, ...]:
    table = read_table(atlas_files(run.output_dir, run.space, run.atlas, run.res)[1])
    if "network" not in table:
        return ("n/a",) * len(parcels)
    of_parcel = table.set_index("name")["network"].fillna("n/a")
    return tuple(of_parcel.reindex(list(parcels), fill_value="n/a"))


def _coverage(run: RunFiles, parcels: tuple[str, ...]) -> NDArray[np.float64]:
    """(parcel,) share of voxels with data; NaN throughout where it was not written."""
    table = read_table(run.coverage)
    if table.empty:
        return np.full(len(parcels), np.nan)
    return table.set_index("Node")["coverage"].reindex(list(parcels)).to_numpy(dtype=float)


def _coverage_caption(min_coverage: float | None) -> str:
    limit = (
        ""
        if min_coverage is None
        else f" Dashed: below {percent(min_coverage)} a parcel becomes n/a."
    )
    return (
        f"Share of each parcel's voxels that hold data; the vertical scale is logarithmic.{limit}"
    )


def _low_parcels(
    series: pd.DataFrame, networks: tuple[str, ...], coverage: NDArray[np.float64]
) -> list[dict[Hashable, Any]]:
    """List the parcels without a series or with thin coverage, the thinnest first."""
    table = pd.DataFrame(
        {
            "name": series.columns,
            "network": networks,
            "share": coverage,
            "missing": series.isna().all().to_numpy(),
        }
    )
    low = table[table["missing"] | (table["share"] < THIN_COVERAGE)].sort_values(
        ["missing", "share"], ascending=[False, True], kind="stable"
    )
    texts = [percent(each) for each in low["share"]]
    return low.assign(coverage=texts).to_dict("records")


def _quality_row(measure: _Measure, quality: pd.Series) -> dict[str, str]:
    value = quality[measure.column]
    if isinstance(value, bool | np.bool_):
        text = "yes" if value else "no"
    else:
        text = number(value * 100 if measure.unit == "%" else value, measure.digits)
    unit = f" {measure.unit}" if measure.unit and text != "n/a" else ""
    return {"name": measure.name, "value": text + unit, "meaning": measure.meaning}

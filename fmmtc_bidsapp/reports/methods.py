"""The methods text of a dataset, written from what its sidecars say was applied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fmmtc_bidsapp.bidsio.names import GroupFiles, RunFiles, atlas_description
from fmmtc_bidsapp.bidsio.write import write_text
from fmmtc_bidsapp.reports.bibliography import (
    boilerplate_dir,
    cited_keys,
    references,
    spell_citations,
)
from fmmtc_bidsapp.reports.written import (
    finished_runs,
    participants,
    program_version,
    read_json,
    read_table,
)

__all__ = ["flat_options", "group_methods", "participant_methods", "write_citation"]

_NORMALISATIONS = {
    "scan": "each parcel centred, the scan divided by its median parcel SD",
    "zscore": "each parcel centred and divided by its own SD",
    "none": "in scanner units",
}
_SHORT_SERIES = {
    "drop-patches": "Patches that a short series does not fill were left out.",
    "zero-pad": "Short series were padded with zeros.",
    "refuse": "Series shorter than a window were excluded.",
}


def participant_methods(output_dir: Path, participant_id: str | None = None) -> str:
    """Write how the parcel series and matrices were made.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    participant_id
        Only this participant's runs (``sub-01``); everyone's by default.

    Returns
    -------
    str
        Markdown with citations as ``[@key]``; empty when no run is finished.
    """
    people = participants(output_dir) if participant_id is None else [participant_id]
    runs = [run for person in people for run in finished_runs(output_dir, person)]
    if not runs:
        return ""
    series = [read_json(run.timeseries.with_suffix(".json")) for run in runs]
    matrices = [read_json(run.relmat.with_suffix(".json")) for run in runs]
    return _render(
        "participant.md.jinja",
        {
            "n_runs": len(runs),
            "version": program_version(output_dir),
            "spaces": sorted({run.space for run in runs}),
            "atlases": _atlases(runs),
            "resampled": any(_true(run.qc, "atlas_resampled") for run in runs),
            "filters": _distinct(_listed(each.get("SoftwareFilters")) for each in series),
            "confounds": _distinct(_listed(each.get("ConfoundRegressors")) for each in series),
            "measures": _distinct(_listed(each.get("RelationshipMeasure")) for each in matrices),
        },
    )


def group_methods(output_dir: Path, label: str) -> str:
    """Write how the people of a label were analysed.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    label
        Of the analysis, as in ``group_desc-<label>_…``.

    Returns
    -------
    str
        Markdown with citations as ``[@key]``.
    """
    files = GroupFiles(output_dir, label)
    about = read_json(files.metrics.with_suffix(".json"))
    names: dict[str, str] = about.get("ModelNames", {})
    main = about.get("MainModel", "fmmtc")
    predictions = read_table(files.predictions)
    return _render(
        "group.md.jinja",
        {
            "label": label,
            "version": program_version(output_dir),
            "trained": files.learning.exists(),
            "n": about.get("N", _n_people(predictions)),
            "n_positive": about.get("NPositive", "n/a"),
            "target": about.get("Target", "the target"),
            "positive": about.get("PositiveValue", 1),
            "encoder": about.get("Encoder"),
            "models": list(names),
            "baselines": [name for model, name in names.items() if model != main],
            # An option that the file does not name is None: the text then leaves it out.
            "o": defaultdict(lambda: None, flat_options(about.get("Options", {}))),
            "normalisations": _NORMALISATIONS,
            "short_series": _SHORT_SERIES,
        },
    )


def write_citation(output_dir: Path) -> None:
    """Write ``logs/CITATION.md`` and ``logs/CITATION.bib`` for everything in the dataset.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    """
    labels = sorted(
        path.name.removeprefix("group_desc-").removesuffix("_predictions.tsv")
        for path in (output_dir / "group").glob("group_desc-*_predictions.tsv")
    )
    sections = {"Parcel series and connectivity": participant_methods(output_dir)} | {
        f"Analysis {label}": group_methods(output_dir, label) for label in labels
    }
    text = "\n".join(f"## {title}\n\n{body}" for title, body in sections.items() if body)
    keys = cited_keys(text)
    listed = "\n".join(
        f"- {known.short}. {known.fields['title']}. {known.venue}. {known.link or ''}"
        for known in (references()[key] for key in keys)
    )
    markdown = f"# Methods\n\n{spell_citations(text)}\n## References\n\n{listed}\n"
    write_text(output_dir / "logs" / "CITATION.md", markdown)
    entries = "\n\n".join(references()[key].bibtex for key in keys)
    write_text(output_dir / "logs" / "CITATION.bib", entries + "\n")


def flat_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the groups of options of a plan side by side: name to value."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat


def _render(template: str, context: Mapping[str, Any]) -> str:
    # Markdown, not HTML: whatever puts this text into a page escapes it there.
    environment = Environment(
        loader=FileSystemLoader(boilerplate_dir()),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(context)


def _atlases(runs: Iterable[RunFiles]) -> list[dict[str, Any]]:
    one_run_each = {run.atlas: run for run in runs}
    return [
        {
            "label": label,
            "title": read_json(atlas_description(run.output_dir, label)).get("Name", label),
            "n_parcels": int(read_table(run.qc)["n_parcels"].iloc[0]),
        }
        for label, run in sorted(one_run_each.items())
    ]


def _true(quality: Path, column: str) -> bool:
    return bool(read_table(quality)[column].iloc[0])


def _listed(value: object) -> list[str]:
    if value is None or value == "n/a":
        return []
    return [str(each) for each in value] if isinstance(value, list | dict) else [str(value)]


def _distinct(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(each for members in lists for each in members))


def _n_people(predictions: Any) -> int:
    columns = ["participant_id", "session_id"]
    return 0 if predictions.empty else len(predictions[columns].drop_duplicates())

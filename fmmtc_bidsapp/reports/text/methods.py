"""The methods text of a dataset, from its sidecars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import QUALITY_PATTERN, GroupFiles, citation
from fmmtc_bidsapp.bidsio.files.origin import NOT_STATED, origin_of
from fmmtc_bidsapp.records import Origin
from fmmtc_bidsapp.reports.data.bibliography import (
    boilerplate_dir,
    cited_keys,
    escaped,
    references,
    spell_citations,
)
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words
from fmmtc_bidsapp.reports.data.outputs import (
    combined_matrices,
    finished_runs,
    origin_of_runs,
    participants,
    program_version,
    read_json,
    read_table,
)
from fmmtc_bidsapp.reports.text.pandoc import converted
from fmmtc_bidsapp.reports.text.processing_summary import cleanings, matrices, parcellations

__all__ = [
    "flat_options",
    "group_methods",
    "methods_sections",
    "package_versions",
    "participant_methods",
    "write_citation",
]

_NORMALISATIONS = {
    "scan": "each parcel centred, the scan divided by its median parcel SD",
    "zscore": "each parcel centred and divided by its own SD",
    "robust": "each parcel less its median and divided by its interquartile range, both of the "
    "training people of the fold",
    "none": "in scanner units",
}
_SHORT_SERIES = {
    "drop-patches": "Patches that a short series does not fill were left out.",
    "zero-pad": "Short series were padded with zeros.",
    "refuse": "Series shorter than a window were excluded.",
}


def participant_methods(output_dir: Path, participant_id: str | None = None) -> str:
    """Write the methods of a participant's runs, or of all, in Markdown with ``[@key]``."""
    people = participants(output_dir) if participant_id is None else [participant_id]
    runs = [run for person in people for run in finished_runs(output_dir, person)]
    if not runs:
        return ""
    combined = [each for person in people for each in combined_matrices(output_dir, person)]
    return _render(
        "participant.md.jinja",
        {
            "n_runs": len({tuple(run.entities.items()) for run in runs}),
            "version": program_version(output_dir),
            "packages": package_versions(),
            "spaces": sorted({run.space for run in runs}),
            "origin": _origin(origin_of_runs(runs)),
            "parcellations": parcellations(runs),
            "cleanings": cleanings(runs),
            "matrices": matrices(runs, combined),
        },
    )


def group_methods(output_dir: Path, label: str) -> str:
    """Write how the participants of a label were analysed, in Markdown with ``[@key]``."""
    files = GroupFiles(output_dir, label)
    about = read_json(files.metrics.with_suffix(".json"))
    names: dict[str, str] = about.get("ModelNames", {})
    main = about.get("MainModel", "fmmtc")
    predictions = read_table(files.predictions)
    return _render(
        "group.md.jinja",
        {
            "label": label,
            "origin": _origin(origin_of(about) or Origin()),
            "version": program_version(output_dir),
            "trained": not predictions.empty and bool(predictions["fold"].notna().any()),
            "n": about.get("N", _n_people(predictions)),
            "n_positive": about.get("NPositive", "n/a"),
            "positive": escaped(outcome_words(about)["1"]),
            "negative": escaped(outcome_words(about)["0"]),
            "encoder": about.get("Encoder"),
            "encoder_title": escaped(str(about.get("EncoderTitle", about.get("Encoder")))),
            "models": _models(files) or list(names),
            "main": names.get(main, main),
            "baselines": [names.get(model, model) for model in _models(files) if model != main],
            "permutations": sorted({n for n in about.get("Permutations", {}).values() if n}),
            "compared": about.get("Analysis") == "compare",
            # An option that the file does not name is None: the text then leaves it out.
            "o": defaultdict(lambda: None, _escaped(flat_options(about.get("Options", {})))),
            "missing_covariates": [
                (escaped(name), n) for name, n in about.get("MissingCovariates", {}).items() if n
            ],
            "normalisations": _NORMALISATIONS,
            "short_series": _SHORT_SERIES,
        },
    )


def _origin(origin: Origin) -> dict[str, Any]:
    """Format the origin of the images for a template."""
    named = [each for each in origin.made_by if each != NOT_STATED]
    return {
        "simulated": origin.simulated,
        "made_by": [
            {"name": escaped(name), "is_fmriprep": name.split()[0].lower() == "fmriprep"}
            for name in named
        ],
        "partly": NOT_STATED in origin.made_by,
    }


def methods_sections(output_dir: Path) -> dict[str, str]:
    """Write every section of the methods text, by title; empty where nothing is finished."""
    labels = sorted(
        path.name.removeprefix("group_desc-").removesuffix("_predictions.tsv")
        for path in (output_dir / "group").glob("group_desc-*_predictions.tsv")
    )
    sections = {"Parcel series and connectivity": participant_methods(output_dir)} | {
        f"Analysis {label}": group_methods(output_dir, label) for label in labels
    }
    return {title: body for title, body in sections.items() if body}


def write_citation(output_dir: Path) -> None:
    """Write the methods text into ``logs/CITATION.*``, again if another call finished a run.

    HTML and LaTeX need pandoc.
    """
    seen = _finished(output_dir)
    _write_citation(output_dir)
    while (now := _finished(output_dir)) != seen:
        seen = now
        _write_citation(output_dir)


def _finished(output_dir: Path) -> dict[Path, int]:
    """Return the date of the last file of each run and analysis."""
    patterns = (QUALITY_PATTERN, "group/group_desc-*.json")
    dates = {}
    for path in (path for each in patterns for path in output_dir.glob(each)):
        # Another run may take it away meanwhile.
        with suppress(FileNotFoundError):
            dates[path] = path.stat().st_mtime_ns
    return dates


def _write_citation(output_dir: Path) -> None:
    sections = methods_sections(output_dir)
    text = "\n".join(f"## {title}\n\n{body}" for title, body in sections.items())
    keys = cited_keys(text)
    listed = "\n".join(
        f"- {known.short}. {known.fields['title']}. {known.venue}. {known.link or ''}"
        for known in (references()[key] for key in keys)
    )
    path = citation(output_dir)
    bibliography = path.with_suffix(".bib")
    entries = "\n\n".join(references()[key].bibtex for key in keys)
    write_text(bibliography, entries + "\n")
    for suffix, other in converted(f"{text}\n## References\n", bibliography).items():
        write_text(path.with_suffix(suffix), other)
    # Last, as its being there says that all of them are.
    write_text(path, f"# Methods\n\n{spell_citations(text)}\n## References\n\n{listed}\n")


def flat_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a plan without their groups, name to value."""
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


def _escaped(value: Any) -> Any:
    """Escape all text in options, which names columns and values of other people's tables."""
    if isinstance(value, Mapping):
        return {name: _escaped(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return escaped(value) if isinstance(value, str) else value


def _models(files: GroupFiles) -> list[str]:
    """List the models that were judged, random guesses aside."""
    metrics = read_table(files.metrics)
    return [] if metrics.empty else [m for m in metrics["model"].unique() if m != "random"]


def _n_people(predictions: Any) -> int:
    columns = ["participant_id", "session_id"]
    return 0 if predictions.empty else len(predictions[columns].drop_duplicates())


_PACKAGES = (
    *("nibabel", "nilearn", "nipype", "nireports", "numpy", "pandas", "pybids"),
    *("scikit-learn", "scipy", "templateflow"),
)


def package_versions() -> dict[str, str]:
    """List the versions of the packages the participant level uses, as far as installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # A dependency that this installation does without.
            continue
    return found

"""The participant report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import (
    RunFiles,
    atlas_description,
    dataset_description,
    participant_report,
)
from fmmtc_bidsapp.reports.data.outputs import (
    Combined,
    combined_matrices,
    crash_files,
    finished_runs,
    last_plan,
    program_version,
    read_json,
)
from fmmtc_bidsapp.reports.pages.assemble import assemble
from fmmtc_bidsapp.reports.pages.heading import participant_heading
from fmmtc_bidsapp.reports.pages.render import methods_html, render_part
from fmmtc_bidsapp.reports.pages.run_section import (
    RunSection,
    Section,
    combined_section,
    run_section,
)
from fmmtc_bidsapp.reports.text.methods import package_versions, participant_methods

__all__ = ["write_participant_report"]

PUBLISHED_ATLAS = "A424"
_TEMPLATE = "participant.html.jinja"
_WITHOUT_RUNS = ("Methods", "Errors", "About")


def write_participant_report(
    output_dir: Path, participant_id: str, *, problems: Sequence[tuple[str, str]] = ()
) -> Path:
    """Write ``sub-01.html``; ``problems`` are places and reasons of what was left out."""
    files = finished_runs(output_dir, participant_id)
    combined = combined_matrices(output_dir, participant_id)
    distinguishing = _distinguishing([*files, *(each.files for each in combined)])
    runs = [
        run_section(f"run{i}", _title(run, distinguishing), run)
        for i, run in enumerate(files, start=1)
    ]
    matrices = _combined_sections(combined, runs, distinguishing)
    plan = last_plan(output_dir, participant_id)
    left_out = [{"where": where, "text": text, "summary": ""} for where, text in problems]
    crashes = [_crash(path) for path in crash_files(output_dir, participant_id)]
    text = participant_methods(output_dir, participant_id)
    pieces = {
        "summary": _part("summary", _summary(files, runs, [*left_out, *crashes])),
        "methods": _part("methods", {"text": methods_html(text) if text else ""}),
        "errors": _part("errors", {"problems": [*left_out, *crashes]}),
        "about": _part("about", _about(output_dir, files, plan)),
    }
    frame = {
        "header": _part("head", {"title": participant_id}),
        "navbar": _part(
            "top",
            _top(participant_id, runs, matrices, len(left_out) + len(crashes))
            | {"heading": participant_heading(output_dir, participant_id, files)},
        ),
        "footer": _part("footer", {}),
    }
    path = participant_report(output_dir, participant_id)
    write_text(path, assemble(frame, pieces, [each.pieces for each in (*runs, *matrices)]))
    return path


def _part(name: str, values: Mapping[str, Any]) -> Markup:
    return render_part(_TEMPLATE, name, values)


def _distinguishing(runs: Sequence[RunFiles]) -> list[str]:
    """List what tells runs of the same entities from each other."""
    kinds = ("desc", "space", "res", "den", "atlas")
    return [kind for kind in kinds if len({getattr(run, kind) for run in runs}) > 1]


def _title(run: RunFiles, distinguishing: Sequence[str]) -> str:
    own = [f"{key}-{value}" for key, value in run.entities.items() if key != "sub"]
    others = [f"{kind}-{getattr(run, kind)}" for kind in distinguishing if getattr(run, kind)]
    return " ".join([*own, *others]) or "Run"


def _combined_sections(
    combined: Sequence[Combined], runs: Sequence[RunSection], distinguishing: Sequence[str]
) -> list[Section]:
    shown = {run.title: run for run in runs}
    return [
        combined_section(
            f"combined{i}",
            _title(each.files, distinguishing),
            each,
            [_title(run, distinguishing) for run in each.runs],
            shown,
        )
        for i, each in enumerate(combined, start=1)
    ]


def _top(
    participant_id: str,
    runs: Sequence[RunSection],
    matrices: Sequence[Section],
    n_problems: int,
) -> dict[str, Any]:
    return {
        "title": participant_id,
        "lead": _lead(runs, n_problems),
        "sections": [
            ("summary", "Summary"),
            *((each.anchor, each.title) for each in (*runs, *matrices)),
            *((name.lower(), name) for name in _WITHOUT_RUNS),
        ],
    }


def _lead(runs: Sequence[RunSection], n_problems: int) -> str:
    usable = sum(run.usable for run in runs)
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    failed = f" {n_problems} left out or failed; see Errors." if n_problems else ""
    return f"{counted} finished, {usable} usable.{failed}" if runs else f"No run finished.{failed}"


def _summary(
    files: Sequence[RunFiles], runs: Sequence[RunSection], problems: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    done = [
        {"title": run.title, "anchor": run.anchor, "result": run.result, "reason": run.reasons}
        for run in runs
    ]
    left_out = [
        {
            "title": each["where"],
            "anchor": "",
            "result": "not processed",
            "reason": each["summary"] or _first_line(each["text"]),
        }
        for each in problems
    ]
    return {
        "notices": _notices(files, problems),
        "facts": _facts(files),
        "runs": [*done, *left_out],
    }


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _notices(
    runs: Sequence[RunFiles], problems: Sequence[Mapping[str, str]]
) -> list[tuple[str, str]]:
    others = {run.atlas: run for run in runs if run.atlas != PUBLISHED_ATLAS}
    atlases = [
        (
            f"The atlas is {_atlas_title(run)}, not {PUBLISHED_ATLAS}.",
            f"{_atlas_text(run)}BrainLM was trained on {PUBLISHED_ATLAS}; results on other "
            "parcels cannot be compared with it.",
        )
        for run in others.values()
    ]
    failed = [("Something failed or was left out.", "See Errors.")]
    return atlases + (failed if problems else [])


def _atlas_title(run: RunFiles) -> str:
    name = read_json(atlas_description(run.output_dir, run.atlas)).get("Name")
    return f"{name} ({run.atlas})" if name else run.atlas


def _atlas_text(run: RunFiles) -> str:
    """Return the description of the atlas as a sentence; empty where it is the name."""
    described = read_json(atlas_description(run.output_dir, run.atlas))
    text = str(_sidecar(run).get("AtlasDescription") or described.get("Description") or "")
    return "" if text in ("", described.get("Name")) else f"{text.rstrip('.')}. "


def _sidecar(run: RunFiles) -> dict[str, Any]:
    return read_json(run.timeseries.with_suffix(".json"))


def _facts(runs: Sequence[RunFiles]) -> list[tuple[str, str]]:
    sessions = _joined(f"ses-{run.entities['ses']}" for run in runs if "ses" in run.entities)
    return [
        ("Runs finished", str(len(runs))),
        *([("Sessions", sessions)] if sessions else []),
        ("Atlas", _joined(run.atlas for run in runs) or "n/a"),
        ("Space", _joined(run.space for run in runs) or "n/a"),
        ("Cleaning", _joined(_cleaning(run) for run in runs) or "n/a"),
        ("Atlas resampling", _joined(_carried(run) for run in runs) or "n/a"),
    ]


def _cleaning(run: RunFiles) -> str:
    title = _sidecar(run).get("CleaningTitle")
    if title is None:
        return "none (parcel means)" if run.desc == "none" else run.desc
    return f"{run.desc} ({title})"


def _carried(run: RunFiles) -> str:
    sidecar = _sidecar(run)
    transform = sidecar.get("AtlasTransform", "n/a")
    if transform != "n/a":
        return f"through {transform}"
    how = str(sidecar.get("AtlasResampling", "n/a"))
    return "not needed" if how == "none" else how


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _crash(path: Path) -> dict[str, str]:
    """Summarise a crash by the last line of its traceback."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {"where": path.name, "text": text, "summary": lines[-1] if lines else "An empty file."}


def _about(output_dir: Path, runs: Sequence[RunFiles], plan: Path | None) -> dict[str, Any]:
    dataset = read_json(dataset_description(output_dir))
    made_by: dict[str, Any] = next(iter(dataset.get("GeneratedBy", [])), {})
    container = made_by.get("Container", {}).get("Tag")
    hashes = made_by.get("ConfigurationHash", {})
    described = {run.atlas: read_json(atlas_description(output_dir, run.atlas)) for run in runs}
    return {
        "facts": [
            ("Program", f"fmmtc_bidsapp {program_version(output_dir) or 'n/a'}"),
            *([("Container", container)] if container else []),
            *((f"Configuration of {desc}", each) for desc, each in hashes.items()),
            *((f"Atlas {label}", each.get("Name", label)) for label, each in described.items()),
            *(
                (f"Licence of {label}", each.get("License", "n/a"))
                for label, each in described.items()
            ),
            *((f"Input {name}", uri) for name, uri in dataset.get("DatasetLinks", {}).items()),
        ],
        "packages": list(package_versions().items()),
        "plan": "" if plan is None else plan.read_text(encoding="utf-8"),
    }

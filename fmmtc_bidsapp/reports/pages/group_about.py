"""Last section of the group report: options and files."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fmmtc_bidsapp.bidsio.files.names import GroupFiles, group_motion_connectivity
from fmmtc_bidsapp.reports.data.group_analysis import Analysis
from fmmtc_bidsapp.reports.data.outputs import program_version
from fmmtc_bidsapp.reports.text.group_tables import text_of
from fmmtc_bidsapp.reports.text.methods import flat_options

__all__ = ["about_section"]

_LARGEST_TABLE = 3_000_000
"""Characters of a written table that the page takes in, so that it can be saved from there."""


def about_section(analysis: Analysis) -> dict[str, Any]:
    """Return what ran, the files, and the text of each table that the page shows rounded."""
    about = {"about": _about(analysis), "options": _options(analysis)}
    return about | _files(analysis.files)


def _about(analysis: Analysis) -> list[tuple[str, str]]:
    version = program_version(analysis.files.output_dir) or "n/a"
    keys = {
        "Atlas": "Atlas",
        "EncoderTitle" if "EncoderTitle" in analysis.about else "Encoder": "Encoder",
        "EncoderDigest": "Digest of its weights",
        "Normalisation": "Normalisation",
        "Device": "Device",
        "Precision": "Precision",
        "NumberOfWindows": "Windows encoded",
        "PatchesLeftOut": "Unfilled patches of short series, left out",
        "ParcelsLeftOut": "Parcels without data, summed over people",
        "EdgesImputed": "Edges imputed from the training people",
        "OrderSpread": "Relative spread over token orders",
        "Selection": "Selection of the epoch",
        "Seeds": "Training runs per network",
    }
    facts = [
        (name, f"{value:.3g}" if isinstance(value, float) else str(value))
        for key, name in keys.items()
        if (value := analysis.about.get(key)) is not None
    ]
    return [("Program", f"fmmtc_bidsapp {version}"), ("Label", analysis.files.label), *facts]


def _options(analysis: Analysis) -> list[tuple[str, str]]:
    """Format every option; lists by their members."""
    flat = sorted(flat_options(analysis.about.get("Options", {})).items())
    return [
        (name, ", ".join(map(str, value)) or "none")
        if isinstance(value, list)
        else (name, text_of(value))
        for name, value in flat
    ]


def _files(files: GroupFiles) -> dict[str, Any]:
    """List what the report was made from, and take in the tables that it shows rounded."""
    own = sorted(files.report.parent.glob(f"{files.report.stem.removesuffix('report')}*"))
    shown = {
        "eligibility": files.eligibility, "exclusions": files.exclusions,
        "metrics": files.metrics, "comparison": files.comparison, "arms": files.arms,
        "predictions": files.predictions, "modality": files.modality,
        "attributions": files.attributions, "qcfc": group_motion_connectivity(files.output_dir),
    }  # fmt: skip
    texts = {
        name: path.read_text(encoding="utf-8") for name, path in shown.items() if path.is_file()
    }
    return {
        "written": {name: text for name, text in texts.items() if len(text) <= _LARGEST_TABLE},
        "files": [(path.name, quote(path.name)) for path in own if path.is_file()
                  and path != files.report],
    }  # fmt: skip

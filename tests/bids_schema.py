"""BIDS validation of what we write, with the names that BIDS has no rule for yet added to it.

The stock schema knows no ``timeseries``, ``relmat`` or ``stat-``; a ``.bidsignore`` hides such
files, and with them every misspelt name. The extended schema has a rule for each, so that it can
be run with an empty ``.bidsignore``. What a schema cannot allow, a report per participant and the
folders ``figures`` and ``log`` of a subject, is left out of the copy that is validated.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bidsschematools.schema import load_schema

_OWN_SUFFIXES = ("timeseries", "relmat", "outliers", "design", "qc")
_OPAQUE_AT_ROOT = ("group", "models")


def extended_schema() -> dict[str, Any]:
    """BIDS's schema with one rule for each kind of file that is ours alone."""
    schema: dict[str, Any] = load_schema().to_dict()
    _add_statistic(schema)
    for suffix in _OWN_SUFFIXES:
        text = {"value": suffix, "display_name": suffix, "description": suffix}
        schema["objects"]["suffixes"][suffix] = text
    files = schema["rules"]["files"]["deriv"]["imaging"]
    run = dict(files["func_volumetric"]["entities"])
    volumes = run | {"description": "required"}
    run |= {"space": "required", "atlas": "required", "density": "optional"}
    statistic = run | {"statistic": "required"}
    cleaned = statistic | {"description": "required"}
    files["own_timeseries"] = _rule(cleaned, "timeseries", [".tsv", ".json"])
    files["own_relmat"] = _rule(cleaned, "relmat", [".tsv", ".json"])
    files["own_coverage"] = _rule(statistic, "bold", [".tsv", ".json"])
    for suffix in ("outliers", "design"):
        files[f"own_{suffix}"] = _rule(volumes, suffix, [".tsv", ".json"])
    files["own_qc"] = _rule(run | {"description": "required"}, "qc", [".tsv"])
    _add_folders(schema)
    return schema


def _add_statistic(schema: dict[str, Any]) -> None:
    text = "Statistic over a parcel or an edge."
    entity = {"name": "stat", "display_name": "Statistic", "description": text}
    entity |= {"type": "string", "format": "label"}
    schema["objects"]["entities"]["statistic"] = entity
    order = schema["rules"]["entities"]
    order.insert(order.index("description"), "statistic")


def _rule(entities: dict[str, str], suffix: str, extensions: list[str]) -> dict[str, Any]:
    return {
        "entities": entities,
        "suffixes": [suffix],
        "extensions": extensions,
        "datatypes": ["func"],
        "selectors": ["dataset.dataset_description.DatasetType == 'derivative'"],
    }


def _add_folders(schema: dict[str, Any]) -> None:
    folders = schema["rules"]["directories"]["derivative"]
    for name in _OPAQUE_AT_ROOT:
        folders[name] = {"name": name, "level": "optional", "opaque": True}
        folders["root"]["subdirs"].append(name)
        path = {"level": "optional", "path": name}
        schema["rules"]["files"]["common"]["core"][name] = path


def validate(dataset: Path, *, extended: bool) -> list[str]:
    """Errors of a dataset, one line each.

    With ``extended`` the schema is ours and the dataset's ``.bidsignore`` is not looked at;
    without, both are as a user has them.
    """
    if not extended:
        return _errors(dataset)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "dataset"
        shutil.copytree(dataset, copy, ignore=_without_a_place)
        (copy / ".bidsignore").write_text("")
        schema = Path(folder) / "schema.json"
        schema.write_text(json.dumps(extended_schema()))
        return _errors(copy, "--schema", schema.as_uri())


def _without_a_place(folder: str, names: list[str]) -> list[str]:
    if Path(folder).name.startswith("sub-"):
        return [name for name in names if name in ("figures", "log")]
    return fnmatch.filter(names, "sub-*.html")


def _errors(dataset: Path, *options: str) -> list[str]:
    program = Path(sys.executable).with_name("bids-validator-deno")
    command = [str(program), str(dataset), "--format", "json", "--ignoreWarnings", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 16), done.stderr
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [
        f"{each['code']} {each.get('location', '')} {each.get('issueMessage', '')}".strip()
        for each in issues
    ]


if __name__ == "__main__":
    problems = [
        error
        for extended in (True, False)
        for error in validate(Path(sys.argv[1]), extended=extended)
    ]
    print("\n".join(problems) or f"{sys.argv[1]} is valid BIDS")
    sys.exit(bool(problems))

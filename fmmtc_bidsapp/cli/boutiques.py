"""The Boutiques descriptor of ``fmmtc``, made from its parser (https://boutiques.github.io)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.cli.flags import EXIT_CODES, build_parser

__all__ = ["descriptor", "render_descriptor"]

_SCHEMA_VERSION = "0.5"
_TO_BE_MADE = ("output_dir", "work_dir", "bids_database_dir")
"""Paths that need not exist, as a File of Boutiques must."""
_NOT_A_RUN = ("help", "version")
_MODES = "mode"
_NUMBERS: Mapping[Any, Mapping[str, Any]] = {
    int: {"type": "Number", "integer": True},
    float: {"type": "Number"},
}


def descriptor() -> dict[str, Any]:
    """Return the descriptor: inputs in the order of the help, output, exit codes."""
    parser = build_parser()
    actions = [each for each in parser._actions if each.dest not in _NOT_A_RUN]
    inputs = [_input(each) for each in actions]
    # Boutiques fills in the values in this order, and a list ends at the next flag.
    places = " ".join(each["value-key"] for each in inputs)
    modes = [_identifier(each) for each in actions if each.dest == _MODES]
    return {
        "name": parser.prog,
        "description": parser.description,
        "tool-version": __version__,
        "schema-version": _SCHEMA_VERSION,
        "command-line": f"{parser.prog} {places}",
        "inputs": inputs,
        "groups": [
            {
                "id": "modes",
                "name": "instead of a run",
                "members": modes,
                "mutually-exclusive": True,
            }
        ],
        "output-files": [
            {
                "id": "derivatives_written",
                "name": "The BIDS derivative dataset",
                "path-template": "[OUTPUT_DIR]",
                "optional": True,
            }
        ],
        "error-codes": [
            {"code": code, "description": text} for code, text in EXIT_CODES.items() if code
        ],
        "tags": {"domain": ["neuroinformatics", "fmri", "bids-app"]},
    }


def render_descriptor() -> str:
    """Return the descriptor as the text of ``fmmtc.json``."""
    return json.dumps(descriptor(), indent=2, ensure_ascii=False) + "\n"


def _identifier(action: argparse.Action) -> str:
    flag = _flag(action)
    return flag.lstrip("-").replace("-", "_") if flag else action.dest


def _flag(action: argparse.Action) -> str:
    """Return the first long flag; empty for a positional argument."""
    return next((each for each in action.option_strings if each.startswith("--")), "")


def _input(action: argparse.Action) -> dict[str, Any]:
    name, flag = _identifier(action), _flag(action)
    described: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        # The help of argparse is %-formatted.
        "description": (action.help or "").replace("%%", "%"),
        "value-key": f"[{name.upper()}]",
        "optional": not action.required,
        **_kind(action),
    }
    if flag:
        described["command-line-flag"] = flag
    if action.nargs == "+":
        described["list"] = True
    if action.choices:
        described["value-choices"] = list(action.choices)
    return described


def _kind(action: argparse.Action) -> Mapping[str, Any]:
    if action.nargs == 0:
        return {"type": "Flag"}
    if action.type is Path and action.dest not in _TO_BE_MADE:
        return {"type": "File"}
    return _NUMBERS.get(action.type, {"type": "String"})

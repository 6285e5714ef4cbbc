"""The command ``fmmtc-tools``: a dataset with known truth, and files for the cache."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.cli.main import run_guarded
from fmmtc_bidsapp.cli.parser import add_options, given, hyphenated
from fmmtc_bidsapp.simulate.options import SimulationOptions

__all__ = ["build_parser", "main"]

_NO_EFFECT = "none"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``fmmtc-tools``."""
    parser = argparse.ArgumentParser(
        prog="fmmtc-tools",
        description="What fmmtc needs around it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fmmtc-tools {__version__}")
    tools = parser.add_subparsers(dest="tool", required=True, metavar="{simulate,fetch}")
    _add_simulate(tools.add_parser("simulate", help="write a dataset with a known ground truth"))
    _add_fetch(tools.add_parser("fetch", help="download files that are not ours to ship"))
    return parser


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="folder of the new BIDS dataset")
    parser.add_argument(
        "--atlas",
        default="auto",
        help="A424, a path, demo (a parcellation made for demonstration), or auto: A424 where it "
        "can be had, else demo (default: auto)",
    )
    parser.add_argument(
        "--parcels", type=int, default=424, metavar="N", help="of demo, even (default: 424)"
    )
    parser.add_argument(
        "--voxel-size-mm", type=float, default=4.0, metavar="MM", help="edge (default: 4.0)"
    )
    parser.add_argument(
        "--dtype",
        choices=("int16", "float32"),
        default="int16",
        help="of the images (default: int16)",
    )
    add_options(parser, "the study", SimulationOptions)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=("atlas", "templates"),
        help="atlas: A424 (GPL-3.0), into the cache; templates: the transforms between "
        "MNI152NLin6Asym and MNI152NLin2009cAsym and their brain masks, into TEMPLATEFLOW_HOME",
    )


def _simulate(values: dict[str, object]) -> int:
    from fmmtc_bidsapp.tools.simulate import simulate

    chosen = given(SimulationOptions, values)
    if chosen.get("effects") == (_NO_EFFECT,):
        chosen["effects"] = ()
    return simulate(
        Path(str(values["out"])).absolute(),
        SimulationOptions(**chosen),
        atlas=str(values["atlas"]),
        parcels=int(str(values["parcels"])),
        voxel_size_mm=float(str(values["voxel_size_mm"])),
        dtype=str(values["dtype"]),
    )


def _fetch(values: dict[str, object]) -> int:
    from fmmtc_bidsapp.tools.fetch import fetch

    return fetch(str(values["what"]))


_TOOLS = {"simulate": _simulate, "fetch": _fetch}


def _run(argv: Sequence[str]) -> int:
    values = vars(build_parser().parse_args(hyphenated(argv)))
    return _TOOLS[values["tool"]](values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fmmtc-tools``; returns the exit code."""
    return run_guarded("fmmtc-tools", lambda: _run(sys.argv[1:] if argv is None else argv))

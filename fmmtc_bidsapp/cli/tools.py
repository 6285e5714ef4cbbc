"""The command ``fmmtc-tools``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.cli.encoding import require_utf8, restart_in_utf8
from fmmtc_bidsapp.cli.main import run_guarded
from fmmtc_bidsapp.cli.parser import add_options, given, hyphenated
from fmmtc_bidsapp.cli.surroundings import require_system
from fmmtc_bidsapp.simulate.options import SimulationOptions

__all__ = ["build_parser", "main"]

_NO_EFFECT = "none"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``fmmtc-tools``."""
    parser = argparse.ArgumentParser(
        prog="fmmtc-tools",
        description="Fetch files for fmmtc, check this machine, simulate a dataset.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fmmtc-tools {__version__}")
    tools = parser.add_subparsers(
        dest="tool", required=True, metavar="{simulate,fetch,check,genotypes,boutiques}"
    )
    _add_simulate(tools.add_parser("simulate", help="write a dataset with a known ground truth"))
    _add_fetch(tools.add_parser("fetch", help="download files that this package may not include"))
    _add_check(tools.add_parser("check", help="check whether a run can start here"))
    _add_genotypes(tools.add_parser("genotypes", help="write quality tables of a genotype file"))
    tools.add_parser("boutiques", help="print the Boutiques descriptor of fmmtc")
    return parser


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="folder of the new BIDS dataset")
    parser.add_argument(
        "--atlas",
        default="auto",
        help="A424, a path, demo (a parcellation made for demonstration), or auto: A424 where it "
        "is available, else demo (default: auto)",
    )
    parser.add_argument(
        "--parcels",
        type=int,
        default=424,
        metavar="N",
        help="number of parcels of demo, even (default: 424)",
    )
    parser.add_argument(
        "--voxel-size-mm",
        type=float,
        default=4.0,
        metavar="MM",
        help="edge of a voxel (default: 4.0)",
    )
    parser.add_argument(
        "--dtype",
        choices=("int16", "float32"),
        default="int16",
        help="data type of the images (default: int16)",
    )
    add_options(parser, "the study", SimulationOptions)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=("atlas", "templates", "brainlm"),
        help="atlas: A424 (GPL-3.0), into the cache; templates: the transforms between "
        "MNI152NLin6Asym and MNI152NLin2009cAsym and their brain masks, into TEMPLATEFLOW_HOME; "
        "brainlm: the pre-trained weights (CC BY-NC-ND 4.0), into the cache",
    )
    parser.add_argument(
        "--revision",
        metavar="COMMIT",
        help="brainlm: a commit of its repository, 40 digits; the sha256 of its files is kept, and "
        "every later copy must match (default: the recorded commit)",
    )
    parser.add_argument(
        "--accept-license",
        action="store_true",
        help="accept the printed licence; needed for brainlm",
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        default=Path("work"),
        metavar="DIR",
        help="scratch space of a run (default: ./work)",
    )


def _add_genotypes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        help=".bed or .pgen set (or its prefix), .vcf, .vcf.gz, .bcf, PLINK's .raw or .traw, or a "
        ".tsv of allele counts",
    )
    parser.add_argument("out", type=Path, help="folder of the tables")
    parser.add_argument(
        "--participants",
        type=Path,
        metavar="TSV",
        help="participants.tsv of a BIDS dataset: ancestry components and the polygenic score of "
        "its participants are written to scores.tsv, for --phenotype of the group level",
    )
    parser.add_argument("--pgs", type=Path, metavar="FILE", help="scoring file of the PGS Catalog")
    parser.add_argument(
        "--pgs-min-overlap",
        type=float,
        default=0.75,
        metavar="SHARE",
        help="of the score's variants that the genotypes must hold (default: 0.75)",
    )
    parser.add_argument(
        "--ancestry-components", type=int, default=6, metavar="N", help="(default: 6)"
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

    return fetch(
        str(values["what"]),
        revision=None if values["revision"] is None else str(values["revision"]),
        accept_license=bool(values["accept_license"]),
    )


def _check(values: dict[str, object]) -> int:
    from fmmtc_bidsapp.tools.check import check

    folders = {"output": values["output_dir"], "work": values["work_dir"]}
    return check({name: Path(str(each)) for name, each in folders.items() if each is not None})


def _genotypes(values: dict[str, object]) -> int:
    from fmmtc_bidsapp.tools.genotypes import describe_genotypes

    paths = {name: values[name] for name in ("participants", "pgs") if values[name] is not None}
    return describe_genotypes(
        Path(str(values["file"])),
        Path(str(values["out"])),
        **{name: Path(str(each)) for name, each in paths.items()},
        least_overlap=float(str(values["pgs_min_overlap"])),
        ancestry_components=int(str(values["ancestry_components"])),
    )


def _boutiques(values: dict[str, object]) -> int:
    from fmmtc_bidsapp.cli.boutiques import render_descriptor

    print(render_descriptor(), end="")
    return 0


_TOOLS = {
    "simulate": _simulate,
    "fetch": _fetch,
    "check": _check,
    "genotypes": _genotypes,
    "boutiques": _boutiques,
}


def _run(argv: Sequence[str]) -> int:
    require_utf8(argv)
    values = vars(build_parser().parse_args(hyphenated(argv)))
    require_system()
    return _TOOLS[values["tool"]](values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fmmtc-tools``; return the exit code."""
    if argv is None:
        restart_in_utf8()
    return run_guarded("fmmtc-tools", lambda: _run(sys.argv[1:] if argv is None else argv))

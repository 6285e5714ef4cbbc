"""The flags of ``fmmtc``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.cli.config_file import LEVELS
from fmmtc_bidsapp.cli.parser import Parser, add_options, label
from fmmtc_bidsapp.options import (
    CohortOptions,
    ConnectivityOptions,
    DenoiseOptions,
    EvaluationOptions,
    ExplainOptions,
    ModelOptions,
    ParcelOptions,
    ProtocolOptions,
    TrainOptions,
)

__all__ = [
    "EXIT_CODES",
    "GROUP_OPTIONS",
    "LABELS",
    "PARTICIPANT_OPTIONS",
    "REMOVED",
    "build_parser",
]

_ABSENT = argparse.SUPPRESS
PARTICIPANT_OPTIONS = {
    "participant level: parcels": ParcelOptions,
    "participant level: cleaning": DenoiseOptions,
    "participant level: connectivity": ConnectivityOptions,
}
GROUP_OPTIONS = {
    "group level: participants": CohortOptions,
    "group level: models and tests": ProtocolOptions,
    "group level: network": ModelOptions,
    "group level: training": TrainOptions,
    "group level: evaluation": EvaluationOptions,
    "group level: explanation": ExplainOptions,
}
LABELS = {"train": "fmmtc", "compare": "comparison", "apply": "applied", "qc": "qc"}
_UNSET: dict[type, str] = {DenoiseOptions: "the strategy's own"}
_ALIASES = {
    "fd_threshold": ("--fd-thresh",),
    "low_pass": ("--upper-bpf",),
    "high_pass": ("--lower-bpf",),
}
"""Flags of XCP-D for the same options."""
EXIT_CODES = {
    0: "done",
    1: "some failed",
    2: "wrong use",
    65: "unusable input",
    69: "a file must be fetched first",
    70: "an internal error",
    73: "cannot write",
    130: "interrupted",
}
REMOVED = {
    "smoothgrad": "SmoothGrad was removed. Maps are integrated gradients, with z against maps of "
    "shuffled outcomes (--null-maps) and their stability over folds, or Haufe patterns",
}
"""By flag, why it was removed and what replaces it; older files may still contain it."""
_DERIVATIVES = ("fmriprep", "parcels", "aroma")
_MODES = {
    "dry-run": "check the input, print the steps and their memory, and end; nothing is written",
    "reports-only": "write reports again from existing results; at the group level that of --label",
    "boilerplate-only": "write the methods text (logs/CITATION.*) again from existing results",
}


def build_parser() -> Parser:
    """Return the parser of ``fmmtc``; both levels share it."""
    parser = Parser(
        prog="fmmtc",
        description="From fMRIPrep derivatives to parcel series and connectomes (participant), "
        "and from those to a calibrated prediction of who responds to a drug (group).",
        epilog=f"Exit codes: {', '.join(f'{code} {text}' for code, text in EXIT_CODES.items())}.",
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, help="the BIDS dataset, or fMRIPrep's output")
    parser.add_argument("output_dir", type=Path, help="where derivatives are written")
    parser.add_argument("level", choices=LEVELS, help="what to run")
    parser.add_argument("--version", action="version", version=f"fmmtc {__version__}")
    _add_choosing(parser)
    _add_running(parser)
    for title, options in PARTICIPANT_OPTIONS.items():
        unset = _UNSET.get(options, "")
        add_options(parser, title, options, unset=unset, aliases=_ALIASES)
    _add_group_inputs(parser)
    for title, options in GROUP_OPTIONS.items():
        add_options(parser, title, options)
    return parser


def _add_choosing(parser: argparse.ArgumentParser) -> None:
    choose = parser.add_argument_group("selection")
    for flags, prefix, what in (
        (("--participant-label",), "sub", "participants"),
        (("--session-id", "--session-label"), "ses", "sessions"),
        (("--task-id",), "task", "tasks"),
        (("--run-id",), "run", "runs"),
    ):
        choose.add_argument(
            *flags,
            dest=what + "_chosen",
            nargs="+",
            type=label(prefix),
            metavar="LABEL",
            default=_ABSENT,
            help=f"{what} to process (default: all)",
        )
    choose.add_argument(
        "--space",
        choices=("auto", "MNI152NLin6Asym", "MNI152NLin2009cAsym"),
        default=_ABSENT,
        help="space of the images; auto prefers MNI152NLin6Asym and falls back to "
        "MNI152NLin2009cAsym (default: auto)",
    )
    choose.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        default=_ABSENT,
        help='JSON such as {"bold": {"session": "1", "acquisition": null, "run": "*"}}; null is '
        "absent, * any value; it is combined with the labels above (participant level)",
    )
    choose.add_argument(
        "-d",
        "--derivatives",
        "--datasets",
        nargs="+",
        action="extend",
        type=_name_and_path,
        metavar="NAME=PATH",
        default=_ABSENT,
        help="folders of derivatives: fmriprep=PATH; aroma=PATH of fMRIPost-AROMA; parcels=PATH "
        "for series of XCP-D, giga_connectome or another program",
    )


def _name_and_path(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not path or name not in _DERIVATIVES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=PATH with one of {', '.join(_DERIVATIVES)}"
        )
    return name, Path(path)


def _add_running(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("run")
    for flags, kind, metavar, text in (
        (
            ("--nprocs", "--nthreads", "--n-cpus"),
            int,
            "N",
            "processes at once (default: the number of processors this process may use)",
        ),
        (("--omp-nthreads",), int, "N", "threads of one process (default: 1)"),
        (
            ("--mem-mb", "--mem"),
            _megabytes,
            "MB",
            "memory of all processes: MB, or 8G (default: 90 %% of what this process may take)",
        ),
        (
            ("--use-plugin", "--nipype-plugin-file"),
            Path,
            "FILE",
            "YAML file with plugin: SLURM, SGE, PBS, LSF, HTCondor or OAR, and plugin_args: cores, "
            "memory, walltime, queue of the jobs that run Dask workers (default: processes here)",
        ),
        (
            ("--scheduler-address",),
            str,
            "ADDRESS",
            "run on the workers of this Dask scheduler: tcp://HOST:PORT, or the file that dask "
            "scheduler --scheduler-file wrote (default: processes here)",
        ),
        (
            ("-w", "--work-dir"),
            Path,
            "DIR",
            "scratch space, kept for a later run (default: ./work)",
        ),
        (
            ("--bids-database-dir",),
            Path,
            "DIR",
            "keep pybids' index of the derivatives here for a later run; delete it when files are "
            "added (default: none is kept; participant level)",
        ),
        (
            ("--config-file",),
            Path,
            "FILE",
            "TOML file of flags, at the top or in a table [participant] or [group]; the command "
            "line wins (default: none)",
        ),
    ):
        run.add_argument(*flags, type=kind, metavar=metavar, default=_ABSENT, help=text)
    for flag, text in (
        ("--clean-workdir", "remove this run's files from the work directory once all is done"),
        ("--stop-on-first-crash", "end at the first failure instead of finishing the others"),
        ("--resource-monitor", "record memory and processors of nodes in the work directory"),
        ("--write-graph", "draw the graph of nodes into the work directory"),
        ("--skip-bids-validation", "accepted without effect: nothing is validated"),
        ("--notrack", "accepted without effect: nothing is tracked"),
    ):
        run.add_argument(flag, action="store_true", default=_ABSENT, help=text)
    run.add_argument(
        "-v", "--verbose", action="count", default=_ABSENT, help="print more; repeatable"
    )
    modes = parser.add_argument_group("instead of a run")
    one_of = modes.add_mutually_exclusive_group()
    for mode, text in _MODES.items():
        one_of.add_argument(
            f"--{mode}", dest="mode", action="store_const", const=mode, default=_ABSENT, help=text
        )


def _megabytes(text: str) -> float:
    units = {"": 1.0, "K": 1e-3, "M": 1.0, "G": 1e3, "T": 1e6}
    match = re.fullmatch(r"([0-9.]+)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    value = float(match[1]) * units[match[2].upper()] if match and match[1] != "." else 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give MB, such as 8000, or 8G")
    return value


def _add_group_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("group level: analysis")
    group.add_argument(
        "--analysis",
        choices=tuple(LABELS),
        default=_ABSENT,
        help="train and evaluate a model; compare models as in the tables of the paper; apply a "
        "trained model to new participants; or qc, only the quality of the runs, which needs no "
        "target (default: train)",
    )
    for flag, kind, text in (
        ("--model", Path, "the bundle to apply: a models/<label> folder"),
        (
            "--label",
            str,
            "name of the result (default: fmmtc for train, comparison for compare, applied for "
            "apply, qc for qc)",
        ),
        ("--participants", Path, "the participants table (default: bids_dir/participants.tsv)"),
        ("--random-seed", int, "seed of every split, weight and draw (default: 0)"),
    ):
        group.add_argument(flag, type=kind, default=_ABSENT, help=text)
    group.add_argument(
        "--phenotype",
        nargs="+",
        action="extend",
        type=Path,
        metavar="FILE",
        default=_ABSENT,
        help="tables with a column participant_id whose other columns are joined to the "
        "participants table (default: none)",
    )

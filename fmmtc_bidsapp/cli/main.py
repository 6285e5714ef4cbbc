"""The command ``fmmtc``: argv to a plan, the plan to its level.

Nothing heavy is imported before the level is chosen, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.cli.parser import add_options, given, hyphenated, label
from fmmtc_bidsapp.errors import AppError, UsageError
from fmmtc_bidsapp.options import (
    CohortOptions,
    DenoiseOptions,
    EvaluationOptions,
    ModelOptions,
    ParcelOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan, Resources, Selection

__all__ = ["build_parser", "main", "plan_from", "run_guarded"]

_ABSENT = argparse.SUPPRESS
_PARTICIPANT_OPTIONS = {
    "participant level: parcels": ParcelOptions,
    "participant level: cleaning": DenoiseOptions,
}
_GROUP_OPTIONS = {
    "group level: who": CohortOptions,
    "group level: network": ModelOptions,
    "group level: training": TrainOptions,
    "group level: judging": EvaluationOptions,
}
_GROUP_ONLY = ("analysis", "model", "label", "participants", "random_seed")
_PARTICIPANT_ONLY = ("bids_filter_file", "bids_database_dir")
_BOTH_LEVELS = ("atlas",)
"""Options of one level that choose among the files of the other."""
_LABELS = {"train": "fmmtc", "apply": "applied"}
_EXIT_INTERRUPTED = 130
_EXIT_OUR_FAULT = 70


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``fmmtc``; both levels share it."""
    parser = argparse.ArgumentParser(
        prog="fmmtc",
        description="From fMRIPrep derivatives to parcel series and connectomes (participant), "
        "and from those to a calibrated prediction of who responds to a drug (group).",
        epilog="Exit codes: 0 done, 1 some failed, 2 wrong use, 65 unusable input, 69 something "
        "must be fetched first, 70 a fault of ours, 73 cannot write, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, help="the BIDS dataset, or fMRIPrep's output")
    parser.add_argument("output_dir", type=Path, help="where derivatives are written")
    parser.add_argument("level", choices=("participant", "group"), help="what to run")
    parser.add_argument("--version", action="version", version=f"fmmtc {__version__}")
    _add_choosing(parser)
    _add_running(parser)
    for title, options in _PARTICIPANT_OPTIONS.items():
        add_options(parser, title, options)
    _add_group_inputs(parser)
    for title, options in _GROUP_OPTIONS.items():
        add_options(parser, title, options)
    return parser


def _add_choosing(parser: argparse.ArgumentParser) -> None:
    choose = parser.add_argument_group("choose")
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
        help="space of the images; auto takes MNI152NLin6Asym (default: auto)",
    )
    choose.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        default=_ABSENT,
        help='JSON such as {"bold": {"session": "1", "acquisition": null, "run": "*"}}; null is '
        "absent, * any value; the labels above must hold as well (participant level)",
    )
    choose.add_argument(
        "-d",
        "--derivatives",
        "--datasets",
        nargs="+",
        type=_name_and_path,
        metavar="NAME=PATH",
        default=_ABSENT,
        help="where derivatives are: fmriprep=PATH, or parcels=PATH for series that XCP-D, "
        "giga_connectome or another program wrote",
    )


def _name_and_path(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not path or name not in {"fmriprep", "parcels"}:
        raise argparse.ArgumentTypeError(f"{text!r} is not fmriprep=PATH or parcels=PATH")
    return name, Path(path)


def _add_running(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("run")
    n_cpus = _n_cpus()
    for flags, kind, text in (
        (
            ("--nprocs", "--nthreads", "--n-cpus"),
            int,
            f"processes at once (default: {n_cpus}, all this process may use)",
        ),
        (("--omp-nthreads",), int, "threads of one process (default: 1)"),
        (("--mem-mb", "--mem"), _megabytes, "memory of all processes: MB, or 8G (default: 90 %%)"),
        (("-w", "--work-dir"), Path, "scratch space, kept for a later run (default: ./work)"),
        (
            ("--bids-database-dir",),
            Path,
            "keep pybids' index of the derivatives here for a later run; delete it when files are "
            "added (default: none is kept; participant level)",
        ),
    ):
        run.add_argument(*flags, type=kind, default=_ABSENT, help=text)
    run.add_argument(
        "--stop-on-first-crash",
        action="store_true",
        default=_ABSENT,
        help="end at the first failure instead of finishing the others",
    )
    run.add_argument("--notrack", action="store_true", help="accepted; nothing is ever tracked")
    run.add_argument("-v", "--verbose", action="count", default=0, help="say more; repeatable")


def _n_cpus() -> int:
    """Count the processors this process may use: on a cluster fewer than the node has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _megabytes(text: str) -> float:
    units = {"K": 1e-3, "M": 1.0, "G": 1e3, "T": 1e6}
    unit = units.get(text[-1:].upper())
    return float(text) if unit is None else float(text[:-1]) * unit


def _add_group_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("group level: what")
    group.add_argument(
        "--analysis",
        choices=("train", "apply"),
        default=_ABSENT,
        help="train a network and judge it, or apply a bundle to new people (default: train)",
    )
    for flag, kind, text in (
        ("--model", Path, "the bundle to apply: a models/<label> folder"),
        ("--label", str, "name of the result (default: fmmtc for train, applied for apply)"),
        ("--participants", Path, "the participants table (default: bids_dir/participants.tsv)"),
        ("--random-seed", int, "seed of every split, weight and draw (default: 0)"),
    ):
        group.add_argument(flag, type=kind, default=_ABSENT, help=text)


def plan_from(argv: Sequence[str] | None = None) -> ParticipantPlan | GroupPlan:
    """Read a command line.

    Raises
    ------
    UsageError
        A flag of the other level, or a value out of its range.
    SystemExit
        argparse's own, with status 2 for an unknown flag and 0 for ``--help``.
    """
    values = vars(build_parser().parse_args(hyphenated(sys.argv[1:] if argv is None else argv)))
    _refuse_other_level(values)
    shared = {
        "bids_dir": values["bids_dir"].absolute(),
        "output_dir": values["output_dir"].absolute(),
        "run_id": f"{datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}",
        "resources": _resources(values),
        "derivatives": {name: path.absolute() for name, path in values.get("derivatives", ())},
        "selection": _selection(values),
    }
    if values["level"] == "participant":
        return ParticipantPlan(
            **shared,
            parcel=ParcelOptions(**given(ParcelOptions, values)),
            denoise=DenoiseOptions(**given(DenoiseOptions, values)),
        )
    analysis = values.get("analysis", "train")
    return GroupPlan(
        **shared,
        analysis=analysis,
        label=values.get("label", _LABELS[analysis]),
        random_seed=values.get("random_seed", 0),
        participants=_absolute(values.get("participants")),
        model_dir=_absolute(values.get("model")),
        cohort=CohortOptions(**given(CohortOptions, values)),
        model=ModelOptions(**given(ModelOptions, values)),
        model_flags=tuple(given(ModelOptions, values)),
        train=TrainOptions(**given(TrainOptions, values)),
        evaluation=EvaluationOptions(**given(EvaluationOptions, values)),
    )


def _absolute(path: Path | None) -> Path | None:
    """Spell a path so that it means the same in the folder of a node."""
    return None if path is None else path.absolute()


def _refuse_other_level(values: dict[str, Any]) -> None:
    """Refuse a flag that the chosen level would silently ignore."""
    level = values["level"]
    tables = _GROUP_OPTIONS if level == "participant" else _PARTICIPANT_OPTIONS
    foreign = [name for options in tables.values() for name in given(options, values)]
    foreign = [name for name in foreign if name not in _BOTH_LEVELS]
    only_elsewhere = _GROUP_ONLY if level == "participant" else _PARTICIPANT_ONLY
    foreign += [name for name in only_elsewhere if name in values]
    if foreign:
        flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(f"{flags} has no meaning at the {level} level; leave it out.")


def _resources(values: dict[str, Any]) -> Resources:
    memory_mb = values.get("mem_mb")
    return Resources(
        work_dir=Path(values.get("work_dir", "work")).absolute(),
        n_procs=values.get("nprocs", _n_cpus()),
        omp_nthreads=values.get("omp_nthreads", 1),
        memory_gb=None if memory_mb is None else memory_mb / 1000,
        stop_on_first_crash=values.get("stop_on_first_crash", False),
        bids_database_dir=_absolute(values.get("bids_database_dir")),
        verbose=values["verbose"],
    )


def _selection(values: dict[str, Any]) -> Selection:
    return Selection(
        participants=tuple(values.get("participants_chosen", ())),
        sessions=tuple(values.get("sessions_chosen", ())),
        tasks=tuple(values.get("tasks_chosen", ())),
        runs=tuple(values.get("runs_chosen", ())),
        space=values.get("space", "auto"),
        atlas=values.get("atlas"),
        bids_filter_file=_absolute(values.get("bids_filter_file")),
    )


def _run(argv: Sequence[str] | None) -> int:
    plan = plan_from(argv)
    # Read by the numerical libraries when they are imported, and inherited by every worker.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(plan.resources.omp_nthreads)
    # Without it CUDA's matrix products are not the same twice.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if isinstance(plan, ParticipantPlan):
        from fmmtc_bidsapp.participant.run import run_participant

        return run_participant(plan)
    from fmmtc_bidsapp.group.run import run_group

    return run_group(plan)


def run_guarded(program: str, run: Callable[[], int]) -> int:
    """Run a command and turn what goes wrong into a message and the documented exit code."""
    # Both would otherwise look for newer versions on the network at import.
    os.environ.setdefault("NIPYPE_NO_ET", "1")
    os.environ.setdefault("TEMPLATEFLOW_AUTOUPDATE", "off")
    try:
        return run()
    except AppError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{program}: interrupted; run the same command to go on.", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except Exception:  # noqa: BLE001 - the last stop: whatever is left is a fault of ours
        traceback.print_exc()
        print(
            f"{program}: this is a fault of ours; please report the lines above.", file=sys.stderr
        )
        return _EXIT_OUR_FAULT


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fmmtc``; returns the exit code."""
    return run_guarded("fmmtc", lambda: _run(argv))

"""The command ``fmmtc``: argv to a plan, the plan to its level.

Nothing heavy is imported before the level is chosen, so that ``--help`` is instant.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.cli.config_file import LEVELS, read_config_file
from fmmtc_bidsapp.cli.encoding import require_utf8, restart_in_utf8
from fmmtc_bidsapp.cli.flags import (
    GROUP_OPTIONS,
    LABELS,
    PARTICIPANT_OPTIONS,
    REMOVED,
    build_parser,
)
from fmmtc_bidsapp.cli.parser import given, hyphenated
from fmmtc_bidsapp.cli.stops import Stopped, stopped_by_signals
from fmmtc_bidsapp.cli.streams import finish_streams, guarded_streams
from fmmtc_bidsapp.cli.surroundings import give_home, require_system
from fmmtc_bidsapp.errors import AppError, UsageError, system_limit
from fmmtc_bidsapp.interrupts import noting_interrupts
from fmmtc_bidsapp.machine import whole_cores
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
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan, Resources, Selection

__all__ = ["build_parser", "main", "plan_from", "run_guarded"]

_GROUP_ONLY = ("analysis", "model", "label", "participants", "phenotype", "random_seed")
_PARTICIPANT_ONLY = ("bids_filter_file", "bids_database_dir")
_BOTH_LEVELS = ("atlas", "desc")
"""Options of one level that select or name files of the other level."""
_FITTING = ("train", "compare")
_ON_PEOPLE = (*_FITTING, "apply")


def _of(options: type, analyses: Sequence[str], *exceptions: str) -> dict[str, Sequence[str]]:
    names = (each.name for each in fields(options))
    return {name: analyses for name in names if name not in exceptions}


_MEANT_FOR: Mapping[str, Sequence[str]] = {
    "model": ("apply",),
    **dict.fromkeys(("participants", "phenotype", "random_seed"), _ON_PEOPLE),
    **_of(CohortOptions, _ON_PEOPLE),
    **_of(ModelOptions, _ON_PEOPLE),
    **_of(ProtocolOptions, _FITTING, "subset_by"),
    "subset_by": _ON_PEOPLE,
    **_of(TrainOptions, _FITTING, "device"),
    "device": _ON_PEOPLE,
    **_of(EvaluationOptions, _FITTING, "bootstrap"),
    "bootstrap": _ON_PEOPLE,
    **_of(ExplainOptions, _FITTING),
}
"""By flag, the analyses that use it; all analyses for a flag that is not listed."""
_EXIT_INTERRUPTED = 130
_EXIT_OUR_FAULT = 70
_PATIENCE_S = 1.0


def plan_from(argv: Sequence[str] | None = None) -> ParticipantPlan | GroupPlan:
    """Read a command line, and the configuration file it names."""
    words = sys.argv[1:] if argv is None else argv
    require_utf8(words)
    values = _values(hyphenated(words))
    shared = {
        "bids_dir": values["bids_dir"].absolute(),
        "output_dir": values["output_dir"].absolute(),
        "run_id": f"{datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}",
        "resources": _resources(values),
        "derivatives": _derivatives(values.get("derivatives", ())),
        "selection": _selection(values),
    }
    build = _participant_plan if values["level"] == "participant" else _group_plan
    return build(values, shared)


def _values(argv: Sequence[str]) -> dict[str, Any]:
    """Return the values of the command line, which win over those of a configuration file."""
    _refuse_removed(argv)
    parser = build_parser()
    typed = vars(parser.parse_args(argv))
    level = typed["level"]
    _refuse_other_level(level, typed, "leave it out")
    if "config_file" not in typed:
        _refuse_other_analysis(typed, typed)
        return typed
    path = typed["config_file"]
    written, keys = read_config_file(path, level, parser, REMOVED)
    other = LEVELS[level == LEVELS[0]]
    _refuse_other_level(
        level, written, f"take it out of {path} or move it to a table [{other}]", keys
    )
    # A file may serve several analyses, so only typed flags are refused.
    _refuse_other_analysis(typed, written | typed)
    return written | typed


def _refuse_removed(argv: Sequence[str]) -> None:
    """Refuse a flag of an earlier version, with what replaces it."""
    for word in argv:
        flag = word.partition("=")[0].removeprefix("--")
        if word.startswith("--") and flag in REMOVED:
            raise UsageError(f"--{flag}: {REMOVED[flag]}. Leave --{flag} out.")


def _refuse_other_analysis(typed: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse a typed flag that the chosen analysis would ignore."""
    if values["level"] != "group":
        return
    analysis = values.get("analysis", "train")
    foreign = [name for name in typed if analysis not in _MEANT_FOR.get(name, LABELS)]
    if foreign:
        flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(f"{flags} has no meaning with --analysis {analysis}; leave it out.")


def _participant_plan(values: dict[str, Any], shared: dict[str, Any]) -> ParticipantPlan:
    return ParticipantPlan(
        **shared,
        parcel=ParcelOptions(**given(ParcelOptions, values)),
        denoise=DenoiseOptions(**given(DenoiseOptions, values)),
        connectivity=ConnectivityOptions(**given(ConnectivityOptions, values)),
        desc=values.get("desc"),
        mode=values.get("mode", "run"),
    )


def _group_plan(values: dict[str, Any], shared: dict[str, Any]) -> GroupPlan:
    analysis = values.get("analysis", "train")
    return GroupPlan(
        **shared,
        analysis=analysis,
        label=values.get("label", LABELS[analysis]),
        random_seed=values.get("random_seed", 0),
        participants=_absolute(values.get("participants")),
        phenotype=tuple(path.absolute() for path in values.get("phenotype", ())),
        model_dir=_absolute(values.get("model")),
        cohort=CohortOptions(**given(CohortOptions, values)),
        model=ModelOptions(**given(ModelOptions, values)),
        model_flags=tuple(given(ModelOptions, values)),
        train=TrainOptions(**given(TrainOptions, values)),
        evaluation=EvaluationOptions(**given(EvaluationOptions, values)),
        protocol=ProtocolOptions(**given(ProtocolOptions, values)),
        explain=ExplainOptions(**given(ExplainOptions, values)),
        mode=values.get("mode", "run"),
    )


def _derivatives(pairs: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--derivatives names {', '.join(twice)} twice; give one folder each.")
    return {name: path.absolute() for name, path in pairs}


def _absolute(path: Path | None) -> Path | None:
    """Return an absolute path, which is the same in the folder of a node."""
    return None if path is None else path.absolute()


def _refuse_other_level(
    level: str, values: dict[str, Any], way_out: str, keys: dict[str, str] | None = None
) -> None:
    """Refuse a flag that the chosen level would ignore."""
    tables = GROUP_OPTIONS if level == "participant" else PARTICIPANT_OPTIONS
    foreign = [name for options in tables.values() for name in given(options, values)]
    foreign = [name for name in foreign if name not in _BOTH_LEVELS]
    only_elsewhere = _GROUP_ONLY if level == "participant" else _PARTICIPANT_ONLY
    foreign += [name for name in only_elsewhere if name in values]
    if foreign:
        spelled = (keys or {}).get
        flags = ", ".join("--" + spelled(name, name).replace("_", "-") for name in foreign)
        raise UsageError(f"{flags} has no meaning at the {level} level; {way_out}.")


def _resources(values: dict[str, Any]) -> Resources:
    memory_mb = values.get("mem_mb")
    return Resources(
        work_dir=Path(values.get("work_dir", "work")).absolute(),
        n_procs=values.get("nprocs", whole_cores()),
        omp_nthreads=values.get("omp_nthreads", 1),
        memory_gb=None if memory_mb is None else memory_mb / 1000,
        stop_on_first_crash=values.get("stop_on_first_crash", False),
        bids_database_dir=_absolute(values.get("bids_database_dir")),
        plugin_file=_absolute(values.get("use_plugin")),
        scheduler_address=values.get("scheduler_address"),
        clean_workdir=values.get("clean_workdir", False),
        resource_monitor=values.get("resource_monitor", False),
        write_graph=values.get("write_graph", False),
        verbose=values.get("verbose", 0),
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
    # Numerical libraries read these when they are imported; workers inherit them.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(plan.resources.omp_nthreads)
    # Without it matrix products on CUDA differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    require_system()
    from fmmtc_bidsapp.engine import check_resources, release_workers

    check_resources(plan.resources)
    try:
        return _run_level(plan)
    finally:
        release_workers()


def _run_level(plan: ParticipantPlan | GroupPlan) -> int:
    if isinstance(plan, ParticipantPlan):
        from fmmtc_bidsapp.participant.run import run_participant

        return run_participant(plan)
    from fmmtc_bidsapp.group.run import run_group

    return run_group(plan)


def run_guarded(program: str, run: Callable[[], int]) -> int:
    """Run a command; print an error as a message and return its documented exit code."""
    # Otherwise these libraries look for newer versions on the network.
    os.environ.setdefault("NIPYPE_NO_ET", "1")
    os.environ.setdefault("TEMPLATEFLOW_AUTOUPDATE", "off")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with guarded_streams(), stopped_by_signals():
        give_home()
        try:
            return finish_streams(_exit_code(program, run))
        except SystemExit as end:
            # Of argparse, after --help or --version.
            end.code = finish_streams(0 if end.code is None else int(end.code))
            raise


def _exit_code(program: str, run: Callable[[], int]) -> int:
    try:
        with noting_interrupts():
            return run()
    except AppError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stop:
        _end_workers()
        if stop.reason:
            print(f"{program}: {stop.reason}; run the same command to go on.", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print(f"{program}: interrupted; run the same command to go on.", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - every other error is an internal one
        limit = system_limit(error)
        if limit is not None:
            print(f"{program}: {limit}", file=sys.stderr)
            return limit.exit_code
        traceback.print_exc()
        print(f"{program}: Internal error. Please report this traceback.", file=sys.stderr)
        return _EXIT_OUR_FAULT


def _end_workers() -> None:
    """End the worker processes, which a signal to this process does not reach."""
    workers = multiprocessing.active_children()
    for each in workers:
        each.terminate()
    for each in workers:
        each.join(_PATIENCE_S)
        # A process that was being forked did not get the signal.
        each.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fmmtc``; return the exit code."""
    if argv is None:
        restart_in_utf8()
    code = run_guarded("fmmtc", lambda: _run(argv))
    if argv is None:
        # The process ends: nothing is left to interrupt.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code

"""The command line: instant, both spellings, one default each, the documented codes."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.main import build_parser, main, plan_from, run_guarded
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.options import (
    CohortOptions,
    ConnectivityOptions,
    DenoiseOptions,
    EvaluationOptions,
    ModelOptions,
    ParcelOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan

ALL_OPTIONS = (
    ParcelOptions,
    DenoiseOptions,
    ConnectivityOptions,
    CohortOptions,
    ModelOptions,
    TrainOptions,
    EvaluationOptions,
)
HEAVY = ("numpy", "torch", "nipype", "pandas", "bids", "nilearn", "sklearn", "matplotlib")


@pytest.mark.parametrize("program", ["main", "tools"])
def test_help_imports_nothing_heavy(program: str) -> None:
    code = (
        f"import sys; from fmmtc_bidsapp.cli.{program} import build_parser;"
        f"build_parser().format_help(); print([m for m in {HEAVY} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_without_a_folder_for_temporary_files_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert main([str(tmp_path), str(tmp_path / "out"), "participant"]) == 73
    told = capsys.readouterr().err
    assert "TMPDIR" in told
    assert "['/tmp']" in told
    assert not (tmp_path / "out").exists()


def test_every_option_has_a_flag_with_its_help_and_default() -> None:
    text = " ".join(build_parser().format_help().split())
    for options in ALL_OPTIONS:
        for each in fields(options):
            assert f"--{each.name.replace('_', '-')}" in text
            if each.default not in (None, (), False):
                assert f"(default: {each.default})" in text


def test_no_flag_means_the_defaults_of_the_options() -> None:
    plan = plan_from(["in", "out", "participant"])
    assert isinstance(plan, ParticipantPlan)
    assert plan.parcel == ParcelOptions()
    assert plan.denoise == DenoiseOptions()
    assert plan.connectivity == ConnectivityOptions()
    assert (plan.desc, plan.mode) == (None, "run")


def test_the_help_says_what_is_done_where_a_cleaning_setting_is_left_out() -> None:
    text = " ".join(build_parser().format_help().split())
    assert text.count("(default: the strategy's own)") == 4


def test_the_cleaning_and_connectivity_flags_reach_the_plan() -> None:
    flags = (
        "--denoise-strategy scrubbing --fd-threshold 0.2 --dvars_threshold 1.5 --low-pass 0.1 "
        "--high-pass 0 --dummy-scans 4 --min-volumes 60 --min-dof 30 --desc mine --fisher-z "
        "--fc-measure partial-correlation --combine_runs --file-format cifti "
        "--resampling-target atlas"
    )
    plan = plan_from(["in", "out", "participant", *flags.split()])
    assert isinstance(plan, ParticipantPlan)
    assert plan.denoise == DenoiseOptions("scrubbing", 0.2, 1.5, 0.1, 0.0, "4", 60, 30)
    assert plan.connectivity == ConnectivityOptions("partial-correlation", True, True)
    assert plan.parcel == ParcelOptions(file_format="cifti", resampling_target="atlas")
    assert plan.desc == "mine"


def test_what_users_of_xcpd_type_means_the_same() -> None:
    ours, theirs = (
        plan_from(["in", "out", "participant", *flags.split()])
        for flags in (
            "--fd-threshold 0.3 --high-pass 0.01 --low-pass 0.08",
            "--fd-thresh 0.3 --lower-bpf 0.01 --upper_bpf 0.08",
        )
    )
    assert isinstance(ours, ParticipantPlan)
    assert isinstance(theirs, ParticipantPlan)
    assert ours.denoise == theirs.denoise == DenoiseOptions("simple", 0.3, None, 0.08, 0.01)


def test_the_desc_chooses_at_the_group_level_and_names_at_the_participant_level() -> None:
    group = plan_from(["in", "out", "group", "--target", "y", "--desc", "p36"])
    participant = plan_from(["in", "out", "participant", "--desc", "p36"])
    assert isinstance(group, GroupPlan)
    assert isinstance(participant, ParticipantPlan)
    assert group.cohort.desc == participant.desc == "p36"


@pytest.mark.parametrize("mode", ["dry-run", "reports-only", "boilerplate-only"])
def test_a_participant_run_can_be_something_less(mode: str) -> None:
    plan = plan_from(["in", "out", "participant", f"--{mode}"])
    assert isinstance(plan, ParticipantPlan)
    assert plan.mode == mode


@pytest.mark.parametrize("mode", ["dry-run", "reports-only", "boilerplate-only"])
def test_a_group_run_can_be_something_less(mode: str) -> None:
    plan = plan_from(["in", "out", "group", "--target", "y", f"--{mode}"])
    assert isinstance(plan, GroupPlan)
    assert plan.mode == mode


def test_what_is_written_anew_from_files_needs_no_target() -> None:
    assert plan_from(["in", "out", "group", "--boilerplate-only"]).mode == "boilerplate-only"
    assert plan_from(["in", "out", "group", "--reports-only"]).mode == "reports-only"


def test_quality_alone_needs_no_target() -> None:
    plan = plan_from(["in", "out", "group", "--analysis", "qc"])
    assert isinstance(plan, GroupPlan)
    assert (plan.analysis, plan.label) == ("qc", "qc")


def test_the_flags_of_a_run_reach_the_resources() -> None:
    flags = [
        "--use-plugin",
        "p.yml",
        "--clean-workdir",
        "--resource_monitor",
        "--write-graph",
        "-vv",
    ]
    resources = plan_from(["in", "out", "participant", *flags]).resources
    assert resources.plugin_file == Path("p.yml").absolute()
    assert resources.clean_workdir
    assert resources.resource_monitor
    assert resources.write_graph
    assert resources.verbose == 2
    other = plan_from(["in", "out", "participant", "--nipype-plugin-file", "p.yml"]).resources
    assert other.plugin_file == resources.plugin_file


def test_flags_that_change_nothing_are_accepted() -> None:
    plan_from(["in", "out", "participant", "--skip-bids-validation", "--notrack"])


def test_several_derivatives_are_given_at_once_or_one_by_one() -> None:
    at_once = plan_from(["in", "out", "participant", "-d", "fmriprep=f", "aroma=a"])
    one_by_one = plan_from(
        ["in", "out", "participant", "-d", "fmriprep=f", "--datasets", "aroma=a"]
    )
    expected = {"fmriprep": Path("f").absolute(), "aroma": Path("a").absolute()}
    assert at_once.derivatives == one_by_one.derivatives == expected


def test_an_unusable_plugin_file_ends_with_2_before_anything_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plugin.yml").write_text("plugin: SLURMGraph")
    words = ["nowhere", tmp_path / "out", "participant", "--use-plugin", tmp_path / "plugin.yml"]
    assert main([str(word) for word in words]) == 2
    assert "cannot say which steps failed" in capsys.readouterr().err


def test_both_spellings_and_prefixes_give_the_same_plan() -> None:
    plans = [
        plan_from(["in", "out", "participant", *flags])
        for flags in (
            ["--participant-label", "01", "02", "--work-dir", "w", "--min-coverage", "0.2"],
            ["--participant_label", "sub-01", "sub-02", "-w", "w", "--min_coverage=0.2"],
        )
    ]
    assert plans[0].selection == plans[1].selection
    assert plans[0].resources == plans[1].resources
    assert plans[0].parcel == plans[1].parcel  # type: ignore[union-attr]


def test_the_filter_file_and_the_database_reach_the_plan_as_absolute_paths() -> None:
    flags = ["--bids-filter-file", "f.json", "--bids_database_dir", "db"]
    plan = plan_from(["in", "out", "participant", *flags])
    assert plan.selection.bids_filter_file == Path("f.json").absolute()
    assert plan.resources.bids_database_dir == Path("db").absolute()


def test_the_group_flags_reach_the_plan() -> None:
    argv = "in out group --target Response --where type=patient study=2 --where a=b --folds 3"
    plan = plan_from([*argv.split(), "--derivatives", "parcels=p", "--mem", "8G"])
    assert isinstance(plan, GroupPlan)
    assert plan.cohort.where == ("type=patient", "study=2", "a=b")
    assert plan.train.folds == 3
    assert plan.series_dir == Path("p").absolute()
    assert plan.resources.memory_gb == 8
    assert plan.participants_table == Path("in").absolute() / "participants.tsv"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["group"], "--target"),
        (["group", "--analysis", "apply"], "--model"),
        (["group", "--target", "y", "--min-coverage", "0.4"], "no meaning at the group level"),
        (["participant", "--epochs", "3"], "no meaning at the participant level"),
        (["participant", "--label", "x"], "no meaning at the participant level"),
        (["group", "--target", "y", "--folds", "1"], "--folds"),
        (["group", "--target", "y", "--batch-size", "2"], "--batch-size is 2"),
        (["participant", "--min-coverage", "2"], "--min-coverage"),
        (["participant", "--nprocs", "0"], "--nprocs"),
        (["group", "--target", "y", "--bids-filter-file", "f"], "--bids-filter-file has no mean"),
        (["group", "--target", "y", "--bids-database-dir", "d"], "--bids-database-dir has no mean"),
        (["group", "--dry-run"], "--target"),
        (["group", "--analysis", "apply", "--dry-run"], "--model"),
        (["group", "--analysis", "qc", "--fisher-z"], "--fisher-z has no meaning at the group"),
        (["group", "--target", "y", "--model", "m"], "--model has no meaning with"),
        (["group", "--analysis", "apply", "--model", "m", "--folds", "3"], "--folds has no"),
        (["group", "--analysis", "apply", "--model", "m", "--network", "lstm"], "--network has no"),
        (["group", "--analysis", "qc", "--permutations", "99"], "--permutations has no meaning"),
        (["group", "--target", ""], "needs --target COLUMN"),
        (["group", "--target", "y", "--subset-by", "y"], "is the outcome itself"),
        (["group", "--target", "y", "--learning-rate", "inf"], "--learning-rate is inf"),
        (["group", "--target", "y", "--resample-tr", "nan"], "--resample-tr is nan"),
        (["participant", "--dry-run", "--reports-only"], "not allowed with"),
        (["participant", "--fd-threshold", "much"], "--fd-threshold"),
        (["participant", "--fd-threshold", "nan"], "--fd-threshold"),
        (["participant", "--dummy-scans", "some"], "--dummy-scans"),
        (["participant", "--desc", "p-36"], "--desc"),
        (["participant", "--denoise-strategy", "none", "--low-pass", "0.1"], "--low-pass has no"),
        (["participant", "-d", "melodic=x"], "melodic=x"),
        (["participant", "-d", "fmriprep=x", "fmriprep=y"], "fmriprep twice"),
        (["participant", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_wrong_use_ends_with_2_and_names_the_flag(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_from(["in", "out", *flags])
    assert main(["in", "out", *flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--desc", "none"], "uncleaned"),
        (["--desc", "confounds"], "fMRIPrep's table"),
        (["--combine-runs", "--run-id", "1"], "--run-id"),
        (["--mem-mb", "0"], "8G"),
        (["--mem-mb", "lots"], "8G"),
    ],
)
def test_what_could_only_mislead_is_refused(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan_from(["in", "out", "participant", *flags])


@pytest.mark.parametrize(("text", "gb"), [("8000", 8), ("8G", 8), ("8GB", 8), ("500m", 0.5)])
def test_memory_is_given_in_megabytes_or_with_a_unit(text: str, gb: float) -> None:
    assert plan_from(["in", "out", "participant", "--mem-mb", text]).resources.memory_gb == gb


def _hash_of(*flags: str, models: str = "fmmtc") -> str:
    plan = plan_from(["in", "out", "group", "--target", "y", *flags])
    assert isinstance(plan, GroupPlan)
    return plan.configuration_hash({"models": models})


def test_the_order_of_filters_and_people_is_no_other_configuration() -> None:
    one = _hash_of("--where", "a=1", "b=2", "--participant-label", "01", "02")
    assert one == _hash_of("--where", "b=2", "a=1", "--participant-label", "02", "01")
    assert one == _hash_of(
        "--where", "a=1", "b=2", "--participant-label", "01", "02", "--network", "fmmtc"
    )


def test_fewer_people_and_other_models_are_another_configuration() -> None:
    hashes = [
        _hash_of(),
        _hash_of("--participant-label", "01"),
        _hash_of(models="ridge-ts"),
        _hash_of(models="ridge-fc"),
    ]
    assert len(set(hashes)) == len(hashes)


def test_a_file_of_flags_may_serve_several_analyses(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('[group]\ntarget = "y"\nfolds = 3\n')
    words = ["in", "out", "group", "--config-file", str(path), "--analysis", "apply"]
    assert plan_from([*words, "--model", "m"]).analysis == "apply"  # type: ignore[union-attr]


@pytest.fixture
def interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def swallow():
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    return 0


def convert():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("numpy.core.multiarray failed to import") from None


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("run", [swallow, convert, lambda: signal.raise_signal(signal.SIGINT)])
def test_a_ctrl_c_ends_with_130_and_one_line_whatever_a_library_makes_of_it(run, capsys):
    assert run_guarded("fmmtc", run) == 130
    assert capsys.readouterr().err == "fmmtc: interrupted; run the same command to go on.\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_what_the_system_refuses_ends_with_71_and_a_sentence(error, capsys):
    def run():
        raise error

    assert run_guarded("fmmtc", run) == 71
    told = capsys.readouterr().err
    assert told.startswith("fmmtc: The system refused ")
    assert "ulimit" in told
    assert len(told.splitlines()) == 1

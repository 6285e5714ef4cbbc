"""A file of flags: read like a command line, under it, and refused by key and file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.main import main, plan_from
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan

Read = Callable[..., ParticipantPlan | GroupPlan]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a command line whose configuration file has this text."""

    def plan(text: str, *flags: str, level: str = "participant") -> ParticipantPlan | GroupPlan:
        path = tmp_path / "lab.toml"
        path.write_text(text)
        return plan_from(["in", "out", level, "--config-file", str(path), *flags])

    return plan


def test_a_file_means_what_its_flags_mean_on_the_command_line(read: Read) -> None:
    text = """
        nprocs = 3
        mem = "8G"
        work_dir = "scratch"
        task-id = ["task-rest", "nback"]
        derivatives = ["fmriprep=prep", "aroma=post"]
        verbose = 2
        [participant]
        denoise-strategy = "p36"
        fd_threshold = 0.5
        low-pass = 0
        dummy-scans = 4
        fisher-z = true
        combine-runs = false
        reports-only = true
        [group]
        target = "Response"
    """
    flags = (
        "--nprocs 3 --mem 8G --work-dir scratch --task-id rest nback -d fmriprep=prep aroma=post "
        "-vv --denoise-strategy p36 --fd-threshold 0.5 --low-pass 0 --dummy-scans 4 --fisher-z "
        "--reports-only"
    )
    typed = plan_from(["in", "out", "participant", *flags.split()])
    written = read(text)
    for name in ("resources", "selection", "derivatives", "denoise", "connectivity", "mode"):
        assert getattr(written, name) == getattr(typed, name)


def test_each_level_reads_its_own_table_over_the_top(read: Read) -> None:
    text = """
        desc = "simple"
        nprocs = 1
        [participant]
        nprocs = 2
        [group]
        desc = "p36"
        target = "y"
        where = ["type=patient"]
    """
    participant, group = read(text), read(text, level="group")
    assert isinstance(participant, ParticipantPlan)
    assert isinstance(group, GroupPlan)
    assert (participant.desc, participant.resources.n_procs) == ("simple", 2)
    assert (group.cohort.desc, group.resources.n_procs) == ("p36", 1)
    assert group.cohort.where == ("type=patient",)


def test_the_command_line_replaces_what_the_file_says_lists_and_modes_too(read: Read) -> None:
    text = 'participant-label = ["01", "02"]\nfd-threshold = 0.5\ndry-run = true'
    flags = ["--participant-label", "03", "--fd-thresh", "0.2", "--reports-only"]
    plan = read(text, *flags)
    assert isinstance(plan, ParticipantPlan)
    assert plan.selection.participants == ("03",)
    assert plan.denoise.fd_threshold == 0.2
    assert plan.mode == "reports-only"
    text = '[group]\ntarget = "y"\nwhere = ["a=b"]'
    group = read(text, "--where", "c=d", level="group")
    assert isinstance(group, GroupPlan)
    assert group.cohort.where == ("c=d",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fd-treshold = 0.5", "fd-treshold = 0.5 in .*lab.toml: unrecognized"),
        ("fd-threshold = true", "fd-threshold = True in .*: .*expected one argument"),
        ("fd-threshold = false", "fd-threshold = False in .*: .*expected one argument"),
        ('fd-threshold = "much"', "fd-threshold = 'much' in .*invalid float"),
        ("fd-threshold = [0.2, 0.3]", "fd-threshold = .* in .*unrecognized arguments: 0.3"),
        ("fisher-z = 1", "fisher-z = 1 in .*ignored explicit argument"),
        ("nprocs = 1.5", "nprocs = 1.5 in .*invalid int"),
        ("nprocs = 1979-05-27", "nprocs = .* in .*: give text, a number"),
        ("task-id = []", "task-id = .* in .*at least one"),
        ('space = "T1w"', "space = 'T1w' in .*invalid choice"),
        ('bids_dir = "elsewhere"', "bids-dir = 'elsewhere' in .*unrecognized"),
        ('config-file = "other.toml"', "config-file in .*lab.toml is for the command line only"),
        ("version = true", "version in .*lab.toml is for the command line only"),
        ("help = true", "help in .*lab.toml is for the command line only"),
        ("low-pass = 0.1\nlow_pass = 0.2", "lab.toml gives low-pass twice"),
        ("[group]\nepoch = 3", "epoch = 3 in .*unrecognized"),
        ("[parcel]\natlas = 'A424'", r"tables are \[participant\] and \[group\]"),
        ("group = 3", r"group in .*lab.toml must be a table"),
        ("epochs = 3", r"--epochs has no meaning at the participant level; .*lab.toml.*\[group\]"),
        ("low-pass 0.1", "lab.toml is not TOML"),
        ("low-pass = 0.01\nhigh-pass = 0.1", "nothing lies between"),
    ],
)
def test_a_wrong_key_is_refused_by_its_name_and_that_of_the_file(
    read: Read, text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        read(text)


def test_a_file_that_is_not_there_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "none.toml")
    assert main(["in", "out", "participant", "--config-file", path]) == 2
    assert f"--config-file {path} cannot be read" in capsys.readouterr().err


def test_a_written_switch_stays_off_where_it_is_false(read: Read) -> None:
    plan = read("write-graph = false\nclean-workdir = true")
    assert (plan.resources.write_graph, plan.resources.clean_workdir) == (False, True)


def test_a_flag_that_was_removed_is_ignored_in_a_file_with_a_line_and_refused_when_typed(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'target = "Response"\nsmoothgrad = 4\n'
    plan = read(text, level="group")
    assert isinstance(plan, GroupPlan)
    assert plan.cohort.target == "Response"
    said = capsys.readouterr().err
    assert "smoothgrad in" in said
    assert "is ignored: SmoothGrad was removed. Maps are integrated gradients" in said
    for words in (["--smoothgrad", "4"], ["--smoothgrad=0"]):
        with pytest.raises(UsageError, match=r"--smoothgrad: SmoothGrad was removed.*--null-maps"):
            plan_from(["in", "out", "group", "--target", "Response", *words])

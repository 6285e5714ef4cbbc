"""The Boutiques descriptor: that of this parser, valid, and its command lines are taken."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.boutiques import descriptor, render_descriptor
from fmmtc_bidsapp.cli.main import plan_from
from fmmtc_bidsapp.cli.tools import main
from fmmtc_bidsapp.plan import ParticipantPlan

ROOT = Path(__file__).resolve().parents[2]
BOSH = Path(sys.executable).with_name("bosh")
COMMITTED = ROOT / "fmmtc.json"


def test_the_committed_descriptor_is_that_of_this_parser(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["boutiques"]) == 0
    told = "run `fmmtc-tools boutiques > fmmtc.json`"
    assert capsys.readouterr().out == render_descriptor() == COMMITTED.read_text(), told


def test_every_flag_is_an_input_once() -> None:
    inputs = descriptor()["inputs"]
    names = [each["id"] for each in inputs]
    assert len(set(names)) == len(names)
    flags = {each.get("command-line-flag") for each in inputs}
    assert {"--target", "--participant-label", "--dry-run", "--verbose", "--mem-mb"} <= flags
    assert {each["type"] for each in inputs} == {"String", "Number", "File", "Flag"}


def test_nothing_in_it_depends_on_the_machine() -> None:
    text = render_descriptor()
    assert str(Path.home()) not in text
    assert "(default: the number of processors this process may use)" in text


@pytest.mark.skipif(not BOSH.exists(), reason="boutiques is not installed here")
def test_bosh_accepts_it_and_builds_a_command_that_we_accept(tmp_path: Path) -> None:
    subprocess.run([BOSH, "validate", COMMITTED], check=True, capture_output=True, timeout=120)
    bids = tmp_path / "bids"
    bids.mkdir()
    invocation = tmp_path / "invocation.json"
    chosen = {
        "bids_dir": str(bids),
        "output_dir": str(tmp_path / "out"),
        "level": "participant",
        "participant_label": ["01", "02"],
        "min_coverage": 0.4,
        "fisher_z": True,
        "nprocs": 2,
        "dry_run": True,
    }
    invocation.write_text(json.dumps(chosen))
    simulated = subprocess.run(
        [BOSH, "exec", "simulate", COMMITTED, "-i", invocation],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    line = next(each for each in simulated.stdout.splitlines() if each.startswith("fmmtc "))
    plan = plan_from(shlex.split(line)[1:])
    assert isinstance(plan, ParticipantPlan)
    assert plan.selection.participants == ("01", "02")
    assert (plan.parcel.min_coverage, plan.mode) == (0.4, "dry-run")
    assert plan.connectivity.fisher_z

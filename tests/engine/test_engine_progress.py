"""The time that is left, from what is done."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fmmtc_bidsapp.engine import progress
from fmmtc_bidsapp.engine.progress import NodeProgress


@dataclass(frozen=True)
class Node:
    fullname: str


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(capsys, clock, expected_s, seconds):
    """Run nodes one after the other, -> what is printed."""
    with NodeProgress("fit", expected_s) as shown:
        shown.expect(len(seconds))
        for name, own in seconds.items():
            clock[0] += own
            shown(Node(f"graph.{name}"), "end")
    return capsys.readouterr().out.splitlines()


SECONDS = {"long": 300.0, "short": 60.0, "shorter": 60.0}


def test_steps_that_take_different_times_count_by_them(capsys, clock):
    told = lines(capsys, clock, SECONDS, SECONDS)
    assert told[0] == "fit: 1 of 3 steps, about 2 min left"
    assert told[1] == "fit: 2 of 3 steps, about 60 s left"


def test_without_expectations_all_steps_count_the_same(capsys, clock):
    told = lines(capsys, clock, None, SECONDS)
    assert told[0] == "fit: 1 of 3 steps, about 10 min left"


def test_expectations_that_are_all_wrong_by_a_factor_change_nothing(capsys, clock):
    doubled = {name: 2 * own for name, own in SECONDS.items()}
    assert lines(capsys, clock, doubled, SECONDS)[0] == "fit: 1 of 3 steps, about 2 min left"

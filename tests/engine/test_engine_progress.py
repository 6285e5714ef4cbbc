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


def lines(capsys, clock, seconds, kinds=None):
    """Run nodes one after the other; 0 s for one that was finished before. -> what is printed."""
    with NodeProgress("fit", kinds) as shown:
        shown.expect(seconds)
        for name, own in seconds.items():
            if own:
                shown(Node(f"graph.{name}"), "start")
            clock[0] += own
            shown(Node(f"graph.{name}"), "end")
    return capsys.readouterr().out.splitlines()


def test_nodes_without_a_kind_take_as_long_as_those_that_ended(capsys, clock):
    told = lines(capsys, clock, {"a": 300.0, "b": 60.0, "c": 60.0})
    assert told[0] == "fit: 1 of 3 steps, about 10 min left"
    assert told[1] == "fit: 2 of 3 steps, about 3 min left"


def test_the_same_node_of_two_runs_is_of_one_kind(capsys, clock):
    seconds = {"one.read": 300.0, "one.write": 60.0, "two.read": 300.0, "two.write": 60.0}
    told = lines(capsys, clock, seconds)
    assert told[0] == "fit: 1 of 4 steps, at least 5 min left"
    assert told[1] == "fit: 2 of 4 steps, about 6 min left"
    assert told[2] == "fit: 3 of 4 steps, about 60 s left"
    assert told[3] == "fit: 4 of 4 steps"


def test_what_was_finished_before_tells_nothing_of_the_time(capsys, clock):
    told = lines(capsys, clock, {"a": 0.0, "b": 60.0, "c": 60.0})
    assert told[0] == "fit: 1 of 3 steps"
    assert told[1] == "fit: 2 of 3 steps, about 60 s left"


def test_kinds_are_told_apart_as_they_are_named(capsys, clock):
    seconds = {"a": 300.0, "b": 60.0, "c": 60.0}
    told = lines(capsys, clock, seconds, {"a": "long", "b": "short", "c": "short"})
    assert told[0] == "fit: 1 of 3 steps"
    assert told[1] == "fit: 2 of 3 steps, about 60 s left"


def test_an_hour_of_two_nodes_at_once_passes_in_half_an_hour(capsys, clock):
    with NodeProgress("fit") as shown:
        shown.expect(["a", "b", "c", "d"])
        for name in "ab":
            shown(Node(f"graph.{name}"), "start")
        clock[0] += 600.0
        for name in "ab":
            shown(Node(f"graph.{name}"), "end")
    assert capsys.readouterr().out.splitlines()[1] == "fit: 2 of 4 steps, about 10 min left"


def test_later_batches_are_counted_like_the_first(capsys, clock):
    with NodeProgress("fit") as shown:
        shown.expect(["a"], times=3)
        shown(Node("graph.a"), "start")
        clock[0] += 60.0
        shown(Node("graph.a"), "end")
    assert capsys.readouterr().out == "fit: 1 of 3 steps, about 2 min left\n"

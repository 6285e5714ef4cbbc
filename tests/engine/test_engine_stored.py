"""What finished nodes left is used where it is whole, and computed anew where it was cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving import Chains
from safetensors.numpy import save_file

from fmmtc_bidsapp.engine import load_shared, run_workflow, save_arrays, save_shared
from fmmtc_bidsapp.engine.stored import is_whole
from fmmtc_bidsapp.plan import ParticipantPlan

Halved = Callable[[], list[int]]


@pytest.mark.parametrize(
    "name", ["first_8/result_first_8.pklz", "second_8/result_second_8.pklz", "first_8/_node.pklz"]
)
@pytest.mark.parametrize(
    "share",
    [pytest.param(0.0, marks=pytest.mark.slow), 0.5, pytest.param(0.99, marks=pytest.mark.slow)],
)
def test_a_node_whose_stored_result_was_cut_is_computed_anew(
    name: str, share: float, plan: ParticipantPlan, chains: Chains, halved: Halved
) -> None:
    run_workflow(chains([8], plan), plan.resources, title="chains")
    assert halved() == [4, 8]
    stored = plan.workspace / "chains" / name
    os.truncate(stored, int(share * stored.stat().st_size))
    results = run_workflow(chains([8], plan), plan.resources, title="chains")
    assert results.failures == ()
    assert results.done == {"first_8", "second_8"}
    assert len(halved()) == 3


def test_a_node_whose_results_are_whole_is_not_computed_again(
    plan: ParticipantPlan, chains: Chains, halved: Halved
) -> None:
    for _ in range(2):
        run_workflow(chains([8], plan), plan.resources, title="chains")
    assert halved() == [4, 8]


def test_a_file_of_a_node_cut_anywhere_is_known_by_its_content(tmp_path: Path) -> None:
    values = np.arange(4000.0)
    save_arrays(tmp_path / "a.npz", {"values": values}, {"n": 1})
    np.save(tmp_path / "b.npy", values)
    np.save(tmp_path / "empty.npy", values[:0])
    save_file({"values": values}, tmp_path / "c.safetensors")
    (tmp_path / "d.json").write_text('{"a": [1, 2, 3]}')
    (tmp_path / "e.txt").write_text("words")
    files = sorted(tmp_path.iterdir())
    assert [each.name for each in files if not is_whole(each)] == []
    for path in (each for each in files if each.suffix != ".txt"):
        whole = path.read_bytes()
        for length in {0, 1, 7, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:length])
            assert not is_whole(path), (path.name, length)
    os.truncate(tmp_path / "e.txt", 0)
    assert not is_whole(tmp_path / "e.txt")


def test_shared_arrays_that_were_cut_are_written_anew(tmp_path: Path) -> None:
    path, values = tmp_path / "examples.json", np.arange(300_000.0)
    save_shared(path, {"values": values}, {})
    (stored,) = tmp_path.glob("*.npy")
    os.truncate(stored, 1000)
    save_shared(path, {"values": values}, {})
    np.testing.assert_array_equal(load_shared(path)[0]["values"], values)

"""The participant level in jobs of Grid Engine: the same bytes, though jobs are lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback import GridEngine, command, outcome, wait_for, wait_for_result, write_plugin

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "sge.yml"
    return write_plugin("sge.yml", path)


def test_a_deleted_job_is_replaced_and_the_bytes_are_those_of_this_machine(
    gridengine: GridEngine,
    bids: Path,
    atlas: Path,
    undisturbed: Path,
    plugin: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    process = gridengine.start(*command(bids, out, atlas, plugin))
    wait_for_result(out, "parcellate")
    job = gridengine.jobs()[0]
    gridengine.ask("qdel", str(job))
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    assert outcome(out) == outcome(undisturbed)
    wait_for(lambda: not gridengine.jobs(), 30)


def test_the_jobs_of_a_killed_command_end_with_it_and_a_second_call_goes_on(
    gridengine: GridEngine,
    bids: Path,
    atlas: Path,
    undisturbed: Path,
    plugin: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    process = gridengine.start(*command(bids, out, atlas, plugin))
    wait_for_result(out, "clean")
    process.kill()
    process.communicate()
    wait_for(lambda: not gridengine.jobs(), 90)
    again = gridengine.fmmtc(*command(bids, out, atlas, plugin))
    assert again.code == 0, again.text
    assert outcome(out) == outcome(undisturbed)


def test_what_qsub_refuses_is_told_in_its_own_words(
    gridengine: GridEngine, bids: Path, atlas: Path, tmp_path: Path
) -> None:
    refused = write_plugin("sge.yml", tmp_path / "refused.yml", queue="nosuch.q")
    done = gridengine.fmmtc(*command(bids, tmp_path / "out", atlas, refused))
    assert done.code == 2, done.text
    assert "qsub does not take jobs" in done.text
    assert "nosuch.q" in done.text

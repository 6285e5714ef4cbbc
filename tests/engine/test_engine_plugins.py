"""Plugin files: read, filled in by the flags, refused before anything is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from halving import Chains

from fmmtc_bidsapp.engine import check_resources, run_workflow
from fmmtc_bidsapp.engine.plugins import read_plugin
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

Halved = Callable[[], list[int]]


@pytest.fixture
def resources(plan: ParticipantPlan, tmp_path: Path) -> Resources:
    return replace(plan.resources, plugin_file=tmp_path / "plugin.yml", memory_gb=4.0)


def _write(resources: Resources, text: str) -> None:
    assert resources.plugin_file is not None
    resources.plugin_file.write_text(text)


def test_the_flags_fill_in_what_the_file_leaves_out(resources: Resources) -> None:
    _write(resources, "plugin: Linear\nplugin_args: {n_procs: 7, status: no}")
    plugin = read_plugin(resources)
    assert plugin.name == "Linear"
    assert plugin.arguments["n_procs"] == 7
    assert plugin.arguments["memory_gb"] == 4
    assert plugin.arguments["status"] is False
    assert plugin.poll_s >= 1


def test_without_a_file_processes_of_this_machine_do_the_work(plan: ParticipantPlan) -> None:
    plugin = read_plugin(plan.resources)
    assert (plugin.name, plugin.arguments["n_procs"]) == ("MultiProc", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plugin: SLURMGraph", "cannot say which steps failed. Use SLURM"),
        ("plugin: CondorDAGMan", "unknown plugin 'CondorDAGMan'; known are SLURM.*HTCondor"),
        ("plugin: Dask", "unknown plugin 'Dask'; known are .*Linear.*--scheduler-address"),
        ("plugin: IPython", "unknown plugin 'IPython'"),
        ("plugin: Linear\nplugin_arg: {}", "plugin_arg; it needs plugin"),
        ("- Linear", "it needs plugin"),
        ("", "it needs plugin"),
        ("plugin: [", "cannot be read as YAML"),
        ("plugin: Linear\nplugin_args: [1]", "plugin_args must be a list of NAME"),
        ("plugin_args: {n_procs: 0}", "n_procs is 0"),
        ("plugin_args: {n_procs: two}", "n_procs is 'two'"),
        ("plugin_args: {memory_gb: true}", "memory_gb is True"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(
    resources: Resources, text: str, words: str
) -> None:
    _write(resources, text)
    with pytest.raises(UsageError, match=words) as refused:
        check_resources(resources)
    assert str(resources.plugin_file) in str(refused.value)


def test_a_file_that_is_not_there_is_refused(resources: Resources) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        check_resources(resources)


@pytest.mark.parametrize("name", ["Linear", "LegacyMultiProc", "MultiProc"])
def test_plugins_of_this_machine_isolate_a_failure_alike(
    plan: ParticipantPlan, resources: Resources, chains: Chains, halved: Halved, name: str
) -> None:
    _write(resources, f"plugin: {name}")
    results = run_workflow(chains([8, 5, 12], plan), resources, title="chains")
    assert [each.node for each in results.failures] == ["first_5"]
    assert results.done == {"first_8", "second_8", "first_12", "second_12"}
    assert halved() == [4, 6, 8, 12]


def test_the_resource_monitor_without_psutil_is_refused(
    plan: ParticipantPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmmtc_bidsapp.engine.plugins.find_spec", lambda name: None)
    check_resources(plan.resources)
    with pytest.raises(UsageError, match="psutil"):
        check_resources(replace(plan.resources, resource_monitor=True))

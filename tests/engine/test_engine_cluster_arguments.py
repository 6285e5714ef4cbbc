"""Plugin files of jobs: dask-jobqueue's arguments, and the words of files written before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fmmtc_bidsapp.engine import check_resources
from fmmtc_bidsapp.engine.cluster.arguments import SCHEDULERS, job_arguments
from fmmtc_bidsapp.engine.cluster.directives import translate
from fmmtc_bidsapp.engine.cluster.jobs import cluster_class
from fmmtc_bidsapp.engine.plugins import read_plugin
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.plan import ParticipantPlan, Resources


@pytest.mark.parametrize(
    ("scheduler", "text", "expected"),
    [
        (
            "SLURM",
            "--partition=short --time=01:00:00",
            {"queue": "short", "walltime": "01:00:00"},
        ),
        (
            "SLURM",
            "-p gpu -t 4:00:00 -c 4 --mem 16G -A lab --gres=gpu:1 --exclusive",
            {
                "queue": "gpu",
                "walltime": "4:00:00",
                "cores": 4,
                "memory": "16GiB",
                "account": "lab",
                "job_extra_directives": ["--gres=gpu:1", "--exclusive"],
            },
        ),
        ("SLURM", "--mem=8000", {"memory": "8000MiB"}),
        (
            "SLURM",
            "--mem-per-cpu=2G --cpus-per-task=3 -pshort",
            {"memory": "6GiB", "cores": 3, "queue": "short"},
        ),
        ("SLURM", "", {}),
        (
            "SGE",
            "-V -cwd -q all.q -l h_vmem=4G,h_rt=01:00:00",
            {
                "queue": "all.q",
                "walltime": "01:00:00",
                "memory": "4GiB",
                "resource_spec": "h_vmem=4G",
            },
        ),
        (
            "SGE",
            "-q all.q -pe smp 4 -P lab -l gpu=1,h_rt=3600",
            {
                "queue": "all.q",
                "walltime": "3600",
                "project": "lab",
                "cores": 4,
                "job_extra_directives": ["-pe smp 4", "-l gpu=1"],
            },
        ),
        (
            "PBS",
            "-V -q batch -l nodes=1:ppn=2,mem=4gb,walltime=01:30:00",
            {
                "queue": "batch",
                "walltime": "01:30:00",
                "cores": 2,
                "memory": "4GiB",
                "resource_spec": "nodes=1:ppn=2,mem=4gb",
            },
        ),
        (
            "PBS",
            "-l select=1:ncpus=8:mem=32gb -l walltime=12:00:00 -A lab",
            {
                "cores": 8,
                "memory": "32GiB",
                "resource_spec": "select=1:ncpus=8:mem=32gb",
                "walltime": "12:00:00",
                "account": "lab",
            },
        ),
    ],
)
def test_words_for_a_queue_become_arguments(
    scheduler: str, text: str, expected: dict[str, Any]
) -> None:
    assert translate(scheduler, text, "here") == expected


@pytest.mark.parametrize(
    ("scheduler", "text", "words"),
    [
        ("SLURM", "--array=1-3", r"--array=1-3 has no counterpart"),
        ("SLURM", "--ntasks 4", r"--ntasks has no counterpart"),
        ("SLURM", "-o log", r"-o has no counterpart"),
        ("SLURM", "--partition", "--partition lacks its value"),
        ("SLURM", "--mem=lots", "'lots' is not a size of memory"),
        ("SLURM", "-c many", "'many' is not a number of cores"),
        ("SGE", "-t 1-3", "-t has no counterpart"),
        ("PBS", "-J 1-3", "-J has no counterpart"),
    ],
)
def test_a_word_that_would_be_ignored_is_refused(scheduler: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        translate(scheduler, text, "here")


MORE = {
    "HTCondor": {"disk": "1GB"},
    "OAR": {"memory_per_core_property_name": "memcore"},
}
GIVEN = {"queue": "short", "cores": 4, "memory": "16GB"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_script_of_each_scheduler_starts_the_workers_that_are_asked_for(
    scheduler: str, tmp_path: Path
) -> None:
    given = {"cores": 4, "memory": "16GB", "processes": 2, **MORE.get(scheduler, {})}
    arguments, _ = job_arguments(scheduler, given, Resources(tmp_path), "here")
    arguments.pop("max_jobs")
    options = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    kind = cluster_class(scheduler)
    with kind(**arguments | {"scheduler_options": options}) as cluster:
        script = cluster.job_script()
        command = cluster.job_cls.submit_command.split()[0]
    assert command == SCHEDULERS[scheduler]
    assert "--nthreads 2" in script
    assert "--nworkers 2" in script
    assert "--memory-limit 7.45GiB" in script
    assert "--dashboard-address 127.0.0.1:0" in script
    if scheduler == "HTCondor":
        assert "getenv = true" in script
    if scheduler in ("SGE", "PBS"):
        assert any(line.endswith(" -V") for line in script.splitlines())


def test_what_a_file_leaves_out_follows_from_flags_and_from_the_rest(tmp_path: Path) -> None:
    resources = Resources(tmp_path, omp_nthreads=2)
    found, notes = job_arguments("SLURM", GIVEN, resources, "here")
    assert (found["processes"], found["max_jobs"], notes) == (2, 20, ())
    on_gpu = GIVEN | {"job_extra_directives": ["--gres=gpu:1"]}
    assert job_arguments("SLURM", on_gpu, resources, "here")[0]["processes"] == 1
    left_out = {"queue": "short"}
    found, _ = job_arguments("SLURM", left_out, replace(resources, memory_gb=8.0), "here")
    assert (found["cores"], found["memory"], found["processes"]) == (2, "8GB", 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"queue": "short"}, "needs memory, what one job asks for"),
        (GIVEN | {"n_procs": 4, "template": "x"}, "plugin_args of SLURM: n_procs, template"),
        (GIVEN | {"project": "x"}, "unknown in plugin_args of SLURM: project"),
        (GIVEN | {"cores": 0}, "cores is 0; it must be a whole number above 0"),
        (GIVEN | {"max_jobs": True}, "max_jobs is True"),
        (GIVEN | {"job_extra_directives": "--x"}, "job_extra_directives is '--x'"),
        (GIVEN | {"sbatch_args": "--mem=4G"}, "memory is given twice, once in sbatch_args"),
        ({"sbatch_args": "--wrap=ls"}, r"sbatch_args: --wrap=ls has no counterpart"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        job_arguments("SLURM", given, Resources(tmp_path), "here")


@pytest.fixture
def resources(plan: ParticipantPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resources:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return replace(plan.resources, plugin_file=tmp_path / "plugin.yml")


def _write(resources: Resources, text: str) -> None:
    assert resources.plugin_file is not None
    resources.plugin_file.write_text(text)


def test_an_older_file_is_translated_and_the_log_says_how(
    resources: Resources, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--partition=short --time=01:00:00 --mem=4G"
    _write(
        resources,
        f"plugin: SLURM\nplugin_args: {{sbatch_args: {words}, max_jobs: 50, max_tries: 5}}",
    )
    check_resources(resources)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("plugin.yml: max_tries has no effect any more.")
    assert second.endswith(
        "plugin.yml: sbatch_args is read as queue: short, walltime: 01:00:00, memory: 4GiB."
    )
    arguments = read_plugin(resources).arguments
    assert (arguments["queue"], arguments["max_jobs"], arguments["n_procs"]) == ("short", 50, 50)


def test_a_queue_that_cannot_be_reached_is_refused_with_the_way_out(
    resources: Resources, tmp_path: Path
) -> None:
    _write(resources, "plugin: SLURM\nplugin_args: {cores: 1, memory: 4GB}")
    check_resources(resources)
    (tmp_path / "bin" / "sbatch").unlink()
    with pytest.raises(UsageError, match=r"sbatch, which is not on the PATH.*--scheduler-address"):
        check_resources(resources)


def test_samples_of_this_machine_are_refused_where_steps_run_elsewhere(
    resources: Resources,
) -> None:
    _write(resources, "plugin: SLURM\nplugin_args: {cores: 1, memory: 4GB}")
    with pytest.raises(UsageError, match="--resource-monitor samples processes of this machine"):
        check_resources(replace(resources, resource_monitor=True))


def test_a_file_and_an_address_are_one_too_many(resources: Resources) -> None:
    _write(resources, "plugin: SLURM\nplugin_args: {cores: 1, memory: 4GB}")
    with pytest.raises(UsageError, match="either --scheduler-address or --use-plugin"):
        check_resources(replace(resources, scheduler_address="tcp://127.0.0.1:8786"))

"""The scripts and plugin files that users copy: sound shell, and command lines that are taken."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dask_here import dask_here
from distributed.cli import dask_scheduler, dask_worker
from hpc_page import BLOCKS, PAGE, PLUGINS, ROOT, job_script

from fmmtc_bidsapp.cli.main import plan_from
from fmmtc_bidsapp.cli.tools import build_parser
from fmmtc_bidsapp.engine.plugins import check_resources, read_plugin
from fmmtc_bidsapp.plan import Resources

VARIABLES = {
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_MEM_PER_NODE": "8000",
    "participant": "sub-01",
    "COMMIT": "0" * 40,
}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_file_is_one_that_the_program_takes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sbatch", "qsub"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    resources = Resources(tmp_path, plugin_file=path)
    check_resources(resources)
    plugin = read_plugin(resources)
    assert plugin.name in ("SLURM", "SGE", "PBS")
    assert plugin.notes == ()
    assert plugin.arguments["max_jobs"] > 1
    assert f"plugins/{path.name}" in PAGE.read_text(encoding="utf-8")


def test_there_is_a_plugin_file_for_each_scheduler() -> None:
    assert {"slurm.yml", "sge.yml", "pbs.yml"} <= {path.name for path in PLUGINS}


_with_shellcheck = pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="shellcheck is not installed here"
)


@_with_shellcheck
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_shellcheck_finds_nothing(number: int) -> None:
    # Lines without a shebang are typed into bash; COMMIT is the reader's.
    words = ["shellcheck", "--shell=bash", "--exclude=SC2154", "-"]
    done = subprocess.run(words, input=BLOCKS[number], capture_output=True, text=True)
    assert done.stdout == ""


@_with_shellcheck
def test_shellcheck_finds_nothing_in_the_script_that_starts_a_slurm() -> None:
    scripts = list((ROOT / "tests" / "cluster").glob("*.sh"))
    assert scripts
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.stdout == ""


def _commands(program: str) -> list[list[str]]:
    """Find what the page has run, as the program would get it."""
    found = []
    for block in BLOCKS:
        text = re.sub(r"\$\(\(.*?\)\)", "7200", block.replace("\\\n", " "))
        text = re.sub(r"\$(\w+)", lambda name: VARIABLES.get(name[1], "/somewhere"), text)
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            marks = {"fmmtc-tools": ["fmmtc-tools"], "fmmtc": ["fmmtc", "fmmtc.sif"]}[program]
            at = next((n for n, word in enumerate(words) if word in marks), None)
            if at is not None and words[at + 1 :][:1] not in ([], ["fmmtc-tools"], ["dask"]):
                found.append(words[at + 1 :])
    return found


def test_every_run_on_the_page_is_one_that_the_program_takes() -> None:
    levels = [type(plan_from(words)).__name__ for words in _commands("fmmtc")]
    assert levels == ["ParticipantPlan", *["GroupPlan"] * 4]


@pytest.mark.parametrize("command", ["scheduler", "worker"])
def test_every_command_of_dask_on_the_page_is_one_that_dask_takes(command: str) -> None:
    text = "\n".join(BLOCKS).replace("\\\n", " ")
    (line,) = re.findall(rf"\bdask {command} (.*?)&$", text, re.MULTILINE)
    kind = {"scheduler": dask_scheduler, "worker": dask_worker}[command]
    words = shlex.split(line.replace("$file", "x"))
    with kind.main.make_context(command, words) as context:
        assert context.params["scheduler_file"] == "/work/x"
        assert context.params["interface"] == "INTERFACE"


@pytest.mark.slow
def test_with_the_certificate_of_the_page_only_its_owner_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (block for block in BLOCKS if "openssl" in block)
    given = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(["bash", "-c", block], env=given, check=True, capture_output=True)
    assert (tmp_path / ".config/dask/tls/key.pem").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / ".config" / "dask"))
    with dask_here(tmp_path, security=True) as dask:
        dask.add_workers(1)
        assert dask.address.startswith("tls://")
        ask = f"Client({dask.address!r}, timeout=3).submit(len, 'abc').result()"
        words = [sys.executable, "-c", f"from distributed import Client; print({ask})"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.stdout == "3\n", done.stderr
        monkeypatch.delenv("DASK_CONFIG")
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode != 0
        assert "TLS expects a `ssl_context`" in done.stderr


def test_the_cache_that_the_image_binds_is_made_first(tmp_path: Path) -> None:
    (fetch,) = (block for block in BLOCKS if "export FMMTC_CACHE_DIR" in block)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "fmmtc-tools").touch(0o755)
    given = VARIABLES | {"HOME": str(tmp_path), "PATH": path}
    subprocess.run(["bash", "-c", fetch], env=given, check=True)
    assert (tmp_path / "fmmtc-cache").is_dir()


def test_every_tool_on_the_page_is_one_that_there_is() -> None:
    tools = [build_parser().parse_args(words).tool for words in _commands("fmmtc-tools")]
    assert tools == ["fetch", "fetch", "fetch", "check"]


def test_the_array_job_takes_each_participant_once(tmp_path: Path) -> None:
    script = job_script("--array")
    people = [f"sub-{n:02}" for n in (3, 1, 2)]
    for each in people:
        (tmp_path / "bids/derivatives/fmriprep" / each).mkdir(parents=True)
    (tmp_path / "bids/derivatives/fmriprep/sub-01.html").touch()
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "apptainer").write_text('#!/bin/sh\necho "$@"\n')
    (fake / "apptainer").chmod(0o755)
    script = script.replace("/data/ME", str(tmp_path)).replace("/scratch/ME", str(tmp_path))
    told = []
    for task in (1, 2, 3, 4):
        given = VARIABLES | {"SLURM_ARRAY_TASK_ID": str(task), "HOME": str(tmp_path)}
        path = f"{fake}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script], env=given | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    for each, text in zip(sorted(people), told[:3], strict=True):
        assert f"--participant-label {each} " in text
        assert "--mem-mb 7200" in text
    assert told[3] == "No participant number 4.\n"

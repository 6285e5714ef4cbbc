"""A SLURM and a Grid Engine for the session, and a small study of two people."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpc_page import ROOT
from loopback import GridEngine, Slurm
from small_study import fmmtc, write_block_atlas, write_study

HERE = Path(__file__).parent


def hold(script: str, folder: Path) -> Iterator[dict[str, str]]:
    """Start a queue; it ends with this process, however that ends. -> its jobs' environment."""
    # Started in the background of a script, the tests ignore Ctrl-C, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [HERE / script, "hold", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    yield {"PYTHONPATH": paths}
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def require(program: str, name: str) -> None:
    if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip(f"{name} is not installed; make cluster-test does it where it can")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    require("slurmctld", "SLURM")
    folder = tmp_path_factory.mktemp("slurm")
    for environment in hold("slurm_on_loopback.sh", folder):
        yield Slurm({"SLURM_CONF": str(folder / "slurm.conf"), **environment})


@pytest.fixture(scope="session")
def gridengine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    require("sge_qmaster", "Grid Engine")
    if os.geteuid() != 0:
        pytest.skip("Grid Engine's execution daemon needs root")
    folder = tmp_path_factory.mktemp("gridengine")
    for environment in hold("gridengine_on_loopback.sh", folder):
        lines = (folder / "environment").read_text().splitlines()
        yield GridEngine({**dict(line.split("=", 1) for line in lines), **environment})


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_block_atlas(tmp_path_factory.mktemp("atlas"))


@pytest.fixture(scope="session")
def bids(tmp_path_factory: pytest.TempPathFactory, atlas: Path) -> Path:
    """Two people of a simulated study."""
    study = write_study(tmp_path_factory.mktemp("study") / "bids", atlas)
    for who in ("sub-03", "sub-04"):
        shutil.rmtree(study / "derivatives" / "fmriprep" / who)
    return study


@pytest.fixture(scope="session")
def undisturbed(bids: Path, atlas: Path) -> Path:
    """What processes of this machine make of the study."""
    out = bids.with_name("undisturbed")
    done = fmmtc(bids, out, "participant", "--atlas", atlas, "-w", bids.with_name("work"))
    assert done.code == 0, done.text
    return out

"""Singularity.def, built and run by Apptainer as an ordinary user; without Apptainer, skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bids_schema import validate
from container_engine import place

from fmmtc_bidsapp import __version__
from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.simulate.dataset import write_dataset
from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.parcellation import demo_atlas

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("apptainer.sh")
UID = 1234
"""Of apptainer.sh."""

Apptainer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sif() -> Path:
    image = place() / "sif" / "fmmtc.sif"
    if os.geteuid() != 0 or not image.is_file():
        pytest.skip(f"no {image}: make container-test builds it where Apptainer can be had")
    return image


@pytest.fixture(scope="module")
def apptainer() -> Apptainer:
    """Return a function that runs one of Apptainer's commands."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["bash", SCRIPT, "apptainer", "--quiet", *words]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def folder(sif: Path) -> Iterator[Path]:
    """A folder that an ordinary user reaches, with a study in it and room for results."""
    made = Path(tempfile.mkdtemp(dir=sif.parent))
    made.chmod(0o755)
    options = SimulationOptions(people=5, controls=1, volumes=60)
    atlas = resolve_atlas(str(demo_atlas(made, 48)))
    write_dataset(made / "bids", options, atlas, voxel_size_mm=6.0)
    for name in ("out", "work"):
        (made / name).mkdir()
        os.chown(made / name, UID, UID)
    yield made
    shutil.rmtree(made)


def test_the_image_says_its_version_and_labels(sif: Path, apptainer: Apptainer) -> None:
    done = apptainer("run", "--cleanenv", f"/host{sif}", "--version")
    assert done.stdout == f"fmmtc {__version__}\n", done.stderr
    done = apptainer("inspect", "--json", "--labels", f"/host{sif}")
    labels = json.loads(done.stdout)["data"]["attributes"]["labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_participant_level_runs_without_network_on_inputs_that_are_read_only(
    sif: Path, apptainer: Apptainer, folder: Path
) -> None:
    modes = {"bids:/data": ":ro", "out:/out": "", "work:/work": ""}
    binds = [f"--bind=/host{folder}/{names}{mode}" for names, mode in modes.items()]
    options = ["--nv", "--cleanenv", "--containall", "--net", "--network", "none", *binds]
    words = ["/data", "/out", "participant", "--work-dir", "/work"]
    words += ["--participant-label", "01", "02", "--atlas", "/data/sourcedata/simulation"]
    done = apptainer("run", *options, f"/host{sif}", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    out = folder / "out"
    assert {path.lstat().st_uid for path in out.rglob("*")} == {UID}
    assert validate(out, extended=True) == []
    about = json.loads((out / "dataset_description.json").read_text())
    tag = f"fmmtc_bidsapp:{__version__}"
    assert about["GeneratedBy"][0]["Container"] == {"Type": "singularity", "Tag": tag}


def test_a_missing_atlas_is_one_line_and_69(sif: Path, apptainer: Apptainer, folder: Path) -> None:
    binds = [f"--bind=/host{folder}/bids:/data:ro", f"--bind=/host{folder}/out:/out"]
    options = ["--cleanenv", "--containall", "--net", "--network", "none", *binds]
    words = ["/data", "/out/none", "participant", "--work-dir", "/tmp/work"]
    done = apptainer("run", *options, f"/host{sif}", *words)
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert "fmmtc-tools fetch atlas" in line

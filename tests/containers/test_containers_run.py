"""A study from simulation to new people's predictions inside the image, as strictly as can be.

No network, a root and inputs that nothing can be written to, a user whom the image does not know.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from bids_schema import validate
from container_engine import STRICT, UID, Engine
from parcel_study import TINY

from fmmtc_bidsapp import __version__
from fmmtc_bidsapp.bidsio.files.names import GroupFiles

pytestmark = [pytest.mark.container, pytest.mark.timeout(1200)]

PEOPLE, CONTROLS = 10, 2
STUDY = f"--people {PEOPLE} --controls {CONTROLS} --seed 1 --strength 2 --volumes 60"
STUDY += " --atlas demo --parcels 48 --voxel-size-mm 6"
GROUP = f"--target Response --where type=patient {TINY}"
NEW = ("05", "06")
PLACES = ("dataset_description.json", "sub-*.html")
"""Files that name the folders of the run, and the container."""


@dataclass(frozen=True)
class Study:
    """Folders of this machine, and how the commands on them ended."""

    bids: Path
    out: Path
    applied: Path
    ended: dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def study(engine: Engine, theirs: Path) -> Study:
    """Simulate, both levels, and the kept model on two people."""
    for name in ("out", "applied", "work"):
        (theirs / name).mkdir()
        os.chown(theirs / name, UID, UID)
    words = ("simulate", "/theirs/bids", *STUDY.split())
    ended = {"simulate": engine.run(*words, binds={"/theirs": theirs}, program="fmmtc-tools")}
    assert ended["simulate"].returncode == 0, ended["simulate"].stderr
    binds = {"/data:ro": theirs / "bids", "/out": theirs / "out", "/work": theirs / "work"}
    runs = {
        "participant": "/data /out participant --atlas /data/sourcedata/simulation",
        "group": f"/data /out group {GROUP}",
        "apply": "/data /applied group --analysis apply --model /out/models/fmmtc "
        f"--derivatives parcels=/out --participant-label {' '.join(NEW)}",
    }
    for name, text in runs.items():
        if name == "apply":
            binds |= {"/out:ro": binds.pop("/out"), "/applied": theirs / "applied"}
        ended[name] = engine.run(*text.split(), "--work-dir", "/work", binds=binds)
    return Study(theirs / "bids", theirs / "out", theirs / "applied", ended)


@pytest.mark.parametrize("name", ["participant", "group", "apply"])
def test_every_level_runs(study: Study, name: str) -> None:
    done = study.ended[name]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_written_is_valid_bids(study: Study) -> None:
    assert validate(study.out, extended=True) == []
    assert validate(study.applied, extended=True) == []


def test_new_people_are_predicted(study: Study) -> None:
    table = pd.read_csv(GroupFiles(study.applied, "applied").predictions, sep="\t")
    assert table["participant_id"].tolist() == [f"sub-{who}" for who in NEW]
    assert table["probability"].between(0, 1).all()


def test_everything_written_belongs_to_the_user(study: Study) -> None:
    for folder in (study.out, study.applied, study.bids):
        owners = {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
        assert owners == {UID}


def test_the_output_says_which_container_made_it(study: Study) -> None:
    about = json.loads((study.out / "dataset_description.json").read_text())
    tag = f"fmmtc_bidsapp:{__version__}"
    assert about["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": tag}


def test_every_result_is_byte_for_byte_that_of_a_run_outside(study: Study, tmp_path: Path) -> None:
    here = [sys.executable, "-m", "fmmtc_bidsapp", str(study.bids), str(tmp_path / "out")]
    environ = os.environ | {"FMMTC_CACHE_DIR": "/cache"}
    atlas = f"--atlas {study.bids}/sourcedata/simulation"
    for text in (f"participant {atlas}", f"group {GROUP}"):
        words = [*here, *text.split(), "--work-dir", str(tmp_path / "work")]
        done = subprocess.run(words, capture_output=True, text=True, env=environ, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    inside, outside = contents(study.out), contents(tmp_path / "out")
    assert inside.keys() == outside.keys()
    assert [path for path in inside if inside[path] != outside[path]] == []


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file of a result, by its path; logs tell of the run and not of the data."""
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    kept = [path for path in paths if not {"log", "logs"} & set(path.parts)]
    kept = [path for path in kept if not any(map(path.match, PLACES))]
    return {str(path): paths[path].read_bytes() for path in kept}


def test_without_any_folder_for_temporary_files_another_can_be_named(
    engine: Engine, study: Study, theirs: Path
) -> None:
    # Docker's own --read-only brings no /tmp that can be written to.
    (theirs / "scratch").mkdir()
    os.chown(theirs / "scratch", UID, UID)
    named = ("--env=TMPDIR=/theirs/scratch", "--env=MPLCONFIGDIR=/theirs/scratch")
    text = "/data /theirs/one participant --participant-label 05 --work-dir /theirs/scratch/work"
    done = engine.run(
        *text.split(),
        *("--atlas", "/data/sourcedata/simulation"),
        options=(*STRICT, "--read-only-tmpfs=false", *named),
        binds={"/data:ro": study.bids, "/theirs": theirs},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (theirs / "one" / "sub-05.html").exists()


def test_a_missing_atlas_is_one_line_and_69(engine: Engine, study: Study, theirs: Path) -> None:
    binds = {"/data:ro": study.bids, "/theirs": theirs}
    words = ["/data", "/theirs/none", "participant", "--work-dir", "/theirs/work"]
    done = engine.run(*words, binds=binds)
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert line.startswith("fmmtc: ")
    assert "fmmtc-tools fetch atlas" in line
    assert not (theirs / "none").exists()

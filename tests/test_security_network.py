"""No telemetry: no command looks for a network of itself, and all say what is missing without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from no_network import NETWORK, run_offline
from parcel_study import write_parcel_study
from small_study import N6, N9, write_block_atlas

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.simulate.dataset import write_dataset
from fmmtc_bidsapp.simulate.options import SimulationOptions

COMMANDS = {
    "help": ("main", ["--help"], 0),
    "version": ("main", ["--version"], 0),
    "a refused group level": ("main", ["in", "out", "group"], 2),
    "a group level without people": (
        "main",
        ["in", "out", "group", "--target", "y", "--encoder", "random", "--dry-run"],
        65,
    ),
    "a participant level without data": ("main", ["in", "out", "participant"], 2),
    "tools version": ("tools", ["--version"], 0),
    "tools check": ("tools", ["check"], 69),
    "tools boutiques": ("tools", ["boutiques"], 0),
}


def _main(module: str, words: list[str]) -> list[str]:
    return ["-c", f"from fmmtc_bidsapp.cli.{module} import main\nraise SystemExit(main({words!r}))"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_connects_to_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    module, words, code = COMMANDS[name]
    done = run_offline(_main(module, words), tmp_path)
    assert NETWORK not in done.stderr
    assert done.returncode == code, done.stderr


def test_no_library_that_a_level_imports_connects_to_anything(tmp_path: Path) -> None:
    code = (
        "from fmmtc_bidsapp.cli.main import run_guarded\n"
        "def imports():\n"
        "    import fmmtc_bidsapp.participant.run, fmmtc_bidsapp.group.run\n"
        "    import fmmtc_bidsapp.participant.tasks, fmmtc_bidsapp.group.tasks.fit_tasks\n"
        "    import captum.attr\n"
        "    from nipype.interfaces.utility import IdentityInterface\n"
        "    IdentityInterface(fields=['x'])\n"
        "    return 0\n"
        "raise SystemExit(run_guarded('fmmtc', imports))"
    )
    done = run_offline(["-c", code], tmp_path)
    assert NETWORK not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    # In a worker, since the plugins of nipype have some.
    look = "import socket; socket.create_connection(('127.0.0.1', 9))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {look!r}])"
    assert NETWORK in run_offline(["-c", code], tmp_path).stderr


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write runs in another template than their atlas's, and series of another program."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "atlas").mkdir()
    atlas = write_block_atlas(folder / "atlas")
    options = SimulationOptions(people=4, controls=0, volumes=60)
    write_dataset(folder / N6, options, resolve_atlas(str(atlas)), voxel_size_mm=6.0)
    (folder / N6).joinpath("derivatives").rename(folder / "derivatives")
    for path in sorted((folder / "derivatives").rglob(f"*{N6}*")):
        path.rename(path.with_name(path.name.replace(N6, N9)))
    about = {"Name": "x", "BIDSVersion": "1.11.1"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    write_parcel_study(folder / "parcels")
    return folder


MISSING = {
    "the atlas": ("main", "STUDY out participant", "fmmtc-tools fetch atlas"),
    "the templates": (
        "main",
        "STUDY out participant --atlas STUDY/atlas",
        "fmmtc-tools fetch templates",
    ),
    "the weights": (
        "main",
        "PARCELS out group --target response -d parcels=PARCELS/derivatives/parcels --folds 2",
        "fmmtc-tools fetch brainlm",
    ),
    "a network for the atlas": ("tools", "fetch atlas", "FMMTC_ATLAS_DIR"),
    "a network for the templates": ("tools", "fetch templates", "TEMPLATEFLOW_HOME"),
    "a network for the weights": (
        "tools",
        f"fetch brainlm --accept-license --revision {COMMIT}",
        "--encoder-weights",
    ),
}


LONG = ("a network for the weights", "the weights")
"""The hub's library tries again several times; the group level reads a cohort first."""


@pytest.mark.parametrize(
    "what",
    [pytest.param(each, marks=pytest.mark.slow) if each in LONG else each for each in MISSING],
)
def test_what_is_missing_is_one_line_that_says_what_to_do(
    what: str, study: Path, tmp_path: Path
) -> None:
    module, command, way_out = MISSING[what]
    places = command.replace("STUDY", str(study)).replace("PARCELS", str(study / "parcels"))
    done = run_offline(_main(module, places.split()), tmp_path)
    assert done.returncode == 69, done.stdout + done.stderr
    told = done.stderr.splitlines()[-1] if done.stderr else ""
    # What only some runs need is told beside them.
    told += "".join(line for line in done.stdout.splitlines() if "sub-01: skipped: " in line)
    assert way_out in told
    assert "Traceback" not in done.stdout + done.stderr

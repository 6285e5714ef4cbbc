"""What the built image is: its size, its start, what is inside and what is not."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from container_engine import IMAGE, UID, Engine

from fmmtc_bidsapp import __version__
from fmmtc_bidsapp.bidsio.atlases import a424

pytestmark = pytest.mark.container

MOST_BYTES = 2.5e9
COLD_S = 1.0
CACHES = Path("/proc/sys/vm/drop_caches")


@pytest.fixture(scope="module")
def about(engine: Engine) -> dict[str, Any]:
    """What the image says of itself."""
    done = engine.podman("image", "inspect", IMAGE)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def root(engine: Engine) -> Iterator[Path]:
    """The image's files, read from outside."""
    done = engine.podman("image", "mount", IMAGE)
    assert done.returncode == 0, done.stderr
    yield Path(done.stdout.strip())
    engine.podman("image", "unmount", IMAGE)


@pytest.fixture(scope="module")
def files(root: Path) -> dict[str, int]:
    """Bytes by path inside, of files alone."""
    found = {path: path.lstat() for path in root.rglob("*")}
    regular = {path: about for path, about in found.items() if stat.S_ISREG(about.st_mode)}
    return {str(path.relative_to(root)): about.st_size for path, about in regular.items()}


def test_the_image_is_small_enough(files: dict[str, int]) -> None:
    if any(path.endswith("/libtorch_cuda.so") for path in files):
        pytest.skip("torch of this image has CUDA")
    assert sum(files.values()) <= MOST_BYTES


def test_the_command_starts_within_a_second_from_a_cold_disk(engine: Engine) -> None:
    # Of a few, since other work on the machine is not the image's.
    taken_s = [_cold_start_s(engine) for _ in range(5)]
    assert min(taken_s) <= COLD_S, taken_s


def _cold_start_s(engine: Engine) -> float:
    """Time the command by a clock inside, after nothing of the image is in memory any more."""
    clock = "date +%s.%N"
    script = f"echo ready; read go; {clock}; fmmtc --version; {clock}"
    words = ("run", "--rm", "--interactive", "--network", "none", "--entrypoint", "/bin/sh")
    with engine.start(*words, IMAGE, "-c", script) as container:
        assert container.stdout.readline() == "ready\n"
        if os.access(CACHES, os.W_OK):
            CACHES.write_text("3\n")
        told, _ = container.communicate("go\n")
    began, version, ended = told.splitlines()
    assert version == f"fmmtc {__version__}"
    return float(ended) - float(began)


def test_labels_say_what_it_is_and_the_entrypoint_is_the_command(about: dict[str, Any]) -> None:
    labels = {name.rpartition(".")[2]: text for name, text in about["Labels"].items()}
    assert labels["title"] == "fmmtc_bidsapp"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert about["Config"]["Entrypoint"] == ["fmmtc"]
    assert not about["Config"].get("Cmd")
    assert about["Config"]["User"] == "1000:1000"


UNWANTED = (
    r"\.(safetensors|ckpt|ptl?|onnx)$",
    r"pytorch_model.*\.bin$",
    r"^src/",
    r"^(root|home/\w+)/\.cache/",
    r"^opt/fmmtc/.*/site-packages/(pip|pytest|SimpleITK|playwright)/",
    r"^opt/fmmtc/.*/(torch/(include|test)|pandas/tests)/",
    r"^opt/fmmtc/.*\.a$",
)


@pytest.mark.parametrize("pattern", UNWANTED)
def test_nothing_unneeded_or_not_ours_to_ship_is_inside(
    files: dict[str, int], pattern: str
) -> None:
    assert [path for path in files if re.search(pattern, path)] == []


def test_the_atlas_is_not_inside(files: dict[str, int]) -> None:
    names = {*a424.SHA256, a424.DLABEL}
    assert [path for path in files if Path(path).name in names] == []
    assert [path for path in files if path.startswith("cache/")] == []


def test_every_module_has_its_bytecode(files: dict[str, int]) -> None:
    ours = [path for path in files if re.match(r"opt/fmmtc/.*/fmmtc_bidsapp/.*\.py$", path)]
    assert ours
    for path in map(Path, ours):
        compiled = path.parent / "__pycache__"
        assert any(each.startswith(f"{compiled}/{path.stem}.") for each in files), path


IMPORT_ALL = """
import importlib, pkgutil, fmmtc_bidsapp
names = [each.name for each in pkgutil.walk_packages(fmmtc_bidsapp.__path__, "fmmtc_bidsapp.")]
names.remove("fmmtc_bidsapp.__main__")
# What some only import when it is needed.
names += ["captum.attr", "h5py", "nilearn.plotting", "templateflow", "torch.utils.data", "xgboost"]
print([importlib.import_module(name).__name__ for name in names][-1])
"""


def test_everything_can_be_imported_that_the_program_may_need(engine: Engine) -> None:
    done = engine.run("-c", IMPORT_ALL, program="python")
    assert done.stdout == "xgboost\n", done.stderr


def test_a_scheduler_of_dask_and_its_worker_start_inside(engine: Engine) -> None:
    host = "--host 127.0.0.1 --dashboard-address 127.0.0.1:0 --scheduler-file /tmp/scheduler.json"
    ask = "Client(scheduler_file='/tmp/scheduler.json', timeout=60).submit(len, 'abc').result()"
    script = (
        f"dask scheduler --port 0 {host} & dask worker --nthreads 1 {host} & "
        f'python -c "from distributed import Client; print({ask})"'
    )
    done = engine.run("-c", script, program="/bin/sh")
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize("user", [(), ("--user", f"{UID}:{UID}", "--passwd=false")])
def test_anyone_has_a_home_and_a_cache_to_write_to(engine: Engine, user: tuple[str, ...]) -> None:
    script = "touch ~/a $FMMTC_CACHE_DIR/b $TEMPLATEFLOW_HOME/c && id -u && ls $TEMPLATEFLOW_HOME"
    done = engine.run("-c", script, options=("--network", "none", *user), program="/bin/sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == (str(UID) if user else "1000")
    assert "tpl-MNI152NLin6Asym" in done.stdout

"""The built image, and what every run in it may see."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from container_engine import IMAGE, UID, Engine, place

BUILD = "make container-test builds it"


@pytest.fixture(scope="session")
def engine() -> Engine:
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip(f"no podman that runs as root here ({BUILD})")
    found = Engine(place())
    if found.podman("image", "exists", IMAGE).returncode:
        pytest.skip(f"no image {IMAGE} at {found.folder} ({BUILD})")
    return found


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user that the image does not know."""
    folder = tmp_path_factory.mktemp("theirs")
    os.chown(folder, UID, UID)
    return folder

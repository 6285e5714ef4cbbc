"""A study of two people, and what an undisturbed run makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from participant.tiny_study import write_study
from survival import Place, mount_small_disk, unmount


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("undisturbed")
    place = Place(write_study(folder, ("01", "02")), folder / "out", folder / "work")
    done = place.run()
    assert done.code == 0, done.text
    return place


@pytest.fixture
def place(undisturbed: Place, tmp_path: Path) -> Place:
    """Where the same study is taken through a fault."""
    return undisturbed.within(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a size; it is given back after the test."""
    mounted = []

    def mount(size: str) -> Path:
        folder = tmp_path / "disk"
        mount_small_disk(folder, size)
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        unmount(folder)

"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread a worker, before a numerical library is imported: threads of several workers would wait
# for each other's cores.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
for _name in _THREADS:
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files at the top: both levels from end to end, the longest ones."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real test data; tests that need it skip without it."""
    folder = Path(os.environ.get("FMMTC_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared test data at {folder} (set FMMTC_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's atlas and cache out of the tests, and tests off the network."""
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("FMMTC_ATLAS_DIR", raising=False)


@pytest.fixture(autouse=True)
def _own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give back afterwards what a command sets in the process that it runs in."""
    for name in _THREADS:
        monkeypatch.setenv(name, os.environ[name])

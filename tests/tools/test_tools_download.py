"""Files from the network: whole or absent, fetched once, and no secret in an error."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from filelock import SoftFileLock
from hub import Hub, serving

from fmmtc_bidsapp.bidsio.files.fetch_file import Sha256Error, fetch_file, without_secrets

CONTENT = bytes(range(256)) * 16384
"""Four pieces of a megabyte."""


def _mismatch(found: bytes, expected: str) -> str:
    return f"^sha256 mismatch: got {hashlib.sha256(found).hexdigest()}, expected {expected}$"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as found:
        found.files["/file"] = CONTENT
        yield found


def test_a_file_comes_whole_and_leaves_nothing_beside_it(hub: Hub, tmp_path: Path) -> None:
    fetch_file(f"{hub.url}/file", tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_connection_that_breaks_off_is_tried_again(hub: Hub, tmp_path: Path) -> None:
    hub.breaks_off["/file"] = [3_000_000, 0, len(CONTENT)]
    fetch_file(f"{hub.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(hub.asked) == 3


def test_a_connection_that_always_breaks_off_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.breaks_off["/file"] = [2_000_000, 2_000_000, 2_000_000]
    with pytest.raises(ConnectionError, match=r"^127\.0\.0\.1: the connection was lost$"):
        fetch_file(f"{hub.url}/file", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_fetch_left_is_removed_by_the_next(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / ".file.part").mkdir()
    (tmp_path / ".file.part" / "tmp1234").write_bytes(b"half")
    fetch_file(f"{hub.url}/file", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_others_may_read_what_came(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "as usual").touch()
    fetch_file(f"{hub.url}/file", tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "as usual").stat().st_mode


def test_of_two_runs_at_once_one_fetches_and_the_other_waits(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch_file(f"{hub.url}/file", path), range(4)))
    assert path.read_bytes() == CONTENT
    assert len(hub.asked) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_of_several_that_find_a_damaged_file_one_replaces_it(hub: Hub, tmp_path: Path) -> None:
    path, expected = tmp_path / "file", hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(b"damaged")
    hub.pause_s = 0.2
    with ThreadPoolExecutor(4) as pool:
        fetch = partial(fetch_file, f"{hub.url}/file", path, sha256=expected)
        list(pool.map(lambda _: fetch(), range(4)))
    assert path.read_bytes() == CONTENT
    assert len(hub.asked) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_is_not_the_expected_file_replaces_nothing(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"damaged")
    with pytest.raises(Sha256Error, match=_mismatch(CONTENT, "0" * 64)):
        fetch_file(f"{hub.url}/file", tmp_path / "file", sha256="0" * 64)
    assert (tmp_path / "file").read_bytes() == b"damaged"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_run_that_waits_for_another_says_which_file_to_delete_if_there_is_none(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / ".file.lock"
    # As a run leaves it that was killed in another container.
    lock.write_text("1\nanother-host\n")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fetch_file, f"{hub.url}/file", tmp_path / "file")
        told = ""
        while not told and not waiting.done():
            time.sleep(0.05)
            told = capsys.readouterr().err
        assert not waiting.done()
        lock.unlink()
        waiting.result(timeout=60)
    assert told.endswith(f"if none is running, delete {lock}\n")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_another_run_never_finishes_is_given_up(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmmtc_bidsapp.bidsio.files.fetch_file._PATIENCE_S", 0.1)
    monkeypatch.setattr("fmmtc_bidsapp.bidsio.files.fetch_file._SILENCE_S", 0.1)
    lock = tmp_path / ".file.lock"
    with SoftFileLock(lock), pytest.raises(ConnectionError, match=f"delete {lock}"):
        fetch_file(f"{hub.url}/file", tmp_path / "file")


def test_a_file_that_is_not_there_is_told_with_host_and_answer(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"^127\.0\.0\.1 answers 404 Not Found$"):
        fetch_file(f"{hub.url}/other", tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "proxy", ["http://me:hunter2@127.0.0.1:9", "http://me:hunter2@", "http://me:hunter2@[bad"]
)
def test_the_password_of_a_proxy_is_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ConnectionError) as caught:
        fetch_file("http://fmmtc.invalid/file", tmp_path / "file")
    assert "fmmtc.invalid" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    # What a traceback would show as well.
    assert caught.value.__suppress_context__


def test_addresses_in_a_text_lose_their_credentials() -> None:
    text = "Failed to parse: http://me:hunter2@proxy:3128\nand https://token@host/path?q=a@b"
    assert without_secrets(text) == "Failed to parse: http://proxy:3128 and https://host/path?q=a@b"

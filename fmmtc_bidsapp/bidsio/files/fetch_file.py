"""Download one file by pooch, atomically, once, and without secrets in errors.

An error names the host and the reason in one line. It never repeats the text of a library's error,
which may contain the address of a proxy with its password.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import SoftFileLock, Timeout

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.digest import digest_of

__all__ = ["Sha256Error", "fetch_file", "fetch_reason", "one_at_a_time", "without_secrets"]

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = (10, 60)
"""To connect, and between two chunks."""
_ATTEMPTS = 3
_SILENCE_S = 1.0
"""Wait before the message that another run is downloading."""
_PATIENCE_S = 900
"""Longest wait for another run that is downloading."""
_NO_PROXY = "the address of the proxy is not valid"
_CREDENTIALS = re.compile(r"(?<=//)[^/\s@']+@")


class Sha256Error(ConnectionError):
    """A complete download with an unexpected sha256."""


def without_secrets(text: str) -> str:
    """Return a text in one line, user names and passwords removed from its addresses."""
    return " ".join(_CREDENTIALS.sub("", text).split())


@contextmanager
def one_at_a_time(lock_file: Path) -> Iterator[None]:
    """Hold a lock file; raise ConnectionError if another run holds it for 15 minutes."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(lock_file)
    try:
        lock.acquire(timeout=_SILENCE_S)
    except Timeout:
        _wait(lock, lock_file)
    try:
        yield
    finally:
        lock.release()


def _wait(lock: SoftFileLock, lock_file: Path) -> None:
    print(
        f"Waiting for another run that is downloading; if none is running, delete {lock_file}",
        file=sys.stderr,
        flush=True,
    )
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout:
        raise ConnectionError(
            f"another run has been downloading for {_PATIENCE_S // 60} minutes; if none is "
            f"running, delete {lock_file}"
        ) from None


def fetch_file(url: str, path: Path, *, sha256: str | None = None) -> None:
    """Download a file, unless it exists with that sha256.

    Concurrent runs download it once. An existing file is replaced only by a complete one. Another
    sha256 raises Sha256Error, a failed download ConnectionError.
    """
    with one_at_a_time(path.with_name(f".{path.name}.lock")):
        if content_problem(path) is None and sha256 in (None, digest_of(path)):
            return
        print(f"Fetching {path.name}", file=sys.stderr, flush=True)
        # One folder, so that pooch's temporary files of a killed run are removed with it.
        staging = path.with_name(f".{path.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            fetched = _retrieve(url, staging, urlsplit(url).hostname or url)
            found = digest_of(fetched)
            if sha256 not in (None, found):
                raise Sha256Error(f"sha256 mismatch: got {found}, expected {sha256}")
            # pooch makes files readable by their user only; a cache may be shared.
            readable = staging / "readable"
            shutil.copyfile(fetched, readable)
            readable.replace(path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _retrieve(url: str, folder: Path, host: str) -> Path:
    """Download into a folder, with another attempt after a broken connection."""
    # Imported here: runs without a download do not need them.
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    whole = {"Accept-Encoding": "identity"}
    downloader = pooch.HTTPDownloader(chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S, headers=whole)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(pooch.retrieve(url, None, path=folder, fname="file", downloader=downloader))
        except requests.exceptions.ChunkedEncodingError:
            if attempt == _ATTEMPTS:
                raise ConnectionError(f"{host}: the connection was lost") from None
        except (requests.RequestException, TypeError, ValueError) as error:
            raise ConnectionError(f"{host}{fetch_reason(error)}") from None
    raise AssertionError


def fetch_reason(error: Exception) -> str:
    """Describe why a request failed, as the end of a sentence that begins with the host."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f" answers {error.response.status_code} {error.response.reason}"
    reasons = {
        requests.exceptions.ProxyError: "the proxy refuses",
        requests.exceptions.SSLError: "its certificate is not accepted",
        requests.exceptions.Timeout: "timeout",
        requests.exceptions.InvalidProxyURL: _NO_PROXY,
        requests.exceptions.InvalidURL: "not a valid address",
        requests.RequestException: "no connection",
    }
    # A proxy address without a host raises an error of Python, not of requests.
    reason = next((text for kind, text in reasons.items() if isinstance(error, kind)), _NO_PROXY)
    return f": {reason}"

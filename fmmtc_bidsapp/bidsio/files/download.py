"""Files from the network: resumed where they were broken off, whole or absent, never with a secret.

An error says which host failed and how, in one line. It never repeats the text of a library's
error, which may spell a proxy's address with its password.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import SoftFileLock, Timeout

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.digest import digest_of

__all__ = ["DigestError", "alone", "download", "without_secrets"]

_PIECE_BYTES = 1 << 20
_TIMEOUT_S = (10, 60)
"""To connect, and between two pieces."""
_ATTEMPTS = 3
_SILENCE_S = 1.0
"""Until it is said that another run is waited for; what a killed one left may be taken over."""
_PATIENCE_S = 900
"""Until a file that another run is fetching is given up."""
_PARTIAL_CONTENT, _NOT_SATISFIABLE = 206, 416
_NO_PROXY = "the address of the proxy is none"
_CREDENTIALS = re.compile(r"(?<=//)[^/\s@']+@")


def without_secrets(text: str) -> str:
    """Take user names and passwords out of the addresses in a text, which becomes one line."""
    return " ".join(_CREDENTIALS.sub("", text).split())


class DigestError(ConnectionError):
    """What came is whole, and not the file that is known by its sha256."""


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """Wait until no other run fetches what a marking file stands for.

    Parameters
    ----------
    lock_file
        Made, with its folder, and removed afterwards. A run that was killed leaves it; on the same
        machine it is taken over where the file system lets it, else what is said names it.

    Raises
    ------
    ConnectionError
        When another run holds it for too long.
    OSError
        When it cannot be written.
    """
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
        f"Waiting for another run that is fetching; if there is none, delete {lock_file}",
        file=sys.stderr,
        flush=True,
    )
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout:
        raise ConnectionError(
            f"another run has been at it for {_PATIENCE_S // 60} minutes; if none is, "
            f"delete {lock_file}"
        ) from None


def download(url: str, path: Path, *, expected: str | None = None) -> None:
    """Fetch a file; what an earlier attempt left is gone on with.

    Of several runs at once, as of an array, one fetches and the others wait for it.

    Parameters
    ----------
    url
        Its address.
    path
        Where it belongs. Until it is whole it has a name ending in ``.part``, beside it a note of
        the publisher's tag, so that two versions of a file are never put together.
    expected
        Its sha256, where that is known: a file that is there and has another is replaced, and what
        comes with another is not kept.

    Raises
    ------
    DigestError
        When what came is not what was expected; what was there is left alone.
    ConnectionError
        When it cannot be had: which host, and why, without any secret.
    OSError
        When it cannot be written.
    """
    with alone(path.with_name(f".{path.name}.lock")):
        if not _is_there(path, expected):
            _fetch(url, urlsplit(url).hostname or url, path)
            _keep(path, expected)


def _is_there(path: Path, expected: str | None) -> bool:
    return content_problem(path) is None and expected in (None, digest_of(path))


def _keep(path: Path, expected: str | None) -> None:
    """Give a file that came its name, if it is the right one."""
    partial, note = _partial(path), _note(path)
    if expected is not None and (found := digest_of(partial)) != expected:
        partial.unlink()
        note.unlink(missing_ok=True)
        raise DigestError(f"what came has the sha256 {found}, needed is {expected}")
    partial.replace(path)
    note.unlink(missing_ok=True)


def _fetch(url: str, host: str, path: Path) -> None:
    # Here, because no run that has its files needs it.
    import requests

    for attempt in range(1, _ATTEMPTS + 1):
        before = _size(_partial(path))
        try:
            _go_on(url, path)
        except requests.HTTPError as error:
            raise ConnectionError(f"{host} answers {_status(error)}") from None
        except requests.RequestException as error:
            # One that brought something is worth another.
            if attempt == _ATTEMPTS or _size(_partial(path)) <= before:
                raise ConnectionError(f"{host}: {_reason(error)}") from None
        except (TypeError, ValueError):
            # What requests was seen to raise for a proxy's address without a host.
            raise ConnectionError(f"{host}: {_NO_PROXY}") from None
        else:
            return


def _go_on(url: str, path: Path) -> None:
    """Fetch what is lacking of a file, under the name that it has until it is whole."""
    import requests

    partial, note = _partial(path), _note(path)
    headers = {"Accept-Encoding": "identity"}
    tag = note.read_text(encoding="utf-8") if note.is_file() else ""
    if tag and _size(partial):
        # The server sends the whole file where its own is another by now.
        headers |= {"Range": f"bytes={_size(partial)}-", "If-Range": tag}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        if answer.status_code == _NOT_SATISFIABLE:
            # What is there is longer than the file: it begins anew, without a range.
            partial.unlink(missing_ok=True)
            return _go_on(url, path)
        answer.raise_for_status()
        goes_on = answer.status_code == _PARTIAL_CONTENT
        _say(path.name, answer)
        note.write_text(_tag(answer), encoding="utf-8")
        with partial.open("ab" if goes_on else "wb") as file:
            for piece in answer.iter_content(_PIECE_BYTES):
                file.write(piece)
        promised = answer.headers.get("Content-Length")
    if promised is not None and not goes_on and _size(partial) != int(promised):
        raise requests.ConnectionError("the file came in part")
    return None


def _tag(answer: Any) -> str:
    """Return what tells versions of a file apart; a weak tag does not."""
    tag: str = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""


def _say(name: str, answer: Any) -> None:
    size = answer.headers.get("Content-Length", "")
    shown = f" ({int(size) / 1e6:.1f} MB)" if size.isdigit() else ""
    print(f"Fetching {name}{shown}", file=sys.stderr, flush=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.part.etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _status(error: Any) -> str:
    return f"{error.response.status_code} {error.response.reason}"


def _reason(error: Exception) -> str:
    import requests

    reasons = {
        requests.exceptions.ProxyError: "the proxy refuses",
        requests.exceptions.SSLError: "its certificate is not accepted",
        requests.exceptions.Timeout: "no answer in time",
        requests.exceptions.InvalidProxyURL: _NO_PROXY,
        requests.exceptions.InvalidURL: "not an address",
    }
    return next(
        (text for kind, text in reasons.items() if isinstance(error, kind)), "no connection"
    )

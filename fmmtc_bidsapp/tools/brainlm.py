"""BrainLM's published weights, fetched at a commit that the user names.

Neither the digests of the files nor a commit of the hub are known to this program with certainty,
so none is written down here. A commit is asked for once; what came then is recorded beside the
files with its sha256, and whatever is read or fetched later must be the same.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fmmtc_bidsapp.bidsio.atlases.atlas import cache_dir
from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.download import DigestError, alone, download
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import MissingResourceError, OutputError, UsageError
from fmmtc_bidsapp.models.checksums import (
    RECORD,
    Received,
    read_received,
    render_received,
)

__all__ = ["FILES", "LICENCE", "SOURCE", "fetch_brainlm", "weights_dir"]

FILES = ("config.json", "pytorch_model.bin")
SOURCE = "https://huggingface.co/vandijklab/brainlm"
LICENCE = "CC BY-NC-ND 4.0"
_FOLDER = "old_13M"
_COMMIT = re.compile("[0-9a-f]{40}")
_COMMITS = f"{SOURCE}/commits/main"


def weights_dir() -> Path:
    """Name the folder where the group level looks for the weights."""
    return cache_dir() / "brainlm" / _FOLDER


def fetch_brainlm(revision: str | None) -> list[Path]:
    """Fetch ``config.json`` and ``pytorch_model.bin`` of ``old_13M`` into the cache.

    Parameters
    ----------
    revision
        Commit of the hub, 40 digits; None for that of the record, if there is one.

    Returns
    -------
    list of Path
        The files, and the record of their digests.

    Raises
    ------
    UsageError
        Without a commit, or with another than that of the files that are there.
    MissingResourceError
        If they cannot be fetched, or are not what was fetched first.
    ModelFileError
        If the record cannot be read.
    OutputError
        If the cache cannot be written.
    """
    folder = weights_dir()
    # Before anything is written.
    _commit(revision, read_received(folder))
    try:
        # Which files are those of a commit is known by the record, which is written last.
        with alone(folder / ".fetch.lock"):
            return _fetch_all(folder, revision)
    except ConnectionError as error:
        raise MissingResourceError(f"Cannot fetch BrainLM ({error}).") from None
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}. Make room, or let FMMTC_CACHE_DIR "
            "name a folder that can be written."
        ) from None


def _fetch_all(folder: Path, revision: str | None) -> list[Path]:
    known = read_received(folder)
    commit = _commit(revision, known)
    digests = {} if known is None else known.sha256
    for name in FILES:
        _fetch(commit, folder / name, digests.get(name))
    found = {name: digest_of(folder / name) for name in FILES}
    record = Received(SOURCE, commit, LICENCE, found)
    write_text(folder / RECORD, render_received(record))
    return [folder / name for name in (*FILES, RECORD)]


def _commit(revision: str | None, known: Received | None) -> str:
    wanted = revision or (known.revision if known else "")
    if not _COMMIT.fullmatch(wanted):
        raise UsageError(
            f"--revision is {revision!r}; it must be a commit of {SOURCE}, 40 digits 0-9a-f, so "
            f"that everyone gets the same files. {_COMMITS} lists them."
        )
    if known is not None and wanted != known.revision:
        raise UsageError(
            f"{weights_dir()} holds revision {known.revision}, asked for is {wanted}. Delete that "
            "folder to fetch another, or leave --revision out."
        )
    return wanted


def _fetch(commit: str, path: Path, expected: str | None) -> None:
    """Fetch a file, unless the one of the record is there."""
    if expected is not None and path.is_file() and digest_of(path) == expected:
        return
    # As the hub's own client has it, for those behind a mirror.
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    url = f"{hub}/vandijklab/brainlm/resolve/{commit}/{_FOLDER}/{path.name}"
    arrived = path.with_name(f".{path.name}.{commit[:12]}")
    try:
        download(url, arrived, expected=expected)
    except DigestError as error:
        raise MissingResourceError(
            f"{url} is not the file that was fetched first: {error}, as {path.with_name(RECORD)} "
            "says. Nothing was changed; ask the publisher."
        ) from None
    except ConnectionError as error:
        raise MissingResourceError(_how_to_get(path, commit, str(error))) from None
    arrived.replace(path)


def _how_to_get(path: Path, commit: str, reason: str) -> str:
    return (
        f"Cannot fetch {path.name} of BrainLM ({reason}). Run `fmmtc-tools fetch brainlm "
        f"--revision {commit} --accept-license` where there is a network and bring its folder "
        f"{path.parent} here, or put {' and '.join(FILES)} of {_FOLDER} from {SOURCE} into a "
        "folder of your own and name it with --encoder-weights."
    )

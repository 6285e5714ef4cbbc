"""What was fetched, written down at the first fetch and held to ever after.

Some publishers name no digest. The first copy is then believed, and every later one must be the
same: a file that was damaged or exchanged since is not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import ModelFileError

__all__ = ["RECORD", "Received", "check_received", "read_received", "render_received"]

RECORD = "received.json"
"""Name of the record in the folder of the files that it is about."""


@dataclass(frozen=True)
class Received:
    """Where files came from, and what came."""

    source: str
    revision: str
    """Of the publisher's repository; empty where there is none."""
    licence: str
    sha256: Mapping[str, str]
    """By the name of the file, below the folder of all."""


def render_received(received: Received) -> str:
    """Write a record as JSON."""
    return json.dumps(asdict(received), indent=2, sort_keys=True) + "\n"


def read_received(folder: Path) -> Received | None:
    """Read the record of a folder.

    Returns
    -------
    Received or None
        None where there is none: files that a user put there.

    Raises
    ------
    ModelFileError
        If it cannot be read.
    """
    path = folder / RECORD
    try:
        if not path.is_file():
            return None
        found = Received(**json.loads(path.read_text(encoding="utf-8")))
        _require_text(found)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"{path} cannot be read ({type(error).__name__}). It says which files were fetched: "
            f"delete the folder {folder} and fetch them again."
        ) from error
    if any(PurePath(name).is_absolute() or ".." in PurePath(name).parts for name in found.sha256):
        raise ModelFileError(f"{path} names files outside its folder. Delete it and fetch again.")
    return found


def _require_text(found: Received) -> None:
    sha256: object = found.sha256
    texts = [found.source, found.revision, found.licence]
    if not isinstance(sha256, dict) or not all(
        isinstance(each, str) for each in (*texts, *sha256.values())
    ):
        raise TypeError("texts are needed, and sha256 a text by the name of each file")


def check_received(folder: Path, root: Path | None = None) -> Received | None:
    """Hold files to their record.

    Parameters
    ----------
    folder
        Of the record.
    root
        Where the files lie, if not beside it.

    Returns
    -------
    Received or None
        None where nothing was recorded.

    Raises
    ------
    ModelFileError
        If a file of the record is absent, or is not the one that was fetched.
    """
    received = read_received(folder)
    for name, expected in ({} if received is None else received.sha256).items():
        path = (root or folder) / name
        found = digest_of(path) if path.is_file() else "absent"
        if found != expected:
            raise ModelFileError(
                f"{path} is not the file that was fetched (sha256 {found}, recorded in "
                f"{folder / RECORD} is {expected}). Delete the file and fetch it again."
            )
    return received

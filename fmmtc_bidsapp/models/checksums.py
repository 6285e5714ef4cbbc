"""The sha256 of fetched files, recorded at the first fetch; a file that differs later is refused.

For publishers that name no digest: the first copy is believed, and damage or exchange since then
is found.
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
"""Name of the record in the folder of the files."""


@dataclass(frozen=True)
class Received:
    """Source, revision (empty where there is none), licence, and sha256 by name of file."""

    source: str
    revision: str
    licence: str
    sha256: Mapping[str, str]


def render_received(received: Received) -> str:
    """Write a record as JSON."""
    return json.dumps(asdict(received), indent=2, sort_keys=True) + "\n"


def read_received(folder: Path) -> Received | None:
    """Read the record of a folder; None without one, a ModelFileError for a damaged one."""
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
    """Compare files, in `folder` or else `root`, with the record of `folder`, if there is one.

    ModelFileError if a file of the record is absent or has another sha256.
    """
    received = read_received(folder)
    for name, expected in ({} if received is None else received.sha256).items():
        path = (root or folder) / name
        if not path.is_file():
            raise ModelFileError(f"{path} is missing. Fetch it again.")
        if (found := digest_of(path)) != expected:
            raise ModelFileError(
                f"{path} is not the file that was fetched (sha256 mismatch: got {found}, expected "
                f"{expected}, recorded in {folder / RECORD}). Delete the file and fetch it again."
            )
    return received

"""Published weights of an encoder, from the Hugging Face hub at a commit that the user names.

This program has no digests of the publisher's files. The first fetch records their sha256 beside
them, and all later copies must match.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from fmmtc_bidsapp.bidsio.atlases.a424 import cache_dir
from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.fetch_file import one_at_a_time
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import MissingResourceError, OutputError, UsageError
from fmmtc_bidsapp.models.checksums import RECORD, Received, read_received, render_received
from fmmtc_bidsapp.models.encoders.spec import EncoderSpec

__all__ = ["fetch_weights", "weights_dir"]

_COMMIT = re.compile("[0-9a-f]{40}")


def weights_dir(spec: EncoderSpec) -> Path:
    """Return the folder in which the group level looks for the weights."""
    return cache_dir() / spec.folder


def fetch_weights(spec: EncoderSpec, revision: str | None) -> list[Path]:
    """Fetch the files of an encoder into the cache; return them and the record of their digests.

    `revision` is a commit of 40 digits; None for the one of the record.
    """
    folder = weights_dir(spec)
    # Before anything is written.
    _commit(spec, revision, read_received(folder))
    try:
        # The record, which is written last, says which commit the files are of.
        with one_at_a_time(folder / ".fetch.lock"):
            return _fetch_missing(spec, folder, revision)
    except ConnectionError as error:
        raise MissingResourceError(f"Cannot fetch {spec.title} ({error}).") from None
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or type(error).__name__}. Make room, or set "
            "FMMTC_CACHE_DIR to a folder that can be written."
        ) from None


def _commit(spec: EncoderSpec, revision: str | None, known: Received | None) -> str:
    wanted = revision or (known.revision if known else "")
    if not _COMMIT.fullmatch(wanted):
        raise UsageError(
            f"--revision is {revision!r}; it must be a commit of {spec.source}, 40 digits 0-9a-f, "
            f"so that all copies are the same. See {spec.source}/commits/main."
        )
    if known is not None and wanted != known.revision:
        raise UsageError(
            f"{weights_dir(spec)} has revision {known.revision}, but --revision is {wanted}. "
            "Delete that folder to fetch another, or leave --revision out."
        )
    return wanted


def _fetch_missing(spec: EncoderSpec, folder: Path, revision: str | None) -> list[Path]:
    known = read_received(folder)
    commit = _commit(spec, revision, known)
    expected = {} if known is None else known.sha256
    missing = [name for name in spec.files if not _is_there(folder / name, expected.get(name))]
    # Whole files that an interrupted fetch left here are not fetched again.
    staging = folder / f".{commit[:12]}"
    _snapshot(spec, commit, missing, staging)
    for name in missing:
        fetched = staging / spec.subfolder / name
        if name in expected and (found := digest_of(fetched)) != expected[name]:
            shutil.rmtree(staging)
            raise MissingResourceError(
                f"{name} of {spec.source} at {commit} differs from the first fetch (sha256 "
                f"mismatch: got {found}, expected {expected[name]}, recorded in "
                f"{folder / RECORD}). No file was changed; ask the publisher."
            )
    for name in missing:
        (staging / spec.subfolder / name).replace(folder / name)
    shutil.rmtree(staging, ignore_errors=True)
    found_all = {name: digest_of(folder / name) for name in spec.files}
    record = Received(spec.source, commit, spec.weights_licence, found_all)
    write_text(folder / RECORD, render_received(record))
    return [folder / name for name in (*spec.files, RECORD)]


def _is_there(path: Path, expected: str | None) -> bool:
    return expected is not None and path.is_file() and digest_of(path) == expected


def _snapshot(spec: EncoderSpec, commit: str, names: list[str], staging: Path) -> None:
    """Download files of a commit; errors leave out texts of the library, with their addresses."""
    if not names:
        return
    # Here, because they take long to import.
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    paths = [f"{spec.subfolder}/{name}" for name in names]
    # Read here, since the library reads it only when it is imported.
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    host = urlsplit(endpoint).hostname or endpoint
    try:
        snapshot_download(
            spec.repository,
            revision=commit,
            allow_patterns=paths,
            local_dir=staging,
            endpoint=endpoint,
        )
    except (OSError, ValueError, TypeError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        cause = error if isinstance(error, HfHubHTTPError) else error.__cause__ or error
        if isinstance(cause, HfHubHTTPError):
            reason = f"{host} answers {cause.response.status_code} {cause.response.reason_phrase}"
        elif isinstance(cause, OfflineModeIsEnabled):
            reason = "HF_HUB_OFFLINE is set"
        elif isinstance(cause, PermissionError) or getattr(cause, "errno", None) == errno.ENOSPC:
            raise cause from None
        else:
            reason = f"{host}: no connection ({type(cause).__name__})"
        raise MissingResourceError(_how_to_get(spec, commit, names[0], reason)) from None
    absent = [name for name in names if not (staging / spec.subfolder / name).is_file()]
    if absent:
        reason = f"{host} has no {spec.subfolder}/{absent[0]} at that commit"
        raise MissingResourceError(_how_to_get(spec, commit, absent[0], reason))


def _how_to_get(spec: EncoderSpec, commit: str, name: str, reason: str) -> str:
    return (
        f"Cannot fetch {name} of {spec.title} ({reason}). Run `fmmtc-tools fetch {spec.name} "
        f"--revision {commit} --accept-license` on a machine with a network and copy its folder "
        f"{weights_dir(spec)} here, or put {' and '.join(spec.files)} of {spec.subfolder} from "
        f"{spec.source} into a folder and give it with --encoder-weights."
    )

"""Index the files of a dataset with pybids."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bids.layout import BIDSLayout, BIDSLayoutIndexer
from sqlalchemy.exc import SQLAlchemyError

from fmmtc_bidsapp.bidsio.files.names import RUN_SUFFIXES
from fmmtc_bidsapp.errors import InputError, OutputError

__all__ = ["func_files", "index_run_files"]

_NO_RUNS = r"/(figures|log|logs|anat|dwi|fmap|sourcedata|code|\.[^/]+)(/|$)"
_NO_DATA = r"\.(json|gii|html|svg|txt|h5|mat)$"
"""Endings of files that are found in other ways or not needed, and cost the index its time."""
_NOT_UTF8 = r"[\ud800-\udfff]"
"""pybids' database cannot hold such a name."""


def index_run_files(
    root: Path, participant_ids: Sequence[str], database_dir: Path | None
) -> list[Path]:
    """Return images and tables in ``func`` folders of participants (all if empty), sorted.

    Nested derivatives are left out. ``database_dir`` keeps the index for later calls. InputError if
    a folder cannot be read, OutputError if the database cannot be used.
    """
    asked = "|".join(map(re.escape, participant_ids)) or "sub-[^/]+"
    ignore = [_NO_RUNS, _NO_DATA, _NOT_UTF8, rf"^/(?!({asked})(/|$))"]
    layout = _index(root, ignore) if database_dir is None else _kept(database_dir, root, ignore)
    found: list[str] = layout.get(
        suffix=list(RUN_SUFFIXES),
        extension=[".nii", ".nii.gz", ".dtseries.nii", ".tsv"],
        datatype="func",
        return_type="filename",
    )
    return [Path(path) for path in sorted(found)]


def _index(root: Path, ignore: Sequence[str], database: Path | None = None) -> BIDSLayout:
    # Metadata is read run by run: one damaged JSON would end the index of the dataset.
    indexer = BIDSLayoutIndexer(
        validate=False, index_metadata=False, ignore=[re.compile(each) for each in ignore]
    )
    with _permitted(root):
        return BIDSLayout(
            root, validate=False, is_derivative=True, indexer=indexer, database_path=database
        )


@contextmanager
def _permitted(root: Path) -> Iterator[None]:
    """Turn a permission error below a root into an InputError."""
    try:
        yield
    except PermissionError as error:
        if not Path(error.filename or "").is_relative_to(root.absolute()):
            raise
        raise InputError(
            f"{Path(error.filename).parent} cannot be read (Permission denied). Ask for "
            "permission, or select the readable participants with --participant-label."
        ) from error


def func_files(root: Path, participant_ids: Sequence[str]) -> list[Path]:
    """Return all images and tables in ``func`` folders, with any visible name, sorted."""
    root = root.absolute()
    with _permitted(root):
        people = [root / each for each in participant_ids] or _below(root, "sub-")
        parents = [*people, *(each for person in people for each in _below(person, "ses-"))]
        files = [path for parent in parents for path in _below(parent / "func", "")]
    return sorted(path for path in files if path.name.lower().endswith(_IMAGES_AND_TABLES))


_IMAGES_AND_TABLES = (".nii", ".nii.gz", ".tsv")


def _below(folder: Path, start: str) -> list[Path]:
    """Return the visible entries of a folder whose names begin so."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.startswith(start)]
    return [path for path in found if not path.name.startswith(".")]


def _kept(database_dir: Path, root: Path, ignore: Sequence[str]) -> BIDSLayout:
    """Open the index of these folders, creating it first."""
    # pybids does not check the root of a database, so each root and filter has one.
    question = "\n".join([str(root.absolute()), *ignore])
    database = database_dir / hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    try:
        if not database.is_dir():
            _make(database, root, ignore)
        return _index(root, ignore, database)
    except (OSError, SQLAlchemyError) as error:
        raise OutputError(
            f"The pybids database {database} cannot be written or read "
            f"({str(error).splitlines()[0]}). Delete it, or choose another folder with "
            "--bids-database-dir."
        ) from error


def _make(database: Path, root: Path, ignore: Sequence[str]) -> None:
    """Write a database under a temporary name and move it to its place."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=database.parent) as folder:
        whole = Path(folder) / database.name
        _index(root, ignore, whole)
        whole.rename(database)

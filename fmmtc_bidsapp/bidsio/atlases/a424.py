"""The A424 atlas: its files, and the repair of its table.

The files are upstream's (GPL-3.0) and not part of this program: they are downloaded from a pinned
commit with known sha256.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import numpy as np

from fmmtc_bidsapp.bidsio.files.fetch_file import fetch_file, without_secrets
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError, MissingResourceError
from fmmtc_bidsapp.records import ParcelTable

__all__ = [
    "DLABEL",
    "IMAGE",
    "TABLE",
    "a424_dir",
    "cache_dir",
    "check_dlabel",
    "check_files",
    "fetch_atlas",
    "find_a424",
    "how_to_get",
    "read_parcels",
]

IMAGE = "A424+2mm.nii.gz"
TABLE = "A424_Labels_AA-AAc_main_maps.csv"
COORDINATES = "A424_Coordinates.dat"
SHA256: Mapping[str, str] = MappingProxyType(
    {
        IMAGE: "8478d7516a2bbf295989835d5033d03e4283143a2955c90428f634951702501b",
        TABLE: "2920dac75cc297e48a8444c8a58a50c8ae2244b664167ac13c573633e9842b58",
        COORDINATES: "cdad8f8859c211b1400211ebbad455dedcc4399ac14fd614354fb71b110c892c",
    }
)
"""Required files of A424."""
DLABEL = "A424.dlabel.nii"
"""The same parcels on 91k grayordinates, for CIFTI series."""
DLABEL_SHA256 = "aa44b971ff80d247f890365cbb5bc68583c84b37605bab04bc930dce8a263a1e"
SOURCE = "https://github.com/emergelab/hierarchical-brain-networks"
_COMMIT = "bbb460b7b476187072fd69de6a8a960f7d97ae89"
_RAW = (
    f"https://raw.githubusercontent.com/emergelab/hierarchical-brain-networks/{_COMMIT}/brainmaps/"
)
_FOLDER_VARIABLE = "FMMTC_ATLAS_DIR"
_N_PARCELS = 424


def cache_dir() -> Path:
    """Return the folder of downloaded files: ``FMMTC_CACHE_DIR``, else in the user's cache."""
    own = os.environ.get("FMMTC_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fmmtc"


def find_a424() -> Path:
    """Return the folder of A424, its sha256 checked; download it if absent.

    MissingResourceError if it cannot be downloaded, InputError if a file was changed.
    """
    folder = a424_dir()
    if os.environ.get(_FOLDER_VARIABLE) or all((folder / name).is_file() for name in SHA256):
        return check_files(folder)
    return fetch_atlas()


def a424_dir() -> Path:
    """Return the folder of A424: ``FMMTC_ATLAS_DIR``, else in the cache."""
    named = os.environ.get(_FOLDER_VARIABLE)
    return Path(named) if named else _cached()


def _cached() -> Path:
    return cache_dir() / "atlas" / "A424"


def check_files(folder: Path) -> Path:
    """Check A424's image, table and coordinates in a folder, and return the folder.

    MissingResourceError if one is absent, InputError if one was changed.
    """
    for name, expected in SHA256.items():
        path = folder / name
        if not path.is_file():
            raise MissingResourceError(f"{folder} lacks {name} of the A424 atlas. {how_to_get()}")
        _check_digest(path, expected)
    return folder


def check_dlabel(folder: Path) -> Path | None:
    """Return A424 on grayordinates; None if absent, InputError if changed."""
    path = folder / DLABEL
    if not path.is_file():
        return None
    _check_digest(path, DLABEL_SHA256)
    return path


def _check_digest(path: Path, expected: str) -> None:
    found = digest_of(path)
    if found != expected:
        raise InputError(
            f"{path} is not the expected A424 file (sha256 mismatch: got {found}, "
            f"expected {expected}). Delete it and run `fmmtc-tools fetch atlas`."
        )


def fetch_atlas() -> Path:
    """Download absent or changed files of A424 into the cache, and return its folder."""
    folder = _cached()
    for name, expected in {**SHA256, DLABEL: DLABEL_SHA256}.items():
        path = folder / name
        try:
            # Before anything is written: the cache may be bound read-only.
            if not (path.is_file() and digest_of(path) == expected):
                fetch_file(_RAW + quote(name), path, sha256=expected)
        except OSError as error:
            reason = without_secrets(str(error))
            raise MissingResourceError(f"Cannot fetch {name} ({reason}). {how_to_get()}") from None
    return folder


def how_to_get() -> str:
    """Return instructions to get the files."""
    return (
        "Run `fmmtc-tools fetch atlas` on a machine with network access and copy its cache folder "
        f"({_cached()}), or set {_FOLDER_VARIABLE} to a folder with "
        f"{', '.join([*SHA256, DLABEL])}."
    )


def read_parcels(folder: Path) -> ParcelTable:
    """Read names, networks and coordinates of the 424 parcels.

    The table has a byte-order mark, may repeat its header between rows, and has a damaged long name
    (a spreadsheet formula); rows are identified by number and named by their short name.
    """
    table = folder / TABLE
    with table.open(encoding="utf-8-sig", newline="") as stream:
        rows = {int(row[0]): row for row in csv.reader(stream) if row and row[0].strip().isdigit()}
    xyz = {int(row[0]): row[1:4] for row in np.loadtxt(folder / COORDINATES, ndmin=2)}
    numbers = range(1, _N_PARCELS + 1)
    absent = [number for number in numbers if number not in rows or number not in xyz]
    if absent:
        raise InputError(
            f"{folder} has no parcel {absent} of A424. Run `fmmtc-tools fetch atlas` again."
        )
    columns = list(zip(*(rows[number] for number in numbers), strict=True))
    return ParcelTable(
        names=_stripped(columns[1]),
        index=np.array(numbers),
        networks=_stripped(columns[5]),
        subnetworks=_stripped(columns[8]),
        coordinates_mm=np.array([xyz[number] for number in numbers], dtype=np.float64),
    )


def _stripped(column: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.strip() for text in column)

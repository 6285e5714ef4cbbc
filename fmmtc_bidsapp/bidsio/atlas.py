"""The name or path of an atlas -> its labels, names and coordinates, checked."""

from __future__ import annotations

import hashlib
import re
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio import a424
from fmmtc_bidsapp.bidsio.a424 import cache_dir, fetch_atlas
from fmmtc_bidsapp.bidsio.content import content_problem
from fmmtc_bidsapp.bidsio.names import ATLAS_IMAGE_PATTERNS, parse_name
from fmmtc_bidsapp.bidsio.sidecar import read_json
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.records import Atlas

__all__ = ["cache_dir", "fetch_atlas", "resolve_atlas"]

_LABEL = "A424"
_SPACE = re.compile(r"MNI\w+")


def resolve_atlas(atlas: str) -> Atlas:
    """Find an atlas and check that its image and table belong together.

    Parameters
    ----------
    atlas
        ``A424``, the path of a label image with a table of the same name ending in ``.tsv``
        (columns ``index`` and ``name``; ``network``, ``subnetwork``, ``x``, ``y``, ``z`` if it
        has them), or the folder that holds one.

    Returns
    -------
    Atlas
        One row per parcel of the table, in its order. A parcel that the image lacks stays a row.

    Raises
    ------
    MissingResourceError
        If A424 is not on this machine and cannot be fetched.
    UsageError
        If there is no such file, or a personal atlas is labelled A424.
    InputError
        If image or table cannot be read, or the image holds labels that the table does not name.
    """
    if atlas == _LABEL:
        return _read_a424(a424.find_a424())
    image = _image_of(Path(atlas).absolute())
    if _sha256(image.read_bytes()) == a424.SHA256[a424.IMAGE]:
        return _read_a424(a424.check_files(image.parent))
    return _read_personal(image)


def _read_a424(folder: Path) -> Atlas:
    parcels = a424.read_parcels(folder)
    image, table = folder / a424.IMAGE, folder / a424.TABLE
    return Atlas(
        label=_LABEL,
        title="A424",
        image=image,
        index=np.arange(1, len(parcels.names) + 1),
        names=parcels.names,
        networks=parcels.networks,
        subnetworks=parcels.subnetworks,
        coordinates_mm=parcels.coordinates_mm,
        space="MNI152NLin6Asym",
        digest=_sha256(image.read_bytes() + table.read_bytes()),
        description="360 cortical (HCP-MMP), 36 subcortical (Brainnetome) and 28 cerebellar (SUIT) "
        "parcels; networks AA-7 and AA-24.",
        licence="GPL-3.0",
        source=a424.SOURCE,
    )


def _image_of(path: Path) -> Path:
    if path.is_dir():
        patterns = (*ATLAS_IMAGE_PATTERNS, a424.IMAGE)
        images = sorted(image for each in patterns for image in path.glob(each))
        if len(images) != 1:
            raise UsageError(
                f"{path} holds {len(images)} label images {ATLAS_IMAGE_PATTERNS[0]}; one is "
                "needed. Name the image itself with --atlas."
            )
        path = images[0]
    problem = content_problem(path)
    if problem is not None:
        raise UsageError(f"The atlas image is {problem}")
    return path


def _read_personal(image: Path) -> Atlas:
    stem = image.name.partition(".")[0]
    table_path, sidecar_path = (image.with_name(stem + end) for end in (".tsv", ".json"))
    entities = parse_name(image).entities
    label = entities.get("atlas", "")
    if not label:
        raise UsageError(f"{image} names no atlas. Call it atlas-<label>_dseg.nii.gz.")
    if label == _LABEL:
        raise UsageError(
            f"{image} is not A424, so it cannot be called that. Give it another label."
        )
    table = _read_table(table_path)
    index = table["index"].to_numpy(np.int64)
    _refuse_unnamed(image, index)
    sidecar = read_json(sidecar_path) if sidecar_path.is_file() else {}
    return Atlas(
        label=label,
        title=str(sidecar.get("Name", label)),
        image=image,
        index=index,
        names=_column(table, "name"),
        networks=_column(table, "network"),
        subnetworks=_column(table, "subnetwork"),
        coordinates_mm=_coordinates(table, table_path),
        space=_space(dict(entities), sidecar, image),
        digest=_sha256(image.read_bytes() + table_path.read_bytes()),
        description=str(sidecar.get("Description", "")),
        licence=str(sidecar.get("License", "")),
        source=str(sidecar.get("Source", "")),
    )


def _read_table(path: Path) -> pd.DataFrame:
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"The atlas table is {problem}; it needs the columns index and name.")
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["n/a", ""])
    except ValueError as error:
        raise InputError(f"{path} is not a table ({error}). Repair it.") from error
    absent = [column for column in ("index", "name") if column not in table]
    if absent:
        raise InputError(f"{path} lacks the column {', '.join(absent)}.")
    index = pd.to_numeric(table["index"], errors="coerce")
    if index.isna().any() or (index % 1 != 0).any() or index.duplicated().any():
        raise InputError(f"{path}: index must hold whole numbers, each once. Repair it.")
    # Background is no parcel, though some tables list it.
    return table[index != 0]


def _column(table: pd.DataFrame, name: str) -> tuple[str, ...]:
    if name not in table:
        return ("n/a",) * len(table)
    # One space between words, as in every file that is written.
    return tuple("n/a" if pd.isna(value) else " ".join(str(value).split()) for value in table[name])


def _coordinates(table: pd.DataFrame, path: Path) -> NDArray[np.float64] | None:
    if not {"x", "y", "z"} <= set(table):
        return None
    try:
        xyz_mm: NDArray[np.float64] = table[["x", "y", "z"]].to_numpy(np.float64)
    except ValueError as error:
        raise InputError(f"{path}: x, y and z must be millimetres ({error}).") from error
    return None if np.isnan(xyz_mm).any() else xyz_mm


def _space(entities: dict[str, str], sidecar: dict[str, Any], image: Path) -> str:
    named = entities.get("tpl") or entities.get("space")
    if named:
        return named
    match = _SPACE.search(str(sidecar.get("Space") or sidecar.get("SpatialReference") or ""))
    if match is None:
        raise InputError(
            f"{image} does not say which template its labels are drawn in. Put space-<template> "
            "into its name, or SpatialReference into a .json of the same name, for example "
            "MNI152NLin6Asym."
        )
    return match[0]


def _refuse_unnamed(image: Path, index: NDArray[np.int64]) -> None:
    labels = _labels_in(image)
    if (labels % 1 != 0).any():
        raise InputError(f"{image} holds fractions; a label image holds whole numbers only.")
    unnamed = sorted(set(labels.astype(int).tolist()) - {0, *index.tolist()})
    if unnamed:
        raise InputError(
            f"{image} holds labels its table does not name: {_shortened(unnamed)}. Add their rows."
        )


def _labels_in(image: Path) -> NDArray[np.float64]:
    try:
        loaded: Any = nib.load(image)
        values = np.asanyarray(loaded.dataobj)
    except (ImageFileError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{image} cannot be read ({error}). Get it anew.") from error
    if values.ndim != 3:
        raise InputError(f"{image} has {values.ndim} dimensions; a label image has 3.")
    return np.unique(values).astype(np.float64)


def _shortened(numbers: list[int], limit: int = 20) -> str:
    more = f" and {len(numbers) - limit} more" if len(numbers) > limit else ""
    return ", ".join(map(str, numbers[:limit])) + more


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

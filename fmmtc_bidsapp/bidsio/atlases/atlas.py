"""Read and check an atlas: labels, names and coordinates."""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
from nibabel.cifti2.cifti2 import Cifti2HeaderError, Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.atlases import a424
from fmmtc_bidsapp.bidsio.atlases.parcel_table import read_parcel_table
from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.images import open_image
from fmmtc_bidsapp.bidsio.files.names import ATLAS_IMAGE_PATTERNS, parse_name, space_of
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.errors import InputError, MissingResourceError, UsageError
from fmmtc_bidsapp.records import MOST_PARCELS, Atlas, ParcelTable
from fmmtc_bidsapp.visible import is_blank, visible

__all__ = ["require_dlabel", "resolve_atlas"]

_LABEL = "A424"
# nibabel does not check headers, so a damaged one raises errors of Python: a size that is NaN or
# infinite, an absent attribute, more bytes than memory.
_UNREADABLE = (
    *(ImageFileError, HeaderDataError, Cifti2HeaderError, ExpatError),
    *(zlib.error, OSError, EOFError, MemoryError),
    *(ValueError, ArithmeticError, LookupError, TypeError, AttributeError),
)

_ROWS = "Node"
_SPACE = re.compile(r"(MNI[0-9A-Za-z]+)(?:[:_+]cohort-([0-9A-Za-z]+))?")


def resolve_atlas(atlas: str) -> Atlas:
    """Find an atlas and check that its image and table belong together.

    Parameters
    ----------
    atlas
        ``A424``, the path of a label image with a table of the same name ending in ``.tsv``
        (columns ``index`` and ``name``; ``network``, ``subnetwork``, ``x``, ``y``, ``z`` if it
        has them), or the folder that holds one. The same parcels on grayordinates may lie beside
        it under the same name ending in ``.dlabel.nii``.

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
        If image or table cannot be read, or the image (or its grayordinates) holds labels that the
        table does not name or names otherwise.
    """
    try:
        return _resolve(atlas)
    except OSError as error:
        raise InputError(
            f"The atlas {atlas} cannot be read ({error}). Make its files and folders readable, or "
            "choose another with --atlas."
        ) from error


def _resolve(atlas: str) -> Atlas:
    if atlas == _LABEL:
        return _read_a424(a424.find_a424())
    image = _image_of(Path(atlas).absolute())
    if _sha256(image.read_bytes()) == a424.SHA256[a424.IMAGE]:
        return _read_a424(a424.check_files(image.parent))
    return _read_personal(image)


def require_dlabel(atlas: Atlas) -> Path:
    """Return the atlas's grayordinates; MissingResourceError or UsageError if absent."""
    if atlas.dlabel is not None:
        return atlas.dlabel
    if atlas.label == _LABEL:
        raise MissingResourceError(
            f"{atlas.image.parent} has no {a424.DLABEL}, which CIFTI series need. "
            f"{a424.how_to_get()} Or use NIfTI images with --file-format nifti."
        )
    raise UsageError(
        f"The atlas {atlas.label} has no labels on grayordinates, which CIFTI series need. Put "
        f"{_beside(atlas.image, '.dlabel.nii').name} beside {atlas.image}, or use NIfTI images "
        "with --file-format nifti."
    )


def _beside(image: Path, ending: str) -> Path:
    return image.with_name(image.name.partition(".")[0] + ending)


def _read_a424(folder: Path) -> Atlas:
    image, table = folder / a424.IMAGE, folder / a424.TABLE
    return Atlas(
        **vars(a424.read_parcels(folder)),
        label=_LABEL,
        title="A424",
        image=image,
        space="MNI152NLin6Asym",
        # The grayordinates have a known digest too, so they do not change the atlas's.
        digest=_sha256(image.read_bytes() + table.read_bytes()),
        dlabel=a424.check_dlabel(folder),
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
                f"{path} has {len(images)} label images {ATLAS_IMAGE_PATTERNS[0]}; one is needed. "
                "Give the path of the image with --atlas."
            )
        path = images[0]
    problem = content_problem(path)
    if problem is not None:
        raise UsageError(f"The atlas image is {problem}")
    return path


def _read_personal(image: Path) -> Atlas:
    table_path, sidecar_path = (_beside(image, ending) for ending in (".tsv", ".json"))
    entities = parse_name(image).entities
    label = entities.get("atlas", "")
    if not label:
        raise UsageError(
            f"{image} has no atlas- in its name. Rename it to atlas-<label>_dseg.nii.gz."
        )
    if label == _LABEL:
        raise UsageError(f"{image} has the label A424 but is another image. Rename it.")
    index, table = _read_table(table_path)
    _refuse_unnamed(image, _labels_in(image), index)
    names = table.names
    blank = [number for number, name in zip(index.tolist(), names, strict=True) if is_blank(name)]
    if blank:
        raise InputError(
            f"{table_path}: parcels {_shortened(blank)} have no visible name. Name every parcel."
        )
    if _ROWS in names:
        raise InputError(
            f"{table_path} has a parcel called {_ROWS}, the name of the first column of matrices. "
            "Rename the parcel."
        )
    dlabel = _read_dlabel(_beside(image, ".dlabel.nii"), index, names)
    files = [image, table_path, *([] if dlabel is None else [dlabel])]
    sidecar = read_json(sidecar_path) if sidecar_path.is_file() else {}
    spelled = replace(
        table,
        names=_spelled(names),
        networks=_spelled(table.networks),
        subnetworks=_spelled(table.subnetworks),
    )
    return Atlas(
        **vars(spelled),
        label=label,
        title=str(sidecar.get("Name", label)),
        image=image,
        space=_space(dict(entities), sidecar, image),
        digest=_sha256(b"".join(path.read_bytes() for path in files)),
        dlabel=dlabel,
        description=str(sidecar.get("Description", "")),
        licence=str(sidecar.get("License", "")),
        source=str(sidecar.get("Source", "")),
    )


def _read_table(path: Path) -> tuple[NDArray[np.int64], ParcelTable]:
    """Read the labels of the parcels and their table, without background."""
    problem = content_problem(path)
    if problem is not None:
        raise InputError(f"The atlas table is {problem}; it needs the columns index and name.")
    table = read_parcel_table(path)
    if len(table.names) > MOST_PARCELS:
        raise InputError(
            f"{path} has {len(table.names)} parcels; at most {MOST_PARCELS} are possible, as every "
            "pair is correlated. Use an atlas of fewer parcels."
        )
    if table.index is None:
        raise InputError(
            f"{path} needs a column index of unique whole numbers, the labels of the image, in "
            "32 bits. Correct it."
        )
    # One space between words, as in every file that is written.
    joined: dict[str, Any] = {
        what: tuple(" ".join(text.split()) for text in getattr(table, what))
        for what in ("names", "networks", "subnetworks")
    }
    # Background is no parcel, though some tables list it.
    parcels = replace(table, **joined).rows(np.flatnonzero(table.index).tolist())
    return table.index[table.index != 0], parcels


def _spelled(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return names as they are written to files; invisible ones are ``n/a``."""
    return tuple("n/a" if is_blank(text) else visible(text) for text in texts)


def _space(entities: dict[str, str], sidecar: dict[str, Any], image: Path) -> str:
    named = space_of(entities)
    if named:
        return named
    match = _SPACE.search(str(sidecar.get("Space") or sidecar.get("SpatialReference") or ""))
    if match is None:
        raise InputError(
            f"The template of {image} is unknown. Add space-<template> to its name, or "
            "SpatialReference to a .json of the same name, for example MNI152NLin6Asym (with "
            "cohort: MNIInfant:cohort-2)."
        )
    template, cohort = match.groups()
    return str(space_of({"space": template} | ({} if cohort is None else {"cohort": cohort})))


def _read_dlabel(path: Path, index: NDArray[np.int64], names: tuple[str, ...]) -> Path | None:
    """Check that grayordinates, if any, have the parcels of the table, and return their path."""
    if not path.exists() and not path.is_symlink():
        return None
    problem = content_problem(path)
    if problem is not None:
        raise UsageError(f"The atlas on grayordinates is {problem}")
    values, titles = _grayordinates_in(path)
    _refuse_unnamed(path, values, index)
    named = dict(zip(names, index.tolist(), strict=True))
    for value, title in titles.items():
        # Spellings may differ, but the name of another parcel is an error.
        if named.get(title, value) != value:
            raise InputError(
                f"{path}: label {value} is {title!r}, which is parcel {named[title]} in the table. "
                "Image, table and grayordinates must use the same labels."
            )
    return path


def _grayordinates_in(path: Path) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Return the labels of a ``.dlabel.nii`` file, and the names in its own table."""
    try:
        loaded = open_image(path)
        values = np.asanyarray(loaded.dataobj)
        cifti = isinstance(loaded, Cifti2Image)
        axes = [loaded.header.get_axis(n) for n in (0, 1)] if cifti else []
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error!r}). Replace it.") from error
    if [type(axis) for axis in axes] != [LabelAxis, BrainModelAxis] or len(axes[0]) != 1:
        raise InputError(
            f"{path} is not one map of labels on grayordinates. A .dlabel.nii file is needed."
        )
    titles = {int(value): str(entry[0]) for value, entry in axes[0].label[0].items()}
    return np.unique(values).astype(np.float64), titles


def _refuse_unnamed(image: Path, labels: NDArray[np.float64], index: NDArray[np.int64]) -> None:
    if (labels % 1 != 0).any():
        raise InputError(f"{image} has fractions; a label image has whole numbers only.")
    unnamed = sorted(set(map(int, labels.tolist())) - {0, *index.tolist()})
    if unnamed:
        raise InputError(
            f"{image} has labels that its table lacks: {_shortened(unnamed)}. Add their rows."
        )


def _labels_in(image: Path) -> NDArray[np.float64]:
    try:
        loaded = open_image(image)
        values = np.asanyarray(loaded.dataobj)
    except _UNREADABLE as error:
        raise InputError(f"{image} cannot be read ({error!r}). Replace it.") from error
    if values.ndim != 3:
        raise InputError(f"{image} has {values.ndim} dimensions; a label image has 3.")
    return np.unique(values).astype(np.float64)


def _shortened(numbers: list[int], limit: int = 20) -> str:
    more = f" and {len(numbers) - limit} more" if len(numbers) > limit else ""
    return ", ".join(map(str, numbers[:limit])) + more


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

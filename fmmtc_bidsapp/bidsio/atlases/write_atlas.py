"""Write the labels of an atlas into the derivative dataset."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.atomic import write_bytes, write_json
from fmmtc_bidsapp.bidsio.files.names import atlas_description, atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import MISSING, write_tsv
from fmmtc_bidsapp.records import Atlas

__all__ = ["density_key", "label_bytes", "map_bytes", "resolution_key", "write_atlas"]

Floats = NDArray[np.float64]


def write_atlas(
    output_dir: Path,
    atlas: Atlas,
    image_used: bytes,
    space: str,
    res: str | None = None,
    den: str | None = None,
) -> None:
    """Write the labels as used (``image_used``: a label file), their table and description."""
    image, table, sidecar = atlas_files(output_dir, space, atlas.label, res, den)
    write_bytes(image, image_used)
    write_tsv(table, _parcel_columns(atlas))
    description = f"{atlas.title} on the grid of the series that were made with it."
    write_json(
        sidecar,
        {"Description": description, "Manual": False, **resolution_key(res), **density_key(den)},
    )
    write_json(
        atlas_description(output_dir, atlas.label),
        {
            "Name": atlas.title,
            "Description": atlas.description,
            "License": atlas.licence or MISSING,
            "ReferencesAndLinks": [atlas.source] if atlas.source else [],
            "SpatialReference": atlas.space,
            "Digest": atlas.digest,
        },
    )


def label_bytes(labels: NDArray[np.int32], affine: Floats) -> bytes:
    """Return labels (x, y, z) as a ``.nii.gz`` file; the same labels give the same bytes."""
    return _packed(labels, affine)


def map_bytes(values: NDArray[np.float32], affine: Floats, description: str = "") -> bytes:
    """Return a map (x, y, z) as a ``.nii.gz`` file; its header holds 79 characters of text."""
    return _packed(values, affine, description)


def _packed(data: NDArray[Any], affine: Floats, description: str = "") -> bytes:
    plain: Any = nib.Nifti1Image(data, affine)
    plain.header.set_xyzt_units("mm")
    plain.header["descrip"] = description[:79].encode("ascii")
    return gzip.compress(plain.to_bytes(), compresslevel=6, mtime=0)


def _parcel_columns(atlas: Atlas) -> dict[str, Any]:
    unknown = np.full((len(atlas.index), 3), np.nan)
    xyz_mm = unknown if atlas.coordinates_mm is None else atlas.coordinates_mm
    return {
        "index": atlas.index,
        "name": atlas.names,
        "network": atlas.networks,
        "subnetwork": atlas.subnetworks,
        "x": xyz_mm[:, 0],
        "y": xyz_mm[:, 1],
        "z": xyz_mm[:, 2],
    }


def resolution_key(res: str | None) -> dict[str, str]:
    """Return the sidecar key that explains ``res-``, as BIDS requires."""
    return {} if res is None else {"Resolution": f"That of the preprocessed image (res-{res})."}


def density_key(den: str | None) -> dict[str, str]:
    """Return the sidecar key that explains ``den-``, as BIDS requires."""
    return {} if den is None else {"Density": f"{den} grayordinates of the preprocessed image."}

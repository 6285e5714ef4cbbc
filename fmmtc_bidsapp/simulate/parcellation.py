"""A grey-matter parcellation for demonstration, from nilearn's template."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_gm_mask
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.atomic import write_bytes, write_json
from fmmtc_bidsapp.bidsio.files.names import build_name
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.simulate.images import SPACE

__all__ = ["DEMO_PARCELS", "demo_atlas", "halve"]

DEMO_PARCELS = 424
"""As many as A424 has."""

_SUBNETWORKS = 24
_NETWORKS = 7
_GREY_MATTER_SHARE = 0.5
# nilearn's template reaches 4 voxels further on every side than the 91 x 109 x 91 grid of
# MNI152NLin6Asym at 2 mm.
_MNI_FIELD = (slice(4, 95), slice(4, 113), slice(4, 95))
_TITLE = "Demonstration parcellation of grey matter into {parcels} boxes (NOT A424)"
_DESCRIPTION = (
    "FOR DEMONSTRATION ONLY; THIS IS NOT A424 and no anatomical atlas. The grey matter of the MNI "
    "template that nilearn brings is halved along its longest axis until each side has {half} "
    "pieces of equal size; the networks are runs of neighbouring pieces and stand for nothing in "
    "the brain. The template is close to, but not, {space}."
)

_LICENCE = (
    "Made from the ICBM 152 2009 template, copyright McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute, which permits use and redistribution with this notice."
)


def halve(xyz_mm: NDArray[np.float64], pieces: int) -> NDArray[np.int64]:
    """Return the piece of each point (point, 3) after repeated cuts across the longest axis.

    Consecutive pieces are neighbours.
    """
    piece = np.zeros(len(xyz_mm), dtype=np.int64)
    if pieces == 1:
        return piece
    longest = int(np.ptp(xyz_mm, axis=0).argmax())
    order = np.argsort(xyz_mm[:, longest], kind="stable")
    n_low = pieces // 2
    cut = round(len(order) * n_low / pieces)
    low, high = order[:cut], order[cut:]
    piece[low] = halve(xyz_mm[low], n_low)
    piece[high] = n_low + halve(xyz_mm[high], pieces - n_low)
    return piece


def demo_atlas(folder: Path, parcels: int = DEMO_PARCELS) -> Path:
    """Write label image, table and JSON of the demonstration parcellation of both hemispheres."""
    if parcels % 2 or not 2 * _SUBNETWORKS <= parcels <= DEMO_PARCELS:
        raise UsageError(
            f"--parcels is {parcels}; it must be even, from {2 * _SUBNETWORKS} to {DEMO_PARCELS}."
        )
    half = parcels // 2
    grey = load_mni152_gm_mask(resolution=2, threshold=_GREY_MATTER_SHARE).slicer[_MNI_FIELD]
    voxels = np.argwhere(grey.get_fdata() > 0)
    xyz_mm = voxels @ grey.affine[:3, :3].T + grey.affine[:3, 3]
    piece = _pieces(xyz_mm, half)
    labels = np.zeros(grey.shape, dtype=np.int16)
    labels[tuple(voxels.T)] = 1 + piece
    image, table, sidecar = (
        folder / build_name({"atlas": f"DemoGM{parcels}"}, "dseg", extension)
        for extension in (".nii.gz", ".tsv", ".json")
    )
    write_bytes(image, _image_bytes(labels, grey.affine))
    write_tsv(table, _table(xyz_mm, piece, half))
    write_json(
        sidecar,
        {
            "Name": _TITLE.format(parcels=parcels),
            "Description": _DESCRIPTION.format(half=half, space=SPACE),
            "License": _LICENCE,
            "SpatialReference": SPACE,
        },
    )
    return image


def _pieces(xyz_mm: NDArray[np.float64], half: int) -> NDArray[np.int64]:
    right = xyz_mm[:, 0] >= 0
    # Mirrored, so that both sides are cut alike.
    mirrored = np.column_stack([np.abs(xyz_mm[:, 0]), xyz_mm[:, 1:]])
    piece = np.empty(len(xyz_mm), dtype=np.int64)
    for side, first in ((right, 0), (~right, half)):
        piece[side] = first + halve(mirrored[side], half)
    return piece


def _table(xyz_mm: NDArray[np.float64], piece: NDArray[np.int64], half: int) -> dict[str, Any]:
    number = np.arange(2 * half)
    side, place = np.divmod(number, half)
    subnetwork = place * _SUBNETWORKS // half
    network = subnetwork * _NETWORKS // _SUBNETWORKS
    centre_mm = np.stack([xyz_mm[piece == each].mean(axis=0) for each in number]).round(2)
    return {
        "index": number + 1,
        "name": [f"Demo_{'RL'[s]}_{p + 1:03d}" for s, p in zip(side, place, strict=True)],
        "network": [f"DemoNetwork{each + 1}" for each in network],
        "subnetwork": [f"DemoSubnetwork{each + 1:02d}" for each in subnetwork],
        "x": centre_mm[:, 0],
        "y": centre_mm[:, 1],
        "z": centre_mm[:, 2],
    }


def _image_bytes(labels: NDArray[np.int16], affine: NDArray[np.float64]) -> bytes:
    image: Any = nib.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="mni")
    # A fixed date, so that the same labels are the same bytes.
    return gzip.compress(image.to_bytes(), mtime=0)

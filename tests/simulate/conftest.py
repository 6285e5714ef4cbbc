"""A small atlas, so that a dataset takes a fraction of a second."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.simulate.images import mni_grid


@pytest.fixture(scope="session")
def block_atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Eight blocks on a 12 mm grid in four networks, their labels out of order in the table."""
    folder = tmp_path_factory.mktemp("blocks")
    grid = mni_grid(12)
    labels = np.zeros(grid.shape, dtype=np.int16)
    for number, corner in enumerate(np.ndindex(2, 2, 2)):
        x, y, z = 4 + 4 * np.array(corner)
        labels[x : x + 3, y : y + 3, z : z + 3] = 10 * (number + 1)
    nib.save(nib.Nifti1Image(labels, grid.affine), folder / "atlas-Blocks_dseg.nii.gz")
    rows = [f"{10 * n}\tblock{n}\tNetwork{n % 4}" for n in (3, 1, 2, 8, 7, 6, 5, 4)]
    table = "\n".join(["index\tname\tnetwork", *rows]) + "\n"
    (folder / "atlas-Blocks_dseg.tsv").write_text(table)
    sidecar = '{"Name": "Blocks", "SpatialReference": "MNI152NLin6Asym"}'
    (folder / "atlas-Blocks_dseg.json").write_text(sidecar)
    return resolve_atlas(str(folder))

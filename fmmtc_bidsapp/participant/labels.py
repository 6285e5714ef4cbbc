"""The labels as they lie on the grids of the images, into the derivative dataset."""

from __future__ import annotations

from collections.abc import Sequence

from fmmtc_bidsapp.bidsio.atlas import require_dlabel
from fmmtc_bidsapp.bidsio.names import atlas_files
from fmmtc_bidsapp.bidsio.write_atlas import label_bytes, write_atlas
from fmmtc_bidsapp.engine import make_folder
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.participant.start import Start
from fmmtc_bidsapp.records import BoldRun
from fmmtc_bidsapp.signals.placement import placed_once
from fmmtc_bidsapp.signals.space import read_grid

__all__ = ["write_labels"]


def write_labels(start: Start, runs: Sequence[BoldRun]) -> None:
    """Write the labels of every space and resolution that occurs among runs.

    Where the runs of one space have grids of their own, as without ``res-``, the first that was
    ever written stands for all.

    Parameters
    ----------
    start
        Atlas, transforms and output.
    runs
        All that were found; the pictures show the labels.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    # Placements come into it before the first graph, which would make it private.
    make_folder(start.plan.workspace)
    grids: dict[tuple[str, str | None, str | None], list[BoldRun]] = {}
    for run in runs:
        grids.setdefault((run.space, run.res, run.den), []).append(run)
    for (space, res, den), alike in grids.items():
        files = atlas_files(start.plan.output_dir, space, start.atlas.label, res, den)
        if not all(path.is_file() for path in files):
            _write_first(start, alike)


def _write_first(start: Start, runs: Sequence[BoldRun]) -> None:
    for run in runs:
        try:
            content = _CONTENT[run.file_format](start, run)
        except InputError:
            # An image that cannot be read: its own node will say so.
            continue
        write_atlas(start.plan.output_dir, start.atlas, content, run.space, run.res, run.den)
        return


def _nifti(start: Start, run: BoldRun) -> bytes:
    # Also where the image is looked up at the atlas's voxels: the labels are then for the eye.
    transform = start.label_transform(run.space)
    placed = placed_once(
        start.placement_dir,
        start.atlas.image,
        start.atlas.index,
        read_grid(run.bold),
        target="data",
        transform=transform,
    )
    return label_bytes(placed.labels, placed.labels_affine)


def _cifti(start: Start, run: BoldRun) -> bytes:
    return require_dlabel(start.atlas).read_bytes()


_CONTENT = {"nifti": _nifti, "cifti": _cifti}

"""Write the atlas labels on the grid of the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fmmtc_bidsapp.bidsio.atlases.atlas import require_dlabel
from fmmtc_bidsapp.bidsio.atlases.write_atlas import label_bytes, write_atlas
from fmmtc_bidsapp.bidsio.files.names import atlas_description, atlas_files, finished_dir
from fmmtc_bidsapp.engine import make_folder
from fmmtc_bidsapp.errors import InputError, OutputError
from fmmtc_bidsapp.participant.admission import Start
from fmmtc_bidsapp.participant.finished import file_stem
from fmmtc_bidsapp.participant.resume import Ledger
from fmmtc_bidsapp.records import BoldRun
from fmmtc_bidsapp.signals.parcellation.placement import placed_once
from fmmtc_bidsapp.signals.parcellation.space import read_grid

__all__ = ["require_labels", "write_labels"]


def write_labels(start: Start, runs: Sequence[BoldRun]) -> list[list[Path]]:
    """Write the labels of every space, resolution and density among runs, unless complete.

    Without ``res-`` runs may have different grids; the first one written represents all. Returns
    the files of each, without those of unreadable images.
    """
    # Before the first graph, which would make the folder private.
    make_folder(start.plan.workspace)
    grids: dict[tuple[str, str | None, str | None], list[BoldRun]] = {}
    for run in runs:
        grids.setdefault((run.space, run.res, run.den), []).append(run)
    ledger, there = _ledger(start), []
    for alike in grids.values():
        files = _files(start, alike[0])
        if not ledger.is_finished(_entry(files), {}):
            if not _write_first(start, alike):
                continue
            ledger.mark_finished(_entry(files), {}, files)
        there.append(files)
    return there


def require_labels(start: Start, written: Sequence[Sequence[Path]]) -> None:
    """Raise OutputError if a label file of `write_labels` was changed or deleted."""
    ledger = _ledger(start)
    for files in written:
        if not ledger.is_whole(_entry(files)):
            raise OutputError(
                f"{files[0]}, or its table or sidecar, was deleted or changed during this run. Run "
                "the same command again without changing the output folder."
            )


def _ledger(start: Start) -> Ledger:
    """Return the ledger of labels, shared by all cleanings."""
    return Ledger(finished_dir(start.plan.output_dir), start.means_hash)


def _files(start: Start, run: BoldRun) -> list[Path]:
    """Return the label files for the grid of a run."""
    root, label = start.plan.output_dir, start.atlas.label
    named = atlas_files(root, run.space, label, run.res, run.den)
    return [*named, atlas_description(root, label)]


def _entry(files: Sequence[Path]) -> str:
    return file_stem(files[0])


def _write_first(start: Start, runs: Sequence[BoldRun]) -> bool:
    """Write the labels on the grid of the first readable run; False without any."""
    for run in runs:
        try:
            content = _CONTENT[run.file_format](start, run)
        except InputError:
            # An unreadable image: its node will report the error.
            continue
        write_atlas(start.plan.output_dir, start.atlas, content, run.space, run.res, run.den)
        return True
    return False


def _nifti(start: Start, run: BoldRun) -> bytes:
    # Also for resampling target atlas, where the labels are for figures only.
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

"""A copy of the simulated atlas, for ``--atlas``."""

from __future__ import annotations

from pathlib import Path

from fmmtc_bidsapp.bidsio.atlases import a424
from fmmtc_bidsapp.bidsio.files.atomic import write_bytes
from fmmtc_bidsapp.records import Atlas

__all__ = ["copy_atlas"]


def copy_atlas(atlas: Atlas, folder: Path) -> None:
    """Copy the files of an atlas, with their names, by which A424 is recognised."""
    for path in _files(atlas.image):
        write_bytes(folder / path.name, path.read_bytes())


def _files(image: Path) -> list[Path]:
    if image.name == a424.IMAGE:
        return [image.with_name(name) for name in a424.SHA256]
    stem = image.name.partition(".")[0]
    table, sidecar = (image.with_name(stem + ending) for ending in (".tsv", ".json"))
    return [image, table, *([sidecar] if sidecar.is_file() else [])]

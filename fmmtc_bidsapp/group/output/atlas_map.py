"""The atlas of an explanation: networks of its parcels, and its label image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.atlases.parcel_table import label_image, paint, read_atlas_table
from fmmtc_bidsapp.bidsio.files.names import bids_uri
from fmmtc_bidsapp.engine import Outcome
from fmmtc_bidsapp.errors import AppError
from fmmtc_bidsapp.group.cohort.dataset import Study
from fmmtc_bidsapp.learning.explanation.map_tables import Places
from fmmtc_bidsapp.records import MapRow, ModalityShare, ParcelTable

__all__ = ["DrawnMap", "StudyAtlas", "draw_map", "read_study_atlas"]

_SOURCES = ("series", "connectivity")
_UNSUPPORTED = "fmmtc: NO EVIDENCE OF PREDICTION. This map shows what chance looks like."
"""Text in the header of the image, for readers without its sidecar."""


@dataclass(frozen=True, eq=False)
class StudyAtlas:
    """The parcels of the series, with the table and image of their atlas."""

    places: Places
    folder: Path
    """Root of that dataset."""
    dataset: str
    """Name of the dataset in ``DatasetLinks``; empty for the output itself."""
    table: Path | None
    """None if absent, or if it does not name the parcels."""
    labels: Path | None
    """None if absent, or if the numbers of the parcels in it are unknown."""
    no_image: str
    """The reason if `labels` is None."""

    @property
    def about(self) -> dict[str, str | None]:
        """Return the files used, as BIDS URIs; None for absent ones."""
        files = {"Table": self.table, "Labels": self.labels}
        return {
            name: None if path is None else bids_uri(path, self.folder, self.dataset)
            for name, path in files.items()
        }


@dataclass(frozen=True, eq=False)
class DrawnMap:
    """The map of the main model in the space of the atlas, or why there is none."""

    about: Mapping[str, Any]
    """For the sidecars."""
    image: bytes | None = None
    broken: tuple[Outcome, ...] = ()
    """The error if it could not be drawn."""


def read_study_atlas(study: Study) -> StudyAtlas:
    """Read the table and find the label image of the atlas of a study."""
    folder, series = study.plan.series_dir, study.cohort.people[0].runs[0]
    parcels = study.cohort.parcels
    table = read_atlas_table(folder, series.atlas_label) or ParcelTable(())
    found = table.of(parcels)
    labels = None if found.index is None else label_image(folder, series)
    no_image = (
        f"{folder.name} holds no label image of the series' atlas"
        if found.index is not None
        else f"{folder.name} holds no table that gives the parcels of the series their numbers in "
        "a label image"
    )
    in_order = range(1, len(parcels) + 1)
    index = in_order if found.index is None else found.index.tolist()
    places = Places(parcels, index, found.groups)
    dataset = "" if folder == study.plan.output_dir else "parcels"
    return StudyAtlas(places, folder, dataset, found.path, labels, no_image)


def draw_map(
    atlas: StudyAtlas,
    rows: Sequence[MapRow],
    shares: Sequence[ModalityShare],
    *,
    unsupported: bool,
) -> DrawnMap:
    """Draw the parcels of the stream with the larger share, or return why not.

    A label image that cannot be read costs the image, and nothing else.
    """
    parcels = [row for row in rows if row.level == "parcel" and row.source in _SOURCES]
    if not parcels:
        return DrawnMap({"NoImage": "the main model has no map of parcels"})
    if atlas.labels is None:
        return DrawnMap({"NoImage": atlas.no_image})
    carried = {each.modality: each.share for each in shares if each.model == rows[0].model}
    source = max(dict.fromkeys(row.source for row in parcels), key=lambda s: carried.get(s, 0.0))
    own = [row for row in parcels if row.source == source]
    try:
        image = paint(
            atlas.labels,
            np.array([row.index for row in own], dtype=np.int64),
            np.array([row.attribution for row in own]),
            _UNSUPPORTED if unsupported else "",
        )
    except AppError as error:
        broken = Outcome("image of the map", "failed", str(error), error.exit_code)
        return DrawnMap({"NoImage": str(error)}, broken=(broken,))
    about = {"Model": rows[0].model, "Source": source, "Value": "attribution"}
    return DrawnMap({"Image": about}, image)

"""The table of modalities: time series, connectivity, and those of other packages."""

from __future__ import annotations

from fmmtc_bidsapp import extensions
from fmmtc_bidsapp.modalities.modality import Modality
from fmmtc_bidsapp.modalities.preparation import CentredSeries, FilledEdges

__all__ = ["CONNECTIVITY", "MODALITIES", "SERIES", "modality_of"]

SERIES = Modality(
    "series",
    "time series",
    ("parcel", "time"),
    "mean BOLD signal of each parcel, normalised; or what an encoder makes of it",
    CentredSeries,
    sources=("series", "cls", "cls_random"),
)
CONNECTIVITY = Modality(
    "connectivity",
    "connectivity",
    ("parcel", "parcel"),
    "correlation between the series of two parcels",
    FilledEdges,
    sources=("fc",),
)

MODALITIES = extensions.Registry(
    extensions.MODALITIES, {each.name: each for each in (SERIES, CONNECTIVITY)}, Modality
)
"""By name."""


def modality_of(source: str) -> str:
    """Name the modality that an array of `fmmtc_bidsapp.records.Examples` belongs to."""
    for each in MODALITIES.own.values():
        if source in each.sources:
            return each.name
    return source

"""A parcellation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp.errors import require
from fmmtc_bidsapp.records.arrays import Floats, Ints

__all__ = ["MOST_PARCELS", "Atlas"]


MOST_PARCELS = 10_000
"""A matrix of so many takes 800 MB."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A parcellation: a label image and one row per parcel, in the order of every output."""

    label: str
    """As in file names (``A424``); a fallback or personal atlas never carries ``A424``."""
    title: str
    image: Path
    index: Ints
    """(parcel,) label values in the image."""
    names: tuple[str, ...]
    networks: tuple[str, ...]
    """Broad network of each parcel (AA-7 for A424), ``n/a`` where unknown."""
    subnetworks: tuple[str, ...]
    """Fine network of each parcel (AA-24 for A424), ``n/a`` where unknown."""
    coordinates_mm: Floats | None
    """(parcel, 3) what the encoder is told; for A424 the file BrainLM was trained with."""
    space: str
    """TemplateFlow identifier of the template the labels are drawn in."""
    digest: str
    """sha256 over the label image and the table."""
    dlabel: Path | None = None
    """The same parcels on 91k grayordinates, where there is such a file."""
    description: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.index)
        for what in ("names", "networks", "subnetworks"):
            require(
                len(getattr(self, what)) == n,
                f"Atlas {self.label} has {n} parcels but {len(getattr(self, what))} {what}.",
            )
        require(n > 0, f"Atlas {self.label} has no parcel.")
        require(len(set(self.names)) == n, f"Atlas {self.label} names a parcel twice.")
        if self.coordinates_mm is not None:
            require(
                self.coordinates_mm.shape == (n, 3),
                f"Atlas {self.label} needs ({n}, 3) coordinates, found "
                f"{self.coordinates_mm.shape}.",
            )

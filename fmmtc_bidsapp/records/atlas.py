"""A parcellation, and what is known of its parcels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.errors import require
from fmmtc_bidsapp.records.arrays import Floats, Ints

__all__ = ["MOST_PARCELS", "Atlas", "ParcelTable"]


MOST_PARCELS = 10_000
"""A matrix of so many takes 800 MB."""

_UNKNOWN = "n/a"
_LEVELS = ("network", "subnetwork", "hemisphere")


@dataclass(frozen=True, eq=False)
class ParcelTable:
    """Parcels of an atlas with their groups and coordinates, in the order of its table."""

    names: tuple[str, ...]
    index: Ints | None = None
    """(parcel,) values in the label image; None if unknown."""
    networks: tuple[str, ...] = ()
    """(parcel,) broad network (AA-7 for A424), ``n/a`` if unknown."""
    subnetworks: tuple[str, ...] = ()
    """(parcel,) fine network (AA-24 for A424), ``n/a`` if unknown."""
    hemispheres: tuple[str, ...] = ()
    """(parcel,) ``left``, ``right``, or ``n/a`` if unknown or on the midline."""
    coordinates_mm: Floats | None = None
    """(parcel, 3), NaN if unknown; for A424 those that BrainLM was trained with."""
    path: Path | None = None
    """The table itself; None without one."""

    def __post_init__(self) -> None:
        n = len(self.names)
        for what in (f"{level}s" for level in _LEVELS):
            if not getattr(self, what):
                object.__setattr__(self, what, (_UNKNOWN,) * n)
            require(
                len(getattr(self, what)) == n,
                f"An atlas has {n} parcels but {len(getattr(self, what))} {what}.",
            )
        if self.index is not None:
            require(len(self.index) == n, f"An atlas has {n} parcels but {len(self.index)} labels.")
        if self.coordinates_mm is not None:
            require(
                self.coordinates_mm.shape == (n, 3),
                f"An atlas of {n} parcels needs ({n}, 3) coordinates, found "
                f"{self.coordinates_mm.shape}.",
            )

    def rows(self, where: Sequence[int]) -> ParcelTable:
        """Return the parcels at these positions, in their order."""
        chosen: dict[str, Any] = {
            what: tuple(getattr(self, what)[row] for row in where)
            for what in ("names", *(f"{level}s" for level in _LEVELS))
        }
        for what, values in (("index", self.index), ("coordinates_mm", self.coordinates_mm)):
            chosen[what] = None if values is None else values[np.asarray(where, dtype=np.intp)]
        return replace(self, **chosen)

    def of(self, parcels: Sequence[str]) -> ParcelTable:
        """Return these parcels in their order; only their names if the table lacks one."""
        row_of = {name: row for row, name in reversed(list(enumerate(self.names)))}
        if not set(parcels) <= set(row_of):
            return ParcelTable(tuple(parcels))
        return self.rows([row_of[name] for name in parcels])

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """(parcel,) by level ``network``, ``subnetwork`` and ``hemisphere``; only known levels."""
        found = {level: getattr(self, f"{level}s") for level in _LEVELS}
        return {level: names for level, names in found.items() if set(names) != {_UNKNOWN}}

    @property
    def complete_coordinates_mm(self) -> Floats | None:
        """(parcel, 3); None unless the coordinates of all parcels are known."""
        xyz_mm = self.coordinates_mm
        return None if xyz_mm is None or np.isnan(xyz_mm).any() else xyz_mm


@dataclass(frozen=True, eq=False, kw_only=True)
class Atlas(ParcelTable):
    """A label image and its parcels, in the order of every output."""

    label: str
    """As in file names (``A424``); a personal atlas cannot be labelled ``A424``."""
    title: str
    image: Path
    index: Ints
    """(parcel,) label values in the image."""
    space: str
    """TemplateFlow identifier of the template of the labels."""
    digest: str
    """sha256 over the label image and the table."""
    dlabel: Path | None = None
    """The same parcels on 91k grayordinates, if that file exists."""
    description: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.names) > 0, f"Atlas {self.label} has no parcel.")
        require(
            len(set(self.names)) == len(self.names), f"Atlas {self.label} names a parcel twice."
        )

"""What a modality is: what its array holds per participant, how it is read, how it is prepared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.modalities.preparation import Preparation
from fmmtc_bidsapp.records import ModalityValues, Person

__all__ = ["FILL", "LEAVE_OUT", "Dataset", "Modality"]

LEAVE_OUT, FILL = "leave out", "fill"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = frozenset(
    {
        *("cls", "cls_random", "fc", "encoder", "coordinates", "covariates"),
        *("motion", "acquisition", "rollout", "array"),
    }
)
"""Names that mean something else where modalities are named."""


@dataclass(frozen=True)
class Dataset:
    """Where a reader finds the files of a modality, and whose it is asked for.

    Parameters
    ----------
    people : tuple of Person
        Everyone who may be analysed.
    bids_dir : pathlib.Path
        The BIDS dataset; its ``participants.tsv`` and ``phenotype/`` lie there.
    derivatives : mapping of pathlib.Path
        Folders of ``--derivatives``, by name.
    parcels : tuple of str
        Names of the parcels, in the order of every array that has them.
    """

    people: tuple[Person, ...]
    bids_dir: Path
    derivatives: Mapping[str, Path]
    parcels: tuple[str, ...]


@dataclass(frozen=True)
class Modality:
    """One kind of data that networks can read.

    Parameters
    ----------
    name : str
        Lower case letters, digits and underscores. Names the array in
        `fmmtc_bidsapp.records.Examples.arrays` and the rows of written tables.
    title : str
        As a reader calls it.
    axes : tuple of str
        Axes of one participant's array: ``("parcel", "time")``. The maps of an explanation are of
        the first axis.
    meaning : str
        What the values are, with the unit.
    preparation : type of Preparation
        How values become the input of a network, learnt from the training rows of a fold.
    read : callable, optional
        `Dataset` -> `fmmtc_bidsapp.records.ModalityValues`, called once per analysis. None for the
        modalities that this program reads from its own derivatives.
    missing : {"leave out", "fill"}
        What becomes of participants without it, where a network needs it: they are left out of the
        analysis with the reason, or stay with NaN for `preparation` to fill in. Both are counted.
    sources : tuple of str
        Keys of ``Examples.arrays``, where there are several; else the name.

    Raises
    ------
    UsageError
        For a name or a `missing` that cannot be.

    Examples
    --------
    >>> from fmmtc_bidsapp.modalities.preparation import ScaledColumns
    >>> Modality("snps", "SNPs", ("snp",), "count of the minor allele", ScaledColumns).missing
    'leave out'
    """

    name: str
    title: str
    axes: tuple[str, ...]
    meaning: str
    preparation: type[Preparation]
    read: Callable[[Dataset], ModalityValues] | None = None
    missing: str = LEAVE_OUT
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _TAKEN:
            raise UsageError(
                f"The modality {self.name!r} needs another name: at most 40 lower case letters, "
                f"digits and underscores, a letter first, and none of {', '.join(sorted(_TAKEN))}."
            )
        if self.missing not in (LEAVE_OUT, FILL):
            raise UsageError(
                f"missing of the modality {self.name} is {self.missing!r}; allowed are "
                f"{LEAVE_OUT!r} and {FILL!r}."
            )
        if not self.sources:
            object.__setattr__(self, "sources", (self.name,))

"""Digests of the training participants, so that none of them is used for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.names import dataset_description
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.evaluation.distance import ConnectivityRange
from fmmtc_bidsapp.learning.evaluation.same_scan import digest_text, scan_digests
from fmmtc_bidsapp.records import Person

__all__ = ["KnownPeople", "Namesakes", "dataset_name", "known_people"]

_SAME_PERSON = "the model was trained on this person (same label in a dataset of the same name)"
_SAME_FILE = "the model was trained on this very file"
_SAME_SCAN = "the model was trained on this scan (the connectivity is that of a training person)"


@dataclass(frozen=True)
class Namesakes:
    """People of another dataset who have the label of a training person."""

    keys: tuple[str, ...]

    def __str__(self) -> str:
        """Return a note for the terminal; empty without any."""
        if not self.keys:
            return ""
        return (
            f"{len(self.keys)} of these people have the label of a training person ("
            f"{', '.join(self.keys[:3])}{', …' if len(self.keys) > 3 else ''}), but their dataset "
            "has another Name: they count as other people unless the scans are the same."
        )


@dataclass(frozen=True)
class KnownPeople:
    """The training people as salted digests, sorted, so that labels and scans are not linked."""

    salt: str
    dataset: str | None
    """Of the ``Name`` of the dataset; None where it has none."""
    labels: tuple[str, ...]
    files: tuple[str, ...]
    """Of the bytes of every series or matrix."""
    scans: tuple[str, ...]
    """Of the connectivity of every person; a scan that is processed again shares some of them."""

    def by_table(
        self, people: Sequence[Person], dataset: str | None
    ) -> tuple[dict[str, str], Namesakes]:
        """Return training people by key with the reason, by label and file, and namesakes.

        A label counts if both datasets have the same name, or one has none.
        """
        same_dataset = self._same_dataset(dataset)
        reasons: dict[str, str] = {}
        namesakes = []
        for person in people:
            known = digest_text(self.salt, _label(person)) in self.labels
            if any(_file(self.salt, run.path) in self.files for run in person.runs):
                reasons[person.key] = _SAME_FILE
            elif known and same_dataset:
                reasons[person.key] = _SAME_PERSON
            elif known:
                namesakes.append(person.key)
        return reasons, Namesakes(tuple(namesakes))

    def by_scan(
        self,
        people: Sequence[Person],
        matrices: NDArray[np.float32],
        mean: ConnectivityRange | None,
    ) -> dict[str, str]:
        """Return training people by key with the reason, by connectivity as in `scan_digests`."""
        known = set(self.scans)
        digests = scan_digests(matrices, mean, self.salt)
        pairs = zip(people, digests, strict=True)
        return {person.key: _SAME_SCAN for person, own in pairs if own & known}

    def _same_dataset(self, dataset: str | None) -> bool:
        if dataset is None or self.dataset is None:
            return True
        return digest_text(self.salt, dataset) == self.dataset


def known_people(
    people: Sequence[Person],
    matrices: NDArray[np.float32],
    mean: ConnectivityRange | None,
    dataset: str | None,
) -> KnownPeople:
    """Return the digests of the training people; `matrices` and `mean` as in `scan_digests`."""
    # The same people have the same salt, so that a bundle that is written again is the same.
    data = (hashlib.sha256(each.tobytes()).hexdigest() for each in matrices)
    salt = digest_text("", *(person.key for person in people), *data)
    digests = [_file(salt, run.path) for person in people for run in person.runs]
    scans = scan_digests(matrices, mean, salt)
    return KnownPeople(
        salt,
        None if dataset is None else digest_text(salt, dataset),
        tuple(sorted({digest_text(salt, _label(person)) for person in people})),
        tuple(sorted({each for each in digests if each is not None})),
        tuple(sorted(frozenset().union(*scans))),
    )


def dataset_name(bids_dir: Path) -> str | None:
    """Return the name of the dataset without case and spaces; None without one."""
    try:
        name = read_json(dataset_description(bids_dir)).get("Name")
    except InputError:
        return None
    words = name.casefold().split() if isinstance(name, str) else []
    return " ".join(words) or None


def _label(person: Person) -> str:
    """Return the label without leading zeros, as a spreadsheet would leave it."""
    return person.participant_id.removeprefix("sub-").casefold().lstrip("0")


def _file(salt: str, path: Path) -> str | None:
    """Return the digest of a file; None for an unreadable one, which is reported when read."""
    try:
        return digest_text(salt, digest_of(path))
    except OSError:
        return None

"""Genotyped people -> BIDS participants, by their ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Ints

__all__ = ["match_people"]

_SHOWN = 3

_SPELLINGS: tuple[Callable[[pd.DataFrame], pd.Series], ...] = (
    lambda people: people["individual_id"].str.removeprefix("sub-"),
    lambda people: people["individual_id"].str.removeprefix("0_"),
    lambda people: _plain(people["individual_id"].str.removeprefix("sub-")),
    lambda people: _plain(people["family_id"] + people["individual_id"]),
)
"""How an id may be spelled as a BIDS label, the closest first: as it is, without PLINK's family 0,
with letters and digits alone, after the family."""


def _plain(ids: pd.Series) -> pd.Series:
    return ids.str.replace(r"[^0-9A-Za-z]", "", regex=True)


def match_people(people: pd.DataFrame, participant_ids: Sequence[str]) -> Ints:
    """Find the row of each participant among the genotyped people, (participant,), -1 for none.

    One spelling serves everyone: the first by which anybody is found. InputError where nobody is
    found, or two people have one label.
    """
    labels = [each.removeprefix("sub-") for each in participant_ids]
    for spelling in _SPELLINGS:
        spelled = spelling(people)
        found = spelled.isin(labels)
        if not found.any():
            continue
        twice = spelled[found & spelled.duplicated(keep=False)]
        if len(twice):
            ids = people["individual_id"][twice.index[twice == twice.iloc[0]]]
            raise InputError(
                f"Genotyped people {', '.join(ids)} are all sub-{twice.iloc[0]}; expected one. "
                "Rename or remove the others."
            )
        row_of = pd.Series(np.arange(len(people)), index=spelled.to_numpy())
        row_of = row_of[~row_of.index.duplicated()]
        rows: Ints = row_of.reindex(labels, fill_value=-1).to_numpy(dtype=np.int64)
        return rows
    raise InputError(
        f"None of {len(people):,} genotyped people is a participant. Genotyped: "
        f"{', '.join(people['individual_id'][:_SHOWN])}, ...; participants: "
        f"{', '.join(participant_ids[:_SHOWN])}, ...; the ids must be the labels after sub-."
    )

"""Report duplicate scans; refuse a cohort of duplicates only."""

from __future__ import annotations

from collections.abc import Sequence

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Duplicate

__all__ = ["duplicates_line", "refuse_twins"]

_SAME_SCAN = 0.999


def duplicates_line(duplicates: Sequence[Duplicate], what: str, so: str) -> str:
    """Tell pairs of people in one line, however many they are.

    Parameters
    ----------
    duplicates
        The closest first.
    what
        What they have in common: ``have the same scan``.
    so
        What follows from it, a sentence.

    Returns
    -------
    str
        With the number of pairs and people where there are several; empty without any.
    """
    if not duplicates:
        return ""
    first = duplicates[0]
    pair = f"{first.first} and {first.second}"
    close = f"their connectomes correlate at {first.correlation:.4f}"
    if len(duplicates) == 1:
        return f"{pair} {what} ({close}). {so}"
    people = {key for each in duplicates for key in (each.first, each.second)}
    return (
        f"{len(duplicates)} pairs of {len(people)} people {what} (the closest are {pair}, {close}; "
        f"all are in the sidecar of the metrics). {so}"
    )


def refuse_twins(keys: Sequence[str], duplicates: Sequence[Duplicate]) -> None:
    """Refuse a cohort in which everybody has the scan of somebody else.

    Parameters
    ----------
    keys
        Everyone.
    duplicates
        Pairs; those of one scan count.

    Raises
    ------
    InputError
        With the number of people and the first pair.
    """
    same = [each for each in duplicates if each.correlation >= _SAME_SCAN]
    twins = {key for each in same for key in (each.first, each.second)}
    if keys and twins >= set(keys):
        raise InputError(
            f"All {len(keys)} people have the same scan as somebody else, {same[0].first} and "
            f"{same[0].second} for example, so nobody could be tested on a scan that was not "
            "trained on. Check how the files were made: are they copies of one file?"
        )

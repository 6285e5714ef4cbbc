"""Report duplicate scans; refuse a cohort of duplicates only."""

from __future__ import annotations

from collections.abc import Sequence

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Duplicate

__all__ = ["describe_duplicates", "refuse_duplicates"]

_SAME_SCAN = 0.999


def describe_duplicates(duplicates: Sequence[Duplicate], what: str, so: str) -> str:
    """Describe pairs of people in one line, the closest first; empty without any.

    `what` they share (``have the same scan``), and a sentence on the consequence.
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
        f"{len(duplicates)} pairs of {len(people)} participants {what} (closest: {pair}, {close}; "
        f"all are in the sidecar of the metrics). {so}"
    )


def refuse_duplicates(keys: Sequence[str], duplicates: Sequence[Duplicate]) -> None:
    """InputError if everybody has the scan of somebody else, with the first pair."""
    same = [each for each in duplicates if each.correlation >= _SAME_SCAN]
    twins = {key for each in same for key in (each.first, each.second)}
    if keys and twins >= set(keys):
        raise InputError(
            f"All {len(keys)} participants have the same scan as another participant (such as "
            f"{same[0].first} and {same[0].second}), so no test scan would be absent from the "
            "training set. Check whether the files are copies of one file."
        )

"""Compare two lists of participant ids, and explain differences."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

from fmmtc_bidsapp.bidsio.tables.cells import as_number, lookalike

__all__ = ["first_ids", "likely_cause", "lookalike_ids", "unmatched"]

_SHOWN = 3
_PREFIX = "sub-"


def first_ids(ids: Collection[str]) -> str:
    """Return the first participants: ``sub-01, sub-02, sub-03, …``."""
    shown = sorted(ids)[:_SHOWN]
    return ", ".join(shown) + (", …" if len(ids) > _SHOWN else "")


def lookalike_ids(these: Iterable[str], others: Collection[str]) -> dict[str, str]:
    """Return ids of one list with those of another that differ in zeros, case and signs only."""
    by_look = {_reduced(each): each for each in others}
    return {each: by_look[_reduced(each)] for each in these if _reduced(each) in by_look}


def likely_cause(these: Iterable[str], others: Collection[str]) -> str:
    """Describe a likely difference in spelling between unmatched ids; empty without any.

    Nothing is matched by it.
    """
    pairs = list(lookalike_ids(these, others).items())
    if not pairs:
        return ""
    one, other = pairs[0]
    return (
        f"{len(pairs)} of them would match if {_difference(one, other)} (for example {one} and "
        f"{other}). Similar ids are not matched: make the ids equal."
    )


def unmatched(in_table: AbstractSet[str], with_files: AbstractSet[str]) -> str:
    """Describe ids that a table and a folder do not share; empty if they agree."""
    only_table, only_files = in_table - with_files, with_files - in_table
    cause = likely_cause(sorted(only_table), only_files)
    if not (only_table and only_files) or not (cause or in_table.isdisjoint(with_files)):
        return ""
    sentence = (
        f"{len(only_table)} participants of the table ({first_ids(only_table)}) have no files, and "
        f"{len(only_files)} participants with files ({first_ids(only_files)}) are not in the table."
    )
    return f"{sentence} {cause}".rstrip()


def _reduced(own_id: str) -> str:
    bare = own_id.removeprefix(_PREFIX)
    number = as_number(bare)
    if number is not None and number.is_integer():
        return str(int(number))
    return lookalike("".join(each for each in bare if each.isalnum()))


def _difference(one: str, other: str) -> str:
    a, b = (each.removeprefix(_PREFIX) for each in (one, other))
    if a.casefold() == b.casefold():
        return "upper and lower case were ignored"
    if a.lstrip("0") == b.lstrip("0"):
        shorter, longer = sorted((a, b), key=len)
        return f"leading zeros were restored ({longer} for {shorter})"
    return "zeros, decimals, signs and case were ignored"

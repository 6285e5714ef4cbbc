"""Tables of allele counts: PLINK's .raw and .traw, and TSVs of a phenotype folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.packed import MISSING, StoredCalls, pack
from fmmtc_bidsapp.genotypes.tables import PEOPLE, VARIANTS, positions, sexes

__all__ = ["read_counted", "read_transposed"]

_LEADING = {
    "FID": "family_id",
    "IID": "individual_id",
    "participant_id": "individual_id",
    "PAT": "father_id",
    "MAT": "mother_id",
    "SEX": "sex",
}
_UNUSED = ("PHENOTYPE", "PHENO1", "session_id")
_VARIANT = re.compile(r"(?P<snp>.+)_(?P<a1>[A-Za-z*.<>0-9]+)(\(/(?P<a2>[^)]+)\))?")
"""``rs1_A`` or ``rs1_A(/G)``: the variant, the counted allele and, if known, the other one."""
_TRANSPOSED = ["CHR", "SNP", "CM", "POS", "A1", "A2"]
_COPIES = {"0": 0, "1": 1, "2": 2, "NA": MISSING, "n/a": MISSING, "": MISSING}
_NOT_SAID = "n/a"


def read_counted(path: Path) -> tuple[StoredCalls, pd.DataFrame, pd.DataFrame]:
    """Read a table with a row per person and a column per variant."""
    lines = _lines(path)
    header = next(lines, [])
    first = next(
        (i for i, name in enumerate(header) if name not in (*_LEADING, *_UNUSED)), len(header)
    )
    if not {"IID", "participant_id"} & set(header[:first]):
        raise InputError(
            f"{path} begins with the columns {', '.join(header[:6])}; expected IID (PLINK) or "
            "participant_id (BIDS), then one column per variant."
        )
    named = [_variant(path, name) for name in header[first:]]
    variants = pd.DataFrame(named, columns=list(VARIANTS))
    own_id = header.index("IID" if "IID" in header else "participant_id")
    leading, calls = [], []
    for line in lines:
        leading.append(line[:first])
        person = line[own_id] if len(line) > own_id else "cut off"
        calls.append(_copies(path, line[first:], len(variants), f"{len(leading)} ({person})"))
    _require_some(path, len(leading), len(variants))
    people = pd.DataFrame(leading, columns=header[:first]).rename(columns=_LEADING)
    people = people.reindex(columns=list(PEOPLE), fill_value="0")
    people["sex"] = sexes(people["sex"])
    return StoredCalls(pack(np.array(calls, dtype=np.int8).T), len(people)), people, variants


def read_transposed(path: Path) -> tuple[StoredCalls, pd.DataFrame, pd.DataFrame]:
    """Read PLINK's .traw, with a row per variant and a column per person (``FID_IID``)."""
    lines = _lines(path)
    header = next(lines, [])
    if header[:2] != ["CHR", "SNP"] or header[4:5] != ["COUNTED"]:
        raise InputError(f"{path} does not begin with CHR, SNP, (C)M, POS, COUNTED, ALT.")
    n_people = len(header) - len(_TRANSPOSED)
    rows, calls = [], []
    for line in lines:
        rows.append(line[: len(_TRANSPOSED)])
        calls.append(pack(_copies(path, line[len(_TRANSPOSED) :], n_people, line[1])[None])[0])
    _require_some(path, n_people, len(rows))
    variants = pd.DataFrame(rows, columns=_TRANSPOSED)[[*VARIANTS]]
    variants["POS"] = positions(path, variants["POS"])
    people = pd.DataFrame("0", index=range(n_people), columns=list(PEOPLE))
    people = people.assign(individual_id=header[len(_TRANSPOSED) :], sex="unknown")
    return StoredCalls(np.array(calls, dtype=np.uint8), n_people), people, variants


def _require_some(path: Path, n_people: int, n_variants: int) -> None:
    if not (n_people and n_variants):
        raise InputError(
            f"{path} has {n_people} people and {n_variants} variants; expected at least one of "
            "each."
        )


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
            separator = "\t" if "\t" in first else " "
            yield first.rstrip("\r\n").split(separator)
            for line in file:
                if line.strip():
                    yield line.rstrip("\r\n").split(separator)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from None


def _variant(path: Path, name: str) -> tuple[str, str, int, str, str]:
    found = _VARIANT.fullmatch(name)
    if found is None:
        raise InputError(
            f"{path}, column {name!r}: expected the variant and its counted allele, such as rs1_A."
        )
    return _NOT_SAID, found["snp"], 0, found["a1"], found["a2"] or _NOT_SAID


def _copies(path: Path, values: Sequence[str], n: int, where: str) -> NDArray[np.int8]:
    """Read one row of counts, 0, 1, 2 or missing."""
    if len(values) != n:
        raise InputError(f"{path}, row {where}: {len(values)} values, expected {n}.")
    try:
        return np.array([_COPIES[value] for value in values], dtype=np.int8)
    except KeyError as error:
        raise InputError(
            f"{path}, row {where}: found {error.args[0]!r}, expected a count of 0, 1, 2 or NA."
        ) from None

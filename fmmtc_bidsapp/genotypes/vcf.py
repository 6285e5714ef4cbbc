"""VCF and BCF: the hard calls (GT) of variants with two alleles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.optional import installed
from fmmtc_bidsapp.genotypes.packed import MISSING, StoredCalls, pack
from fmmtc_bidsapp.genotypes.pgen import read_psam
from fmmtc_bidsapp.genotypes.tables import PEOPLE, VARIANTS

__all__ = ["read_vcf"]

_COPIES = np.array([0, 1, MISSING, 2], dtype=np.int8)
"""Copies of ALT by cyvcf2's kind of genotype: reference, heterozygous, unknown, alternative."""
_BLOCKED = bytes.fromhex("1f8b0804")
"""Beginning of gzip in blocks (BGZF), SAM specification 4.1."""
_LAST_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends such a file."""


def read_vcf(path: Path) -> tuple[StoredCalls, pd.DataFrame, pd.DataFrame]:
    """Read the calls into a temporary file of two bits each; the counted allele is ALT.

    Sex and parents come from a .psam of the same name beside it, where there is one.
    """
    _require_end(path)
    samples, records = _open(path)
    rows, refused = [], []
    file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the array that maps it
    for record in records:
        name = record.ID or f"{record.CHROM}:{record.POS}:{record.REF}:{','.join(record.ALT)}"
        if len(record.ALT) != 1:
            refused.append(name)
            continue
        rows.append((record.CHROM, name, record.POS, record.ALT[0], record.REF))
        file.write(pack(_COPIES[record.gt_types][None]).tobytes())
    if refused:
        raise InputError(
            f"{path} has {len(refused):,} variants without exactly one alternative allele "
            f"({', '.join(refused[:5])}). Split or drop them: bcftools view -m2 -M2."
        )
    if not rows:
        raise InputError(f"{path} holds no variant.")
    file.flush()
    people = _people(path, samples)
    stored = np.memmap(file, dtype=np.uint8, mode="r").reshape(len(rows), -1)
    return StoredCalls(stored, len(people)), people, pd.DataFrame(rows, columns=list(VARIANTS))


def _open(path: Path) -> tuple[list[str], Iterator[Any]]:
    """List the samples, and read the records one by one."""
    with installed(path.suffix):
        import cyvcf2
    with _readable(path):
        reader = cyvcf2.VCF(str(path))
        samples = list(reader.samples)

    def read() -> Iterator[Any]:
        while True:
            with _readable(path):
                record = next(reader, None)
            if record is None:
                return
            yield record

    return samples, read()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  cyvcf2 raises plain Exceptions
        raise InputError(
            f"{path} cannot be read as VCF ({error}): damaged, cut off or of another format."
        ) from None


def _require_end(path: Path) -> None:
    """Refuse a blocked gzip file without its last, empty block: it is not whole."""
    with path.open("rb") as file:
        if file.read(len(_BLOCKED)) != _BLOCKED:
            return
        file.seek(max(0, path.stat().st_size - len(_LAST_BLOCK)))
        if file.read() != _LAST_BLOCK:
            raise InputError(f"{path} is cut off: its last block is missing. Copy it again.")


def _people(path: Path, samples: list[str]) -> pd.DataFrame:
    beside = path.with_name(path.name.split(".vcf")[0].split(".bcf")[0] + ".psam")
    if beside.is_file():
        known = read_psam(beside).set_index("individual_id", drop=False)
        if set(samples) <= set(known.index):
            return known.loc[samples].reset_index(drop=True)
    people = pd.DataFrame("0", index=range(len(samples)), columns=list(PEOPLE))
    return people.assign(individual_id=samples, sex="unknown")

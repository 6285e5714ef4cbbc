"""Polygenic scores: a file of weights, as the PGS Catalog gives them, applied to genotypes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.genotypes import Genotypes
from fmmtc_bidsapp.genotypes.quality import bare_chromosomes

__all__ = ["LEAST_OVERLAP", "PolygenicScore", "polygenic_score"]

LEAST_OVERLAP = 0.75
"""Least share of a score's variants that must be in the genotypes, as in pgsc_calc."""
MOST_AMBIGUOUS_FREQUENCY = 0.4
"""Rarer allele of A/T and C/G above which the strand cannot be known."""

_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_POSITIONS = (("hm_chr", "hm_pos"), ("chr_name", "chr_position"))
"""Columns of the chromosome and position, the harmonised ones first."""
_OTHER = ("other_allele", "hm_inferOtherAllele")
_OTHER_MODELS = ("is_dominant", "is_recessive")
"""Columns of older files, true for a variant whose effect is not additive."""
_NEEDED = ("effect_allele", "effect_weight")


@dataclass(frozen=True, eq=False)
class PolygenicScore:
    """A score per person, and what became of the variants of the file.

    Attributes
    ----------
    score : numpy.ndarray
        (person,) sum of weight times copies of the effect allele; a missing call counts as the
        mean of the people it was averaged over.
    n_variants : int
        Variants of the file.
    n_used : int
        Variants that count in the score.
    n_flipped : int
        Of these, with the effect allele as A2, or named on the other strand.
    n_ambiguous : int
        Left out: A/T or C/G with a rarer allele above 0.4.
    n_missing : int
        Left out: no such position, or other alleles there.
    """

    score: NDArray[np.float64]
    n_variants: int
    n_used: int
    n_flipped: int
    n_ambiguous: int
    n_missing: int

    @property
    def overlap(self) -> float:
        """Share of the file's variants that are in the genotypes."""
        return 1 - self.n_missing / self.n_variants


def polygenic_score(
    genotypes: Genotypes,
    path: str | Path,
    *,
    rows: ArrayLike | None = None,
    least_overlap: float = LEAST_OVERLAP,
) -> PolygenicScore:
    """Apply a scoring file of the PGS Catalog.

    Parameters
    ----------
    genotypes : Genotypes
        With chromosomes and positions.
    path : str or pathlib.Path
        Tab-separated, with effect_allele, other_allele, effect_weight and either hm_chr and hm_pos
        or chr_name and chr_position; ``.gz`` or not.
    rows : array-like of int or bool, optional
        People whose allele frequencies stand for missing calls, by default everyone. Within
        cross-validation the training rows.
    least_overlap : float
        Share of the file's variants that must be found.

    Returns
    -------
    PolygenicScore
        A score per person of the file, and counts.

    Raises
    ------
    InputError
        If the file cannot be read, or fewer variants are found than `least_overlap`: then the
        genome build differs, or the genotypes were not imputed.
    """
    weights = _read_weights(Path(path))
    found = _match(weights, genotypes.variants)
    if len(found) < least_overlap * len(weights):
        raise InputError(
            f"{path}: {len(found):,} of {len(weights):,} variants are in {genotypes.path} with the "
            f"same alleles ({len(found) / len(weights):.0%}, expected at least "
            f"{least_overlap:.0%}). Check that both are of one genome build, or impute the "
            "genotypes first."
        )
    dosages = genotypes.dosages(variants=found["row"]).astype(np.float64)
    frequency = _frequency(dosages if rows is None else dosages[np.asarray(rows)])
    is_known = ~np.isnan(frequency)
    is_ambiguous = found["is_palindrome"].to_numpy() & (
        np.minimum(frequency, 1 - frequency) > MOST_AMBIGUOUS_FREQUENCY
    )
    used = is_known & ~is_ambiguous
    kept, filled = found[used], np.where(np.isnan(dosages), 2 * frequency, dosages)[:, used]
    copies = np.where(kept["is_a2"], 2 - filled, filled)
    return PolygenicScore(
        score=copies @ kept["weight"].to_numpy(),
        n_variants=len(weights),
        n_used=len(kept),
        n_flipped=int((kept["is_a2"] | kept["is_other_strand"]).sum()),
        n_ambiguous=int(is_ambiguous.sum()),
        n_missing=len(weights) - len(found) + int((~is_known).sum()),
    )


def _frequency(dosages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average copies (person, variant) to the frequency of A1, (variant,); NaN without a call."""
    called = ~np.isnan(dosages)
    n = called.sum(axis=0)
    total = np.where(called, dosages, 0).sum(axis=0)
    found: NDArray[np.float64] = np.divide(total, 2 * n, out=np.full(len(n), np.nan), where=n > 0)
    return found


def _read_weights(path: Path) -> pd.DataFrame:
    """Read chromosome, position, effect and other allele and weight, a row per variant."""
    try:
        table = pd.read_csv(path, sep="\t", comment="#", dtype=str, keep_default_na=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a scoring file: {error}") from None
    places = [pair for pair in _POSITIONS if set(pair) <= set(table)]
    if not places or not set(_NEEDED) <= set(table):
        raise InputError(
            f"{path} has the columns {', '.join(map(str, table))}; expected "
            f"{', '.join(_NEEDED)} and {' or '.join(' with '.join(pair) for pair in _POSITIONS)}."
        )
    kinds = set(table.get("effect_type", pd.Series(["additive"]))) - {"additive", ""}
    kinds |= {name for name in _OTHER_MODELS if name in table and _any_true(table[name])}
    if kinds:
        raise InputError(f"{path} has effects that are not additive ({', '.join(sorted(kinds))}).")
    others = [name for name in _OTHER if name in table]
    try:
        weight, position = (pd.to_numeric(table[name]) for name in ("effect_weight", places[0][1]))
    except ValueError as error:
        raise InputError(f"{path}: {error}; weights and positions must be numbers.") from None
    if table.empty or not np.isfinite(weight).all():
        raise InputError(f"{path} has no variant, or a weight that is no finite number.")
    return pd.DataFrame(
        {
            "chromosome": bare_chromosomes(table[places[0][0]]),
            "position": position,
            "effect": table["effect_allele"].str.upper(),
            "other": table[others[0]].str.upper() if others else "",
            "weight": weight,
        }
    )


def _any_true(flags: pd.Series) -> bool:
    return bool(flags.str.lower().isin(["true", "1"]).any())


def _match(weights: pd.DataFrame, variants: pd.DataFrame) -> pd.DataFrame:
    """Find the variants of a score by position and alleles, a row per variant that is there.

    Columns: weight, row (in the genotypes), is_a2, is_other_strand, is_palindrome.
    """
    known = pd.DataFrame(
        {
            "chromosome": bare_chromosomes(variants["CHR"]),
            "position": variants["POS"],
            "a1": variants["A1"].str.upper(),
            "a2": variants["A2"].str.upper(),
            "row": np.arange(len(variants)),
        }
    )
    pairs = weights.reset_index().merge(known, on=["chromosome", "position"])
    effect, other = pairs["effect"], pairs["other"]
    far_effect, far_other = (text.str.translate(_COMPLEMENT) for text in (effect, other))
    is_a1, is_a2 = _same(pairs, effect, other), _same(pairs, other, effect)
    far_a1, far_a2 = _same(pairs, far_effect, far_other), _same(pairs, far_other, far_effect)
    here = is_a1 | is_a2
    pairs["is_a2"] = np.where(here, is_a2, far_a2)
    pairs["is_other_strand"] = ~here
    pairs["is_palindrome"] = pairs["a1"].str.translate(_COMPLEMENT) == pairs["a2"]
    # A variant that the genotypes hold twice counts once.
    return pairs[here | far_a1 | far_a2].drop_duplicates("index")


def _same(pairs: pd.DataFrame, first: pd.Series, second: pd.Series) -> pd.Series:
    """Compare with A1 and A2; an allele that the score does not name is any other one."""
    return ((pairs["a1"] == first) | (first == "")) & ((pairs["a2"] == second) | (second == ""))

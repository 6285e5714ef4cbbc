"""Read and check genotypes: ``python benchmarks/genotypes.py``.

A .bed set of random calls is read with its tables and counted, beside bed-reader (which reads the
dosages, and counts nothing) and PLINK 1.9 (frequencies, missing calls and Hardy-Weinberg tests)
where they are installed. Ends with 1 where a limit is missed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import Measurement, machine, markdown_table, run_isolated

SIZES = ((500, 100_000, 1.5, 250), (2_000, 500_000, 15.0, 400))
"""People, variants, and the limits: seconds and MB."""


def main() -> int:
    rows, kept = [], True
    for n_people, n_variants, most_s, most_mb in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            bed = write_set(Path(folder), n_people, n_variants)
            title = f"{n_people:,} people x {n_variants:,} variants"
            ours = run_isolated(f"{__file__}:quality", [str(bed)])
            rows.append(_row(title, "ours: tables and quality", ours.wall_s, ours.peak_rss_mb))
            kept &= ours.wall_s <= most_s and ours.peak_rss_mb <= most_mb
            if importlib.util.find_spec("bed_reader") and n_people < 1000:
                peer: Measurement = run_isolated(f"{__file__}:bed_reader", [str(bed)])
                rows.append(_row(title, "bed-reader: dosages", peer.wall_s, peer.peak_rss_mb))
            if shutil.which("plink1.9"):
                rows.append(_row(title, "PLINK 1.9: the same quality", *plink(bed)))
    print(machine(), markdown_table(rows), sep="\n\n", end="\n\n")
    print("all limits kept" if kept else "A LIMIT IS MISSED")
    return 0 if kept else 1


def write_set(folder: Path, n_people: int, n_variants: int) -> Path:
    """Write a .bed set of calls in Hardy-Weinberg proportions, one in a hundred missing."""
    from fmmtc_bidsapp.genotypes.packed import MISSING, pack

    rng, bed = np.random.default_rng(0), folder / "random.bed"
    with bed.open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for start in range(0, n_variants, 5_000):
            n = min(5_000, n_variants - start)
            frequency = rng.uniform(0.02, 0.5, (n, 1))
            copies = rng.binomial(2, frequency, (n, n_people)).astype(np.int8)
            copies[rng.random(copies.shape) < 0.01] = MISSING
            file.write(pack(copies).tobytes())
    bed.with_suffix(".bim").write_text(
        "".join(f"{1 + i * 22 // n_variants}\trs{i}\t0\t{i + 1}\tA\tG\n" for i in range(n_variants))
    )
    bed.with_suffix(".fam").write_text(
        "".join(f"0 P{i} 0 0 {1 + i % 2} -9\n" for i in range(n_people))
    )
    return bed


def quality(bed: str) -> Callable[[], int]:
    from fmmtc_bidsapp.genotypes.genotypes import read_genotypes

    return lambda: len(read_genotypes(bed).qc().variants)


def bed_reader(bed: str) -> Callable[[], int]:
    from bed_reader import open_bed

    return lambda: int(open_bed(bed).read(dtype="int8", num_threads=1).size)


def plink(bed: Path) -> tuple[float, float]:
    """Run PLINK's three reports: seconds and MB."""
    prefix, out = str(bed.with_suffix("")), str(bed.with_suffix(".plink"))
    words = ["--bfile", prefix, "--freq", "--missing", "--hardy", "--out", out]
    began = time.perf_counter()
    process = subprocess.Popen(["plink1.9", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"PLINK ended with {os.waitstatus_to_exitcode(status)}.")
    return time.perf_counter() - began, used.ru_maxrss * 1024 / 1e6


def _row(size: str, name: str, wall_s: float, peak_mb: float) -> dict[str, str]:
    return {"": size, "by": name, "wall, s": f"{wall_s:.1f}", "peak RSS, MB": f"{peak_mb:.0f}"}


if __name__ == "__main__":
    sys.exit(main())

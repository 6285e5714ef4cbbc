"""The golden gate: do all commands still write the numbers that are on record?

``make golden`` runs small studies through both levels and every family of model and compares the
digests of what they write with ``digests.json``; ``make golden-record`` writes that file. The exit
code is 0 where nothing differs, 1 where something does, and 69 where the digests cannot be compared
because another processor or another library computes other last digits.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from golden_digests import differences, digest_folder

ROOT = Path(__file__).resolve().parents[2]
DIGESTS = Path(__file__).with_name("digests.json")
SAME, DIFFERENT, NOT_COMPARABLE = 0, 1, 69

PACKAGES = (
    "captum",
    "isal",
    "nibabel",
    "nilearn",
    "nipype",
    "numpy",
    "pandas",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
)
INSTRUCTIONS = ("sse", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16", "i8mm")

TRIAL = "trial"
"""The folder of the real trial, whose archive is not everywhere."""

_SIMULATED = "--strength 2 --outcome-noise 0.9 --atlas demo --parcels 60 --voxel-size-mm 6"
_PARTICIPANT = "participant --atlas demo/bids/sourcedata/simulation"
_FITTED = "--encoder random --precision float32 --device cpu --inner-folds 2"
_PATIENTS = "--target Response --where type=patient --folds 3 --learning-rate 2e-3 --token-orders 2"
_TRAIN = f"demo/bids demo/out group {_PATIENTS} {_FITTED} --epochs 2 --network-permutations 0"
_APPLY = "new/bids new/out group --analysis apply --bootstrap 50"

DEMO = (
    f"fmmtc-tools simulate demo/bids --people 20 --controls 2 --seed 1 {_SIMULATED}",
    f"fmmtc demo/bids demo/out {_PARTICIPANT}",
    f"fmmtc {_TRAIN} --label demo --covariates Age gender --network fc-logistic fmmtc"
    " --permutations 19 --explain parcels",
    f"fmmtc {_TRAIN} --label network --network fmmtc --seeds 2 --permutations 0"
    " --explain features --show-unsupported-maps --null-maps 3",
    f"fmmtc {_TRAIN} --analysis compare --network fmmtc resnet-fc bnt lstm svm ridge knn xgboost"
    " --features fc fused --permutations 19",
    f"fmmtc-tools simulate new/bids --people 4 --controls 0 --seed 2 {_SIMULATED}",
    f"fmmtc new/bids new/out {_PARTICIPANT}",
    f"fmmtc {_APPLY} --model demo/out/models/demo",
    f"fmmtc {_APPLY} --label network --model demo/out/models/network",
)
"""``make demo`` with fewer people, epochs and shuffles; then what the demo leaves out.

Of the four new people two have labels of training people, and are left out by ``apply``.
"""

REAL = (
    f"fmmtc {TRIAL}/stages {TRIAL}/out group"
    f" --derivatives parcels={TRIAL}/stages/derivatives/parcels"
    f" --analysis compare --target sofas_improved_6mo {_FITTED} --network brainlm bnt svm"
    " --features fc encoder --folds 2 --epochs 1 --token-orders 1 --same-input --window 100"
    " --permutations 19 --network-permutations 0 --explain none",
)
"""``make trial`` with few models, one epoch and half a window."""


def machine() -> dict[str, str]:
    """Describe what the last digits hang on: instructions, and versions of libraries."""
    words: dict[str, str] = {"system": f"{platform.system()} {platform.machine()}"}
    words["processor"] = _cpuinfo("vendor_id") or platform.processor()
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    words["instructions"] = " ".join(sorted(f for f in flags if f.startswith(INSTRUCTIONS)))
    words["python"] = ".".join(platform.python_version_tuple()[:2])
    for package in PACKAGES:
        words[package] = importlib.metadata.version(package)
    words["xgboost"] = _xgboost()
    return words


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _xgboost() -> str:
    for package in ("xgboost-cpu", "xgboost"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"


def unlike(recorded: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Say in what this machine differs from the one of the record."""
    return [
        f"{key}: recorded {recorded.get(key, 'nothing')}, here {here.get(key, 'nothing')}"
        for key in sorted({*recorded, *here})
        if recorded.get(key) != here.get(key)
    ]


def run_commands(commands: Sequence[str], out: Path, n_procs: int | None) -> None:
    """Run commands in the folder, each with a log beside it; the first failure ends all."""
    bin_dir = Path(sys.executable).parent
    environment = {
        **os.environ,
        # The tree this script lies in, whatever is installed.
        "PYTHONPATH": str(ROOT),
        "FMMTC_CACHE_DIR": str(out / "cache"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    environment.pop("FMMTC_ATLAS_DIR", None)
    for command in commands:
        program, *words = command.split()
        if program == "fmmtc":
            words += ["--work-dir", str(out / "work" / Path(words[1]).parts[0])]
            words += ["--nprocs", str(n_procs)] if n_procs else []
        print(f"  {command}", flush=True)
        log = out / "last.log"
        with log.open("w") as file:
            done = subprocess.run(
                [bin_dir / program, *words],
                cwd=out / "studies",
                env=environment,
                check=False,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            tail = "\n".join(log.read_text().splitlines()[-20:])
            raise SystemExit(f"{tail}\nThis command ended with {done.returncode}: {command}")


def digest_studies(out: Path, archive: Path | None, n_procs: int | None) -> dict[str, str]:
    """Run everything in an empty folder and digest what was written."""
    studies = _empty(out)
    run_commands(DEMO, out, n_procs)
    if archive:
        with tarfile.open(archive) as file:
            file.extractall(studies / TRIAL, filter="data")
        run_commands(REAL, out, n_procs)
    given = f"{TRIAL}/stages/"
    found = digest_folder(studies, place=out)
    return {name: digest for name, digest in found.items() if not name.startswith(given)}


def _empty(out: Path) -> Path:
    """Make the folder anew; one that is not of this script is left alone."""
    studies = out / "studies"
    if out.exists() and any(out.iterdir()) and not studies.is_dir():
        raise SystemExit(f"{out} holds other files; name another folder with --out.")
    shutil.rmtree(out, ignore_errors=True)
    studies.mkdir(parents=True)
    return studies


def compare(digests: Path, out: Path, archive: Path | None, n_procs: int | None) -> int:
    """Run everything and list what differs from the record."""
    if not digests.exists():
        print(f"There is no record at {digests}: make golden-record writes it.")
        return NOT_COMPARABLE
    record = json.loads(digests.read_text())
    if other := unlike(record["machine"], machine()):
        print("Cannot be compared: last digits hang on the processor and on libraries.")
        print("\n".join(f"  {line}" for line in other))
        print("Record the commit you start from: make golden-record GOLDEN_DIGESTS=before.json")
        print("and compare with it:              make golden GOLDEN_DIGESTS=before.json")
        return NOT_COMPARABLE
    recorded, found = record["files"], digest_studies(out, archive, n_procs)
    if not archive:
        recorded = {n: digest for n, digest in recorded.items() if not n.startswith(f"{TRIAL}/")}
    changes = differences(recorded, found)
    for change in changes:
        print(change)
    print(f"{len(changes)} differences from {digests.name} in {len(found)} files.")
    return DIFFERENT if changes else SAME


def record(digests: Path, out: Path, archive: Path | None, n_procs: int | None) -> int:
    """Run everything and write the digests, a line a file."""
    if not archive and digests.exists() and f'"{TRIAL}/' in digests.read_text():
        print(f"{digests} has the real trial, whose archive is not here: not recorded.")
        return NOT_COMPARABLE
    found: dict[str, Any] = {"machine": machine(), "files": digest_studies(out, archive, n_procs)}
    digests.write_text(json.dumps(found, indent=0, sort_keys=True, ensure_ascii=False) + "\n")
    print(f"{len(found['files'])} files recorded in {digests}.")
    return SAME


def main() -> int:
    """Parse the command line and do as it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("compare", "record"))
    parser.add_argument("--out", type=Path, default=ROOT / "golden", help="made anew")
    parser.add_argument("--digests", type=Path, default=DIGESTS)
    parser.add_argument("--archive", type=Path, help="stages.tar.xz, where it is at hand")
    parser.add_argument(
        "--nprocs", type=int, help="processes at once; the digests do not hang on it"
    )
    words = parser.parse_args()
    archive = words.archive if words.archive and words.archive.is_file() else None
    if not archive:
        print(f"The real trial is skipped: no archive at {words.archive}.")
    action = compare if words.action == "compare" else record
    return action(words.digests, words.out.resolve(), archive, words.nprocs)


if __name__ == "__main__":
    raise SystemExit(main())

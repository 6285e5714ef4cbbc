"""Find the runs of many participants: ``python benchmarks/find_runs.py [PARTICIPANTS]``.

A few participants are simulated, and the first is linked under further labels. Beside the CPU time
of finding every run stands that of pybids' index of the same tree, which is a part of it. Ends
with 1 where the limit of 5,000 participants is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from measure import machine, markdown_table, run_isolated

N_PARTICIPANTS = 5000
MOST_CPU_S = 20.0


def main() -> int:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N_PARTICIPANTS
    with tempfile.TemporaryDirectory() as folder:
        fmriprep = _tree(Path(folder), n)
        ours = run_isolated(f"{__file__}:find_runs", [str(fmriprep)])
        pybids = run_isolated(f"{__file__}:index", [str(fmriprep)])
    rows = [
        {
            f"{n:,} participants, one run each": name,
            "CPU, s": f"{cost.cpu_s:.1f}",
            "wall, s": f"{cost.wall_s:.1f}",
            "peak memory, MB": f"{cost.peak_rss_mb:.0f}",
        }
        for name, cost in (("runs found and checked", ours), ("pybids' index alone", pybids))
    ]
    if ours.result != n:
        raise SystemExit(f"{ours.result} runs were found, not {n}.")
    kept = ours.cpu_s < MOST_CPU_S
    print(machine(), markdown_table(rows), sep="\n\n", end="\n\n")
    print(f"At most {MOST_CPU_S:.0f} s of CPU: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def find_runs(fmriprep: str) -> Callable[[], int]:
    from fmmtc_bidsapp.bidsio.layout.find_runs import find_bold_runs
    from fmmtc_bidsapp.bidsio.layout.query import Query

    def find() -> int:
        runs, _, _ = find_bold_runs(
            Path(fmriprep),
            Query(),
            spaces=["MNI152NLin6Asym"],
            file_format="nifti",
        )
        return len(runs)

    return find


def index(fmriprep: str) -> Callable[[], int]:
    from bids import BIDSLayout

    return lambda: len(BIDSLayout(fmriprep, validate=False, is_derivative=True).files)


def _tree(folder: Path, n: int) -> Path:
    """Simulate a few participants, and link the files of the first under further labels."""
    from fmmtc_bidsapp.cli.tools import main as fmmtc_tools

    command = f"simulate {folder / 'bids'} --people 4 --controls 0 --seed 1 --atlas demo "
    with redirect_stdout(sys.stderr):
        failed = fmmtc_tools([*command.split(), "--parcels", "48", "--voxel-size-mm", "8"])
    if failed:
        raise SystemExit("The study could not be simulated.")
    root = next(folder.rglob("derivatives/fmriprep"))
    simulated = sorted(path for path in root.glob("sub-*") if path.is_dir())
    first = simulated[0]
    files = [path for path in sorted(first.rglob("*")) if path.is_file()]
    for number in range(n - len(simulated)):
        other = f"sub-linked{number:05d}"
        for path in files:
            name = path.name.replace(first.name, other)
            new = root / other / path.relative_to(first).with_name(name)
            new.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, new)
    return root


if __name__ == "__main__":
    raise SystemExit(main())

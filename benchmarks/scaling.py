"""The participant level over many tiny runs: ``python benchmarks/scaling.py``.

Studies of growing size go through the real command. While it runs, the memory of the process that
schedules and of its largest worker are sampled, with the number of runs that are written. The
figures go into a table and, as a chart, into docs/images. Ends with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from measure import machine, markdown_table

SIZES = (100, 300, 1000)
CHART = Path(__file__).resolve().parent.parent / "docs" / "images" / "scaling.png"

MAX_SCHEDULER_MB_PER_RUN = 1.0
MAX_WORKER_GROWTH = 0.1
MAX_SLOWDOWN = 1.2


@dataclass(frozen=True)
class Sample:
    """One look at a running command."""

    time_s: float
    n_written: int
    scheduler_mb: float
    worker_mb: float


@dataclass(frozen=True)
class Row:
    """What one study took."""

    n_runs: int
    wall_s: float
    cpu_s: float
    """Of all processes of the command: what else the machine does adds nothing to it."""
    again_s: float
    samples: tuple[Sample, ...]

    @property
    def cpu_s_per_run(self) -> float:
        """Processor time over runs, start of the command and reports included."""
        return self.cpu_s / self.n_runs

    @property
    def scheduler_mb_per_run(self) -> float:
        """Growth of the scheduler from the first tenth of the runs to the last."""
        early, late = self._thirds("scheduler_mb")
        return (late - early) / self.n_runs

    @property
    def worker_growth(self) -> float:
        """Relative growth of the largest worker from the first third of the runs to the last."""
        early, late = self._thirds("worker_mb")
        return late / early - 1

    def _thirds(self, name: str) -> tuple[float, float]:
        working = [each for each in self.samples if 0 < each.n_written < self.n_runs]
        values = [getattr(each, name) for each in working]
        third = max(1, len(values) // 3)
        return float(np.median(values[:third])), float(np.median(values[-third:]))


def make_study(folder: Path, n_runs: int) -> Path:
    """Simulate people of one tiny run each, on an atlas of eight blocks; returns the atlas."""
    import nibabel as nib

    from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
    from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
    from fmmtc_bidsapp.simulate.dataset import write_dataset
    from fmmtc_bidsapp.simulate.options import SimulationOptions

    image = folder / "tpl-MNI152NLin6Asym_atlas-Eight_dseg.nii.gz"
    if (folder / "bids" / "sourcedata").exists():
        return image
    labels = np.zeros((12, 14, 12), dtype=np.int16)
    for number, (x, y, z) in enumerate(np.ndindex(2, 2, 2), start=1):
        labels[3 + 3 * x : 6 + 3 * x, 4 + 3 * y : 7 + 3 * y, 3 + 3 * z : 6 + 3 * z] = number
    affine = np.diag([16.0, 16, 16, 1])
    affine[:3, 3] = (-90, -126, -72)
    names = [f"Block{number}" for number in range(1, 9)]
    networks = [f"Net{number % 4}" for number in range(1, 9)]
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"index": range(1, 9), "name": names, "network": networks}
    write_tsv(image.with_name(image.name.replace(".nii.gz", ".tsv")), columns)
    nib.Nifti1Image(labels, affine).to_filename(image)
    options = SimulationOptions(people=n_runs, controls=0, volumes=60)
    write_dataset(folder / "bids", options, resolve_atlas(str(image)), voxel_size_mm=16)
    return image


def measure(folder: Path, n_runs: int) -> Row:
    atlas = make_study(folder, n_runs)
    out, work = folder / "out", folder / "work"
    for each in (out, work):
        shutil.rmtree(each, ignore_errors=True)
    words = [folder / "bids", out, "participant", "--atlas", atlas, "-w", work, "--nprocs", "2"]
    command = [sys.executable, "-m", "fmmtc_bidsapp", *map(str, words)]
    before_s = _children_s()
    wall_s, samples = _watch(command, out)
    cpu_s = _children_s() - before_s
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Row(n_runs, wall_s, cpu_s, time.perf_counter() - began, tuple(samples))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(command: list[str], out: Path) -> tuple[float, list[Sample]]:
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    process, samples = psutil.Process(child.pid), []
    while child.poll() is None:
        samples.append(_look(process, out, time.perf_counter() - began))
        time.sleep(1)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}.")
    return time.perf_counter() - began, samples


def _look(process: psutil.Process, out: Path, time_s: float) -> Sample:
    n_written = sum(1 for _ in out.glob("sub-*/func/*_qc.tsv"))
    workers = [_rss_mb(each) for each in process.children(recursive=True)]
    return Sample(time_s, n_written, _rss_mb(process), max(workers, default=0.0))


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / 1e6)
    except psutil.NoSuchProcess:
        return 0.0


def draw(rows: list[Row]) -> None:
    """Draw time over the number of runs, and for the largest study memory over time."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    n_runs = [row.n_runs for row in rows]
    for name, label, colour in (
        ("cpu_s", "processor time, all processes", "#D55E00"),
        ("wall_s", "wall time", "#0072B2"),
    ):
        left.plot(
            n_runs, [getattr(row, name) / 60 for row in rows], "o-", label=label, color=colour
        )
    left.set(xlabel="Runs", ylabel="Time (min)", title="Time", xlim=(0, None), ylim=(0, None))
    samples = rows[-1].samples
    minutes = [each.time_s / 60 for each in samples]
    for name, label, colour in (
        ("scheduler_mb", "scheduler", "#0072B2"),
        ("worker_mb", "largest worker", "#D55E00"),
    ):
        right.plot(minutes, [getattr(each, name) for each in samples], label=label, color=colour)
    right.set(
        xlabel="Time (min)",
        ylabel="Resident memory (MB)",
        title=f"Memory, {rows[-1].n_runs} runs",
        xlim=(0, None),
        ylim=(0, None),
    )
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(CHART, dpi=150, metadata={"Software": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="runs of each study")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "fmmtc-benchmark-scaling"),
        help="where the studies are kept (default %(default)s)",
    )
    arguments = parser.parse_args()
    rows = [measure(arguments.folder / str(size), size) for size in arguments.sizes]
    draw(rows)
    table = [
        {
            "runs": str(row.n_runs),
            "wall, s": f"{row.wall_s:.0f}",
            "CPU, s a run": f"{row.cpu_s_per_run:.2f}",
            "scheduler, MB a run": f"{row.scheduler_mb_per_run:.3f}",
            "growth of a worker": f"{row.worker_growth:+.0%}",
            "a second time, s": f"{row.again_s:.1f}",
        }
        for row in rows
    ]
    print(machine(), markdown_table(table), sep="\n\n")
    limits = {
        "scheduler's memory": rows[-1].scheduler_mb_per_run <= MAX_SCHEDULER_MB_PER_RUN,
        "workers' memory": rows[-1].worker_growth <= MAX_WORKER_GROWTH,
        "linear time": rows[-1].cpu_s_per_run <= MAX_SLOWDOWN * rows[0].cpu_s_per_run,
    }
    missed = [name for name, kept in limits.items() if not kept]
    print("\nlimits missed: " + ", ".join(missed) if missed else "\nall limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""One run from image to files, against nilearn: ``python benchmarks/participant.py``.

A simulated study at 2 mm and 200 volumes is made once and kept in a temporary folder. Two jobs do
the same for one run, each in a process of its own, in interleaved repeats: our nodes one after the
other, and the job as giga_connectome writes it with nilearn (a NiftiMasker that cleans every voxel,
then a NiftiLabelsMasker, then a ConnectivityMeasure, then tables). Then the graph of all runs is
timed under nipype with two processes. Ends with 1 where a limit is missed.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

# Heavy libraries are imported where they are used: they would count in every process's memory.
from measure import Measurement, machine, markdown_table, run_isolated, spread

PEOPLE, N_VOLUMES, VOXEL_MM, N_PROCS = 8, 200, 2.0, 2
JOBS = ("ours", "nilearn")

MIN_TIMES_FASTER = 5.0
MAX_SHARE_OF_MEMORY = 0.25
MAX_SHARE_OF_NIPYPE = 0.25
MAX_DIFFERENCE_SD = 1e-4


def _plan(study: Path, out: Path, work: Path) -> Any:
    from fmmtc_bidsapp.cli.main import plan_from

    atlas = study / "sourcedata" / "simulation"
    words = [study, out, "participant", "--atlas", atlas, "--work-dir", work, "--nprocs", N_PROCS]
    return plan_from([str(word) for word in words])


def ours(study: str, number: str, out: str) -> Callable[[], None]:
    """Return the nodes of one run, called one after the other without nipype's engine."""
    from fmmtc_bidsapp.participant.admission import begin
    from fmmtc_bidsapp.participant.workflow import run_nodes

    start = begin(_plan(Path(study), Path(out), Path(out, "work")))
    workflow = run_nodes(start, start.runs[int(number)])
    nodes = [workflow.get_node(name) for name in NODES]
    folder = Path(out, "nodes")
    folder.mkdir(parents=True, exist_ok=True)

    def run() -> None:
        found: dict[str, Any] = {}
        for node in nodes:
            for source, _, edge in workflow._graph.in_edges(node, data=True):
                for output, target in edge["connect"]:
                    setattr(node.interface.inputs, target, getattr(found[source.name], output))
            found[node.name] = node.interface.run(cwd=str(folder)).outputs

    return run


NODES = ("parcellate", "clean", "connect", "write")


def nilearn(study: str, number: str, out: str) -> Callable[[], None]:
    """Return the same job the way giga_connectome does it."""
    import numpy as np
    import pandas as pd
    from nilearn.connectome import ConnectivityMeasure
    from nilearn.image import resample_to_img
    from nilearn.interfaces.fmriprep import load_confounds_strategy
    from nilearn.maskers import NiftiLabelsMasker, NiftiMasker
    from sklearn.covariance import EmpiricalCovariance

    func = Path(study, "derivatives", "fmriprep", f"sub-{int(number) + 1:02d}", "func")
    (bold,) = map(str, func.glob("*desc-preproc_bold.nii.gz"))
    (mask,) = map(str, func.glob("*desc-brain_mask.nii.gz"))
    (labels,) = map(str, Path(study, "sourcedata", "simulation").glob("*dseg.nii.gz"))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)

    def run() -> None:
        confounds, _ = load_confounds_strategy(bold, denoise_strategy="simple")
        cleaner = NiftiMasker(mask_img=mask, detrend=True, standardize=None, t_r=2.0)
        cleaned = cleaner.inverse_transform(cleaner.fit_transform(bold, confounds=confounds))
        atlas = resample_to_img(
            labels, mask, interpolation="nearest", force_resample=True, copy_header=True
        )
        parcels = NiftiLabelsMasker(atlas, mask_img=mask, standardize=None, resampling_target=None)
        series = parcels.fit_transform(cleaned)
        measure = ConnectivityMeasure(kind="correlation", cov_estimator=EmpiricalCovariance())
        (matrix,) = measure.fit_transform([series])
        pd.DataFrame(series).to_csv(folder / "timeseries.tsv", sep="\t", index=False)
        pd.DataFrame(matrix).to_csv(folder / "relmat.tsv", sep="\t")
        motion_mm = pd.read_csv(_confounds(func), sep="\t")["framewise_displacement"]
        pd.DataFrame({"mean_fd": [motion_mm.mean()]}).to_csv(folder / "qc.tsv", sep="\t")
        np.save(folder / "labels.npy", np.array(list(parcels.region_ids_.values())[1:], dtype=str))

    return run


def _confounds(func: Path) -> Path:
    (path,) = func.glob("*desc-confounds_timeseries.tsv")
    return path


def graph(study: str, out: str) -> Callable[[], dict[str, float]]:
    """Return all runs under nipype, and what their nodes took by themselves."""
    from fmmtc_bidsapp.participant.admission import begin
    from fmmtc_bidsapp.participant.compute import compute_runs
    from fmmtc_bidsapp.participant.labels import write_labels
    from fmmtc_bidsapp.participant.run import join_output

    start = begin(_plan(Path(study), Path(out), Path(out, "work")))
    join_output(start)
    write_labels(start, start.runs)

    def run() -> dict[str, float]:
        done, problems = compute_runs(start, start.runs)
        assert len(done) == PEOPLE, problems
        return {"interfaces_s": _interfaces_s(start.plan.workspace / "participant")}

    return run


def _interfaces_s(folder: Path) -> float:
    """Sum up what nipype noted of every node's own time."""
    from nipype.utils.filemanip import loadpkl

    results = [loadpkl(path) for path in folder.rglob("result_*.pklz")]
    return float(sum(each.runtime.duration for each in results))


def make_study(folder: Path) -> None:
    """Simulate the study; it is left alone where it is there."""
    from fmmtc_bidsapp.simulate.options import SimulationOptions
    from fmmtc_bidsapp.tools.simulate import simulate

    options = SimulationOptions(people=PEOPLE, controls=0, volumes=N_VOLUMES)
    # What is printed becomes a section of docs/performance.md, which names no path of a machine.
    with redirect_stdout(sys.stderr):
        simulate(folder, options, voxel_size_mm=VOXEL_MM)


def measure_jobs(study: Path, people: int, repeats: int) -> dict[str, list[Measurement]]:
    runs: dict[str, list[Measurement]] = {job: [] for job in JOBS}
    for _ in range(repeats):
        for number in range(people):
            for job in JOBS:
                out = _fresh(study.with_name(f"{job}-{number}"))
                target = f"{__file__}:{job}"
                arguments = [str(study), str(number), str(out)]
                runs[job].append(run_isolated(target, arguments, threads=1))
    return runs


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def difference_sd(study: Path, people: int) -> float:
    """Largest difference of a cleaned series from nilearn's, in SDs of the parcel."""
    import pandas as pd

    worst = 0.0
    for number in range(people):
        (mine,) = study.with_name(f"ours-{number}").rglob("*desc-simple_timeseries.tsv")
        series = pd.read_csv(mine, sep="\t", na_values="n/a").dropna(axis=1).to_numpy()
        theirs = pd.read_csv(study.with_name(f"nilearn-{number}") / "timeseries.tsv", sep="\t")
        worst = max(worst, float((abs(series - theirs.to_numpy()) / series.std(axis=0)).max()))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each (default 3)")
    parser.add_argument("--people", type=int, default=2, help="runs compared (default 2)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "fmmtc-benchmark-participant"),
        help="where the study is kept (default %(default)s)",
    )
    arguments = parser.parse_args()
    study = arguments.folder / "study"
    make_study(study)
    runs = measure_jobs(study, arguments.people, arguments.repeats)
    wall_s = {job: [each.wall_s for each in runs[job]] for job in JOBS}
    rss_mb = {job: [each.peak_rss_mb for each in runs[job]] for job in JOBS}
    times = min(wall_s["nilearn"]) / min(wall_s["ours"])
    memory = max(rss_mb["ours"]) / min(rss_mb["nilearn"])
    difference = difference_sd(study, arguments.people)
    whole = run_isolated(f"{__file__}:graph", [str(study), str(_fresh(study.with_name("graph")))])
    share = 1 - whole.result["interfaces_s"] / N_PROCS / whole.wall_s
    rows = [
        {
            "one run, image to files": job,
            "wall, s": spread(wall_s[job]),
            "peak RSS, MB": spread(rss_mb[job], 0),
        }
        for job in JOBS
    ]
    print(machine(), markdown_table(rows), sep="\n\n")
    print(
        f"\n{times:.1f} times faster, {memory:.2f} of the memory; cleaned series equal to "
        f"{difference:.1e} SD.\n\n{PEOPLE} runs with pictures under nipype, {N_PROCS} processes: "
        f"{whole.wall_s:.1f} s; nipype's share of it {share:.0%}."
    )
    limits = {
        "speed": times >= MIN_TIMES_FASTER,
        "memory": memory <= MAX_SHARE_OF_MEMORY,
        "difference": difference <= MAX_DIFFERENCE_SD,
        "nipype's share": share <= MAX_SHARE_OF_NIPYPE,
    }
    missed = [name for name, kept in limits.items() if not kept]
    print("\nlimits missed: " + ", ".join(missed) if missed else "\nall limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    os.environ.setdefault("NIPYPE_NO_ET", "1")
    sys.exit(main())

"""Steps on Dask workers of this machine: ``python benchmarks/cluster.py``.

What a step costs beyond its own time, over a thousand that do nothing; and how long a step of a fit
takes to begin once its worker is up, from the moment its graph is handed over. Ends with 1 where a
limit is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster_nodes import FitStamp, Stamp
from distributed import LocalCluster
from measure import machine, markdown_table, spread
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import new_workflow, release_workers, run_in_batches, run_workflow
from fmmtc_bidsapp.engine.cluster.connection import DaskWorkers
from fmmtc_bidsapp.engine.cluster.plugin import DaskPlugin
from fmmtc_bidsapp.engine.progress import NodeProgress
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

N_STEPS = 1000
N_WORKERS = 2
N_STARTS = 5
MOST_MS = 50.0
MOST_START_S = 0.5


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        here_ms = cost_ms(Path(folder, "here"), None)
        with workers_of_this_machine(N_WORKERS) as cluster:
            dask_ms = cost_ms(Path(folder, "dask"), cluster.scheduler_address)
        starts_s = [start_s(Path(folder, f"start{n}")) for n in range(N_STARTS)]
    print(machine(), end="\n\n")
    rows = [
        {
            "1,000 steps that do nothing, two processes": name,
            "wall, s": f"{ms * N_STEPS / 1000:.1f}",
            "ms a step": f"{ms:.0f}",
        }
        for name, ms in (("worker processes of nipype", here_ms), ("Dask workers", dask_ms))
    ]
    print(markdown_table(rows), end="\n\n")
    print(f"A fit's step began {spread(starts_s)} s after its graph was handed to a fresh worker.")
    kept = dask_ms <= MOST_MS and max(starts_s) <= MOST_START_S
    print(f"\n{'all limits kept' if kept else 'A LIMIT IS MISSED'}")
    return 0 if kept else 1


def workers_of_this_machine(n: int) -> LocalCluster:
    return LocalCluster(
        n_workers=n,
        threads_per_worker=1,
        memory_limit="4GB",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
    )


def cost_ms(base: Path, address: str | None) -> float:
    """Return what each of many steps takes that takes no time by itself."""
    plan = new_plan(base, address)

    def build(numbers: Any) -> Any:
        workflow = new_workflow("steps", plan, base / "crash")
        nodes = [pe.Node(Stamp(number=n), name=f"step_{n}", mem_gb=0.1) for n in numbers]
        workflow.add_nodes(nodes)
        return workflow

    # Workers come up, and import, before the clock starts.
    run_workflow(build([-1]), plan.resources, title="first")
    start_s = time.perf_counter()
    done = run_in_batches(range(N_STEPS), build, plan.resources, title="steps").done
    wall_s = time.perf_counter() - start_s
    release_workers()
    if len(done) != N_STEPS:
        raise SystemExit(f"{len(done)} of {N_STEPS} steps ended.")
    return wall_s / N_STEPS * 1000


def start_s(base: Path) -> float:
    """Return how long a step with a fit's imports takes to begin, on a worker that is just up."""
    plan = new_plan(base, None)
    node = pe.Node(FitStamp(number=0), name="fit", mem_gb=0.1)
    workflow = new_workflow("fit", plan, base / "crash")
    workflow.add_nodes([node])
    with workers_of_this_machine(1) as cluster:
        workers = DaskWorkers(
            cluster.scheduler_address, threads=1, folder=plan.resources.work_dir, verbose=0
        )
        workers.prepare({FitStamp.__module__, "fmmtc_bidsapp.group.tasks.fit_tasks"})
        while workers.demand_of(node, print) is None:
            time.sleep(0.05)
        handed_over_s = time.time()
        with NodeProgress("fit") as progress:
            workflow.config["execution"]["poll_sleep_duration"] = 0.005
            graph = workflow.run(plugin=DaskPlugin(workers, progress))
        workers.close()
    (ended,) = graph.nodes()
    return float(ended.result.outputs.begun_s) - handed_over_s


def new_plan(base: Path, address: str | None) -> ParticipantPlan:
    resources = Resources(base / "work", n_procs=N_WORKERS, scheduler_address=address)
    return ParticipantPlan(base / "in", base / "out", "run", resources)


if __name__ == "__main__":
    sys.exit(main())

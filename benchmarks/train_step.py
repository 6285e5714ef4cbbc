"""One training step of FMM_TC at the published size: ``python benchmarks/train_step.py``.

Forward, backward and AdamW for eight people of 424 x 424 connectivity, in float32 and in bfloat16.
Every figure is taken in a process of its own after two warm-ups, in interleaved repeats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Measurement, machine, markdown_table, run_isolated, spread
from torch.nn import functional

from fmmtc_bidsapp.models.device import autocast, resolve_precision
from fmmtc_bidsapp.models.networks.fmmtc import build_fmmtc

N_PEOPLE, N_PARCELS, HIDDEN = 8, 424, 256
PRECISIONS = ("float32", "bfloat16")


def step(precision: str) -> Callable[[], float]:
    """Build the network and one batch; the callable returned trains on it once."""
    device = torch.device("cpu")
    dtype = resolve_precision(precision, device)
    generator = torch.Generator().manual_seed(0)
    network = build_fmmtc(HIDDEN, "concat", seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4)
    cls = torch.randn(N_PEOPLE, HIDDEN, generator=generator)
    fc = torch.rand(N_PEOPLE, N_PARCELS, N_PARCELS, generator=generator)
    y = (torch.arange(N_PEOPLE) % 2).float()

    def run() -> float:
        optimizer.zero_grad()
        with autocast(device, dtype):
            loss = functional.binary_cross_entropy_with_logits(network(cls, fc), y)
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss.detach())

    run()
    run()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default 5)")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    runs: dict[str, list[Measurement]] = {precision: [] for precision in PRECISIONS}
    for _ in range(arguments.repeats):
        for precision in PRECISIONS:
            runs[precision].append(run_isolated(f"{__file__}:step", [precision]))
    rows = [
        {
            "training step, batch 8": precision,
            "wall, s": spread([each.wall_s for each in measured]),
            "CPU, s": spread([each.cpu_s for each in measured]),
            "peak RSS, MB": spread([each.peak_rss_mb for each in measured], 0),
        }
        for precision, measured in runs.items()
    ]
    print(machine(), markdown_table(rows), sep="\n\n")
    if arguments.json:
        figures = {name: [vars(each) for each in measured] for name, measured in runs.items()}
        text = json.dumps({"machine": machine(), "runs": figures}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

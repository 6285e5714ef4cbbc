"""The encoder against explicit attention whose maps are kept: ``python benchmarks/encode.py``.

One scan of 424 parcels and 200 volumes through a network of the published size with random
weights. Every figure is taken in a process of its own after one warm-up, in interleaved repeats.
Ends with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import Measurement, machine, markdown_table, run_isolated, spread
from torch import nn
from torch.nn import functional

from fmmtc_bidsapp.models.device import autocast
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize

N_PARCELS, N_VOLUMES = 424, 200
METHODS = {
    "explicit": "explicit attention, maps kept",
    "float32": "BrainLM, float32",
    "bfloat16": "BrainLM, bfloat16",
}

MIN_TIMES_FASTER = 3.0
MAX_DIFFERENCE = 1e-5


class ExplicitLayer(nn.Module):
    """A layer that computes every token and hands its attention map out."""

    layer: Any

    def __init__(self, layer: Any, config: BrainLMSize) -> None:
        super().__init__()
        self.layer = layer
        heads, n_taps = config.num_attention_heads, config.conv_kernel_size
        self.dim = config.hidden_size // heads
        self.convolution = nn.Conv2d(
            heads, heads, (n_taps, 1), padding=(n_taps // 2, 0), groups=heads, bias=False
        )
        self.convolution.weight = layer.taps

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, token, hidden) -> the same shape, and (batch, head, token, token)."""
        layer = self.layer
        query, key, value = (
            part(tokens).reshape(*tokens.shape[:2], -1, self.dim).transpose(1, 2)
            for part in (layer.query, layer.key, layer.value)
        )
        attention = (query / self.dim**0.5 @ key.mT).softmax(dim=-1)
        context = attention @ value + self.convolution(value)
        attended = layer.attention_norm(tokens + layer.merge(context.transpose(1, 2).flatten(2)))
        expanded = functional.gelu(layer.expand(attended))
        return layer.norm(attended + layer.contract(expanded)), attention


class ExplicitBrainLM(nn.Module):
    """The same network and weights as `BrainLM`, computed the long way."""

    def __init__(self, network: BrainLM) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(
            ExplicitLayer(each, network.config.size) for each in network.layers
        )

    def forward(
        self, signal: torch.Tensor, xyz: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(batch, parcel, time), (batch, parcel, 3) -> (batch, hidden), one map per layer."""
        network = self.network
        patches = signal.reshape(*signal.shape[:2], -1, network.config.timepoint_patching_size)
        embedded = network.signal_embedding(patches) + network.xyz_embedding(xyz)[:, :, None]
        tokens = (embedded + network.positions[: patches.shape[2]]).flatten(1, 2)
        tokens = torch.cat([network.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        maps = []
        for layer in self.layers:
            tokens, attention = layer(tokens)
            maps.append(attention)
        return network.norm(tokens)[:, 0], maps


def encode(method: str) -> Callable[[], list[float]]:
    """Build the network and one scan; the callable returned encodes it."""
    generator = torch.Generator().manual_seed(0)
    # Weights wider than the published initialisation, so that attention is not flat.
    config = replace(BrainLMSize(), initializer_range=0.05)
    network = BrainLM.from_size(config, generator)
    signal = torch.randn(1, N_PARCELS, N_VOLUMES, generator=generator)
    xyz = 100 * torch.rand(1, N_PARCELS, 3, generator=generator) - 50
    explicit = ExplicitBrainLM(network)
    dtype = torch.bfloat16 if method == "bfloat16" else torch.float32

    def run() -> list[float]:
        with torch.inference_mode(), autocast(signal.device, dtype):
            if method == "explicit":
                cls, _maps = explicit(signal, xyz)
            else:
                cls = network(signal, xyz)
        values: list[float] = cls[0].tolist()
        return values

    run()
    return run


def measure(repeats: int) -> dict[str, list[Measurement]]:
    runs: dict[str, list[Measurement]] = {method: [] for method in METHODS}
    for _ in range(repeats):
        for method in METHODS:
            runs[method].append(run_isolated(f"{__file__}:encode", [method]))
    return runs


def times_faster(runs: dict[str, list[Measurement]], method: str) -> list[float]:
    return [a.wall_s / b.wall_s for a, b in zip(runs["explicit"], runs[method], strict=True)]


def difference(runs: dict[str, list[Measurement]], method: str) -> float:
    expected, found = (torch.tensor(runs[each][0].result) for each in ("explicit", method))
    return float((found - expected).abs().max())


def table(runs: dict[str, list[Measurement]]) -> str:
    return markdown_table(
        [
            {
                "one scan": METHODS[method],
                "wall, s": spread([each.wall_s for each in measured]),
                "CPU, s": spread([each.cpu_s for each in measured]),
                "peak RSS, MB": spread([each.peak_rss_mb for each in measured], 0),
                "× faster": spread(times_faster(runs, method), 1),
                "max difference of CLS": f"{difference(runs, method):.1e}",
            }
            for method, measured in runs.items()
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default 5)")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    runs = measure(arguments.repeats)
    print(machine(), table(runs), sep="\n\n")
    if arguments.json:
        rows = {method: [vars(each) for each in measured] for method, measured in runs.items()}
        figures = json.dumps({"machine": machine(), "runs": rows}, indent=2)
        arguments.json.write_text(figures + "\n", encoding="utf-8")
    limits = {
        "speed": median(times_faster(runs, "float32")) >= MIN_TIMES_FASTER,
        "difference": difference(runs, "float32") <= MAX_DIFFERENCE,
    }
    missed = [name for name, kept in limits.items() if not kept]
    print("\nlimits missed: " + ", ".join(missed) if missed else "\nall limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

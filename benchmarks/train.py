"""A cross-validation of FMM_TC, against a loop that encodes anew: ``python benchmarks/train.py``.

56 scans of 424 parcels and 200 volumes, 5 folds, 100 epochs. The other loop has the structure of
the published one, written here in plain torch: every batch of every epoch, of training and of test
people, goes through the frozen encoder again, with explicit attention whose maps are kept, in
float32. Ours encodes once (eight token orders to the other's one) and trains on the features. A few
steps of the one and a few epochs of the other are timed in processes of their own, after a warm-up
each, and multiplied up: for one outer cross-validation in which test people are predicted after
every epoch, and for the nested one. Ends with 1 where a limit is missed.

With a CUDA device the outer cross-validation is run whole, encoding included.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encode import ExplicitBrainLM
from measure import Measurement, machine, markdown_table, run_isolated
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds, split_rows
from fmmtc_bidsapp.learning.preprocessing.encode_series import encode_series
from fmmtc_bidsapp.models.device import resolve_device, resolve_precision
from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.options import ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

N_PEOPLE, N_PARCELS, N_VOLUMES = 56, 424, 200
N_RESPONDERS = 26
OPTIONS = TrainOptions()
"""5 folds, 3 inner folds, 100 epochs, batches of 8: the published schedule, and our nesting."""

WAYS = {
    "published": "encoder in every epoch, float32",
    "float32": "ours, float32",
    "bfloat16": "ours, bfloat16",
}
MIN_TIMES_FASTER = {"float32": 10.0, "bfloat16": 30.0}
MAX_PEAK_MB = 3000.0
MAX_CUDA_S = 30.0

Series = NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=2, help="steps or epochs timed (default 2)")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    measured = {way: run_isolated(f"{__file__}:{way}", [str(arguments.steps)]) for way in WAYS}
    on_cuda = run_isolated(f"{__file__}:cuda", []) if torch.cuda.is_available() else None
    hours = {way: whole(each.result) for way, each in measured.items()}
    print(f"{machine()}; {instructions()}", table(measured, hours), sep="\n\n")
    print("\n" + cuda_line(on_cuda))
    if arguments.json:
        figures = {way: vars(each) for way, each in measured.items()}
        text = json.dumps({"machine": machine(), "figures": figures, "hours": hours}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    missed = limits_missed(measured, hours, on_cuda)
    print("\nlimits missed: " + ", ".join(missed) if missed else "\nall limits kept")
    return 1 if missed else 0


def published(steps: str) -> Callable[[], dict[str, float]]:
    """Time a training step and a test batch of the loop that encodes anew, in seconds."""
    generator = torch.Generator().manual_seed(0)
    encoder = ExplicitBrainLM(BrainLM.from_size(BrainLMSize(), generator))
    encoder.requires_grad_(False)
    network = PlainFmmTc()
    optimizer = torch.optim.AdamW(network.parameters(), lr=OPTIONS.learning_rate)
    series = torch.as_tensor(make_series(OPTIONS.batch_size)).mT.contiguous()
    fc = torch.stack([torch.corrcoef(each) for each in series])
    xyz = torch.as_tensor(coordinates_mm(), dtype=torch.float32).expand(len(series), -1, -1)
    y = (torch.arange(len(series)) % 2).float()

    def train() -> None:
        network.train()
        optimizer.zero_grad()
        cls, _maps = encoder(series, xyz)
        loss = functional.binary_cross_entropy_with_logits(network(cls, fc), y)
        torch.autograd.backward(loss)
        optimizer.step()

    @torch.no_grad()
    def test() -> None:
        network.eval()
        cls, _maps = encoder(series, xyz)
        network(cls, fc)

    test()  # the warm-up: the encoder is nearly all of either
    return lambda: {
        "train_batch_s": timed(train, int(steps)),
        "test_batch_s": timed(test, 1),
    }


class PlainFmmTc(nn.Module):
    """ResNet-18 of the connectivity, concatenated with the series' features: one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNetModel(
            ResNetConfig(
                num_channels=1,
                embedding_size=64,
                hidden_sizes=[64, 128, 256, 512],
                depths=[2, 2, 2, 2],
                layer_type="basic",
            )
        )
        self.projection = nn.Linear(512, 256)
        self.head = nn.Linear(512, 1)

    def forward(self, cls: torch.Tensor, fc: torch.Tensor) -> torch.Tensor:
        """(batch, 256), (batch, parcel, parcel) -> (batch,)."""
        connectivity = self.projection(self.backbone(fc[:, None]).pooler_output.flatten(1))
        logits: torch.Tensor = self.head(torch.cat([cls, connectivity], dim=1))
        return logits.squeeze(1)


def float32(epochs: str) -> Callable[[], dict[str, float]]:
    """Time the parts of our cross-validation in float32; see `ours`."""
    return ours("float32", int(epochs))


def bfloat16(epochs: str) -> Callable[[], dict[str, float]]:
    """Time the parts of our cross-validation in bfloat16; see `ours`."""
    return ours("bfloat16", int(epochs))


def ours(precision: str, epochs: int) -> Callable[[], dict[str, float]]:
    """Time one scan's encoding and one epoch of each kind of training, in seconds."""
    examples, setup = make_examples(), make_setup("cpu", precision)
    fold = outer_folds(examples.strata, OPTIONS.folds, 1, 0)[0]
    fit, held_out = split_rows(
        [examples.strata[row] for row in fold.train], OPTIONS.inner_folds, 0
    )[0]
    inner = fold.train[fit], fold.train[held_out]
    series = make_series(1)
    encoder = BrainLM.from_size(BrainLMSize(), torch.Generator().manual_seed(0))
    learner = MODELS["fmmtc"].learner(few_epochs(setup, epochs))
    MODELS["fmmtc"].learner(few_epochs(setup, 1)).fit(examples, fold.train, 1, 0)  # the warm-up
    return lambda: {
        "scan_s": timed(lambda: encode(encoder, series, setup), 1),
        "outer_epoch_s": timed(
            lambda: learner.validation_curve(examples, fold.train, fold.test, 0), 1
        )
        / epochs,
        "inner_epoch_s": timed(lambda: learner.validation_curve(examples, *inner, 0), 1) / epochs,
        "refit_epoch_s": timed(lambda: learner.fit(examples, fold.train, epochs, 0), 1) / epochs,
    }


def cuda() -> Callable[[], float]:
    """Run the outer cross-validation on the GPU, encoding included; returns seconds."""
    setup, series = make_setup("cuda", "auto"), make_series(N_PEOPLE)
    encoder = BrainLM.from_size(BrainLMSize(), torch.Generator().manual_seed(0))
    encoder.to(setup.device)
    encode(encoder, series[:1], setup)
    random = make_examples()
    folds = outer_folds(random.strata, OPTIONS.folds, 1, 0)
    MODELS["fmmtc"].learner(few_epochs(setup, 1)).validation_curve(
        random, folds[0].train, folds[0].test, 0
    )

    def run() -> float:
        start = time.perf_counter()
        examples = random.with_arrays(cls=encode(encoder, series, setup))
        for fold in folds:
            MODELS["fmmtc"].learner(setup).validation_curve(examples, fold.train, fold.test, 0)
        return time.perf_counter() - start

    return run


def make_setup(device_name: str, precision: str) -> Setup:
    device = resolve_device(device_name)
    return Setup(
        OPTIONS, ModelOptions(encoder="random"), device, resolve_precision(precision, device)
    )


def few_epochs(setup: Setup, epochs: int) -> Setup:
    return replace(setup, train=replace(setup.train, epochs=epochs))


def make_series(n: int) -> Series:
    """(person, time, parcel) noise: what is in it changes no time."""
    return np.random.default_rng(0).normal(size=(n, N_VOLUMES, N_PARCELS)).astype(np.float32)


def coordinates_mm() -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-70, 70, (N_PARCELS, 3))


def make_examples() -> Examples:
    y = np.random.default_rng(0).permutation(np.arange(N_PEOPLE) < N_RESPONDERS).astype(int)
    return Examples(
        keys=tuple(f"sub-{number:02d}" for number in range(N_PEOPLE)),
        arrays={
            "cls": np.random.default_rng(0).normal(size=(N_PEOPLE, 256)),
            "fc": np.stack([np.corrcoef(each.T) for each in make_series(N_PEOPLE)]).astype(
                np.float32
            ),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def encode(encoder: BrainLM, series: Series, setup: Setup) -> NDArray[np.float64]:
    own = BrainLMEncoder(encoder, setup.model, 0)
    return np.stack(
        [encode_series(own, each.astype(np.float64), coordinates_mm()).cls for each in series]
    )


def timed(do: Callable[[], Any], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        do()
    return (time.perf_counter() - start) / times


def whole(parts: dict[str, float]) -> dict[str, float]:
    """Multiply measured parts up to hours of an outer and of a nested cross-validation."""
    folds, inner, epochs = OPTIONS.folds, OPTIONS.inner_folds, OPTIONS.epochs
    if "scan_s" in parts:
        encoding = N_PEOPLE * parts["scan_s"]
        outer = encoding + folds * epochs * parts["outer_epoch_s"]
        of_fold = inner * parts["inner_epoch_s"] + parts["refit_epoch_s"]
        nested = encoding + folds * epochs * of_fold
    else:
        train = N_PEOPLE * (folds - 1) / folds
        fit = train * (inner - 1) / inner
        outer = folds * epochs * epoch_s(parts, train, N_PEOPLE - train)
        of_fold = inner * epoch_s(parts, fit, train - fit) + epoch_s(parts, train, 0)
        nested = folds * epochs * of_fold
    return {"outer": outer / 3600, "nested": nested / 3600}


def epoch_s(parts: dict[str, float], n_train: float, n_test: float) -> float:
    """Seconds of an epoch of the published loop: every person goes through once."""
    batches = n_train * parts["train_batch_s"] + n_test * parts["test_batch_s"]
    return batches / OPTIONS.batch_size


def table(measured: dict[str, Measurement], hours: dict[str, dict[str, float]]) -> str:
    return markdown_table(
        [
            {
                "56 scans, 5 folds, 100 epochs": title,
                **{f"{kind}, h": f"{hours[way][kind]:.2f}" for kind in ("outer", "nested")},
                **{
                    f"{kind}, × faster": f"{times_faster(hours, way, kind):.1f}"
                    for kind in ("outer", "nested")
                },
                "peak RSS, MB": f"{measured[way].peak_rss_mb:.0f}",
                "timed, s": ", ".join(
                    f"{name.removesuffix('_s').replace('_', ' ')} {value:.2f}"
                    for name, value in measured[way].result.items()
                ),
            }
            for way, title in WAYS.items()
        ]
    )


def times_faster(hours: dict[str, dict[str, float]], way: str, kind: str) -> float:
    return hours["published"][kind] / hours[way][kind]


def has_amx() -> bool:
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def instructions() -> str:
    """Name the instructions for small numbers that the processor says it has."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next((line.split() for line in info.splitlines() if line.startswith("flags")), [])
    own = sorted(each for each in flags if each.startswith("amx") or "bf16" in each)
    return " ".join(own) or "neither AMX nor bfloat16 instructions"


def cuda_line(measured: Measurement | None) -> str:
    if measured is None:
        return "No CUDA device here: the outer cross-validation on a GPU was not timed."
    name = torch.cuda.get_device_name()
    return f"On one {name}, encoding included: outer cross-validation {measured.result:.1f} s."


def limits_missed(
    measured: dict[str, Measurement],
    hours: dict[str, dict[str, float]],
    on_cuda: Measurement | None,
) -> Sequence[str]:
    asked = [way for way in MIN_TIMES_FASTER if way == "float32" or has_amx()]
    kept = {
        f"speed in {way}, {kind}": times_faster(hours, way, kind) >= MIN_TIMES_FASTER[way]
        for way in asked
        for kind in ("outer", "nested")
    }
    kept |= {f"memory in {way}": measured[way].peak_rss_mb <= MAX_PEAK_MB for way in asked}
    kept["time on CUDA"] = on_cuda is None or on_cuda.result <= MAX_CUDA_S
    return [name for name, each in kept.items() if not each]


if __name__ == "__main__":
    sys.exit(main())

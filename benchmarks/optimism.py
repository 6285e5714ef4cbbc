"""What choosing the epoch on the test fold finds in nothing: ``python benchmarks/optimism.py``.

Cohorts of 56 simulated people whose outcome is drawn by chance, so the truth is an MCC of 0. Five
folds and 100 epochs as published; the last layers have the published sizes, the connectivity has 20
parcels and its ResNet two small blocks, so that many cohorts can be had on a CPU. First our program
in its three selections; then a plain loop, without and with habits of the published code that make
the choice more rewarding. The chart goes into docs/images. Finished cohorts are kept in a file, and
a rerun goes on where the last one stopped:

    python benchmarks/optimism.py --results optimism.jsonl

Ends with 1 where nested selection is not at 0 or best-on-test not above it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, markdown_table
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.metrics import matthews_corrcoef
from torch.nn import functional

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.best_on_test import optimism_rows, publish_together
from fmmtc_bidsapp.learning.preprocessing.encode_series import encode_series
from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.networks.fmmtc import FmmTc, build_fmmtc
from fmmtc_bidsapp.models.networks.resnet import ResNetSize, reestimate_batchnorm
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples, Fold
from fmmtc_bidsapp.signals.connectivity import connect
from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.truth import simulate_cohort

CHART = Path(__file__).resolve().parent.parent / "docs" / "images" / "optimism.png"

N_PEOPLE, N_RESPONDERS, N_VOLUMES, WINDOW = 56, 26, 300, 200
NETWORKS = tuple(f"network-{parcel // 2}" for parcel in range(20))
RESNET = ResNetSize(hidden_sizes=(8, 16), depths=(1, 1))
STARTS = range(0, N_VOLUMES - WINDOW + 1, 20)
"""Of the windows that the published loop draws from."""

SELECTIONS = {"nested": "nested", "last_epoch": "last epoch", "best_on_test": "best on test"}


@dataclass(frozen=True)
class Loop:
    """A plain training loop with the published one's habits, or without."""

    title: str
    redrawn: bool = False
    """Everybody's window is drawn anew at every look, at test time too."""
    running: bool = False
    """BatchNorm's running averages at test time, instead of statistics of the training rows."""
    summed: bool = False
    """Gradients are cleared once an epoch, so every step adds to those before."""
    raw: bool = False
    """Features as the encoder gives them, not standardised over the training rows."""


LOOPS = {
    "plain": Loop("none"),
    "redrawn": Loop("windows redrawn", redrawn=True),
    "all": Loop("all four", redrawn=True, running=True, summed=True, raw=True),
}

HIGHEST_NESTED = 0.1
LEAST_GAP = 0.1

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Cohort:
    """People without an effect, as our program sees them and as the published loop does."""

    examples: Examples
    cls: NDArray[np.float32]
    """(person, window, hidden)"""
    fc: NDArray[np.float32]
    """(person, window, parcel, parcel)"""


def main() -> int:
    arguments = parse_arguments()
    finished = read_results(arguments.results)
    missing = [seed for seed in range(arguments.cohorts) if seed not in finished]
    start = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(run_cohort, seed) for seed in missing]
        for number, future in enumerate(as_completed(started), start=1):
            result = future.result()
            finished[result["seed"]] = result
            with arguments.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            left_min = (time.monotonic() - start) / number * (len(missing) - number) / 60
            print(f"{number}/{len(missing)} cohorts, about {left_min:.0f} min left", flush=True)
    results = [finished[seed] for seed in range(arguments.cohorts)]
    mcc = {name: np.array([each["mcc"][name] for each in results]) for name in results[0]["mcc"]}
    draw(mcc)
    print(machine(), table(mcc, results), sep="\n\n")
    missed = limits_missed(mcc)
    print("\nlimits missed: " + ", ".join(missed) if missed else "\nall limits kept")
    return 1 if missed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=Path("optimism.jsonl"))
    parser.add_argument("--cohorts", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2, help="cohorts at once, one core each")
    return parser.parse_args()


def read_results(path: Path) -> dict[int, dict[str, Any]]:
    if not path.exists():
        return {}
    results = [json.loads(line) for line in path.read_text().splitlines()]
    return {each["seed"]: each for each in results}


def run_cohort(seed: int) -> dict[str, Any]:
    """Judge every selection on one cohort: MCC, mean over folds."""
    torch.set_num_threads(1)
    setup = Setup(
        TrainOptions(),  # 5 folds, 3 inner folds, 100 epochs, batches of 8, learning rate 5e-4
        ModelOptions(encoder="random", token_orders=2),
        torch.device("cpu"),
        torch.float32,
        RESNET,
    )
    cohort = make_cohort(seed, setup.model)
    examples = cohort.examples
    folds = outer_folds(examples.strata, setup.train.folds, 1, seed)
    analysis, names = Analysis(examples, setup, EvaluationOptions(), seed), ("fmmtc",)
    nested = [fit_together(analysis, names, fold)[1][0] for fold in folds]
    published = [publish_together(analysis, names, fold)[0] for fold in folds]
    row = next(
        each for each in optimism_rows(nested, published, examples.y) if each.metric == "mcc"
    )
    mcc = {name: getattr(row, name) for name in SELECTIONS}
    for name, loop in LOOPS.items():
        followed = [follow(loop, cohort, fold, setup.train, seed) for fold in folds]
        mcc[name] = float(np.mean([max(each) for each in followed]))
    return {"seed": seed, "mcc": mcc}


def make_cohort(seed: int, model: ModelOptions) -> Cohort:
    """Simulate series without an effect, and outcomes that nothing decides."""
    options = SimulationOptions(
        people=N_PEOPLE, controls=0, volumes=N_VOLUMES, effects=(), seed=seed
    )
    series = simulate_cohort(options, NETWORKS).series.astype(np.float64)
    y = np.random.default_rng(seed).permutation(np.arange(N_PEOPLE) < N_RESPONDERS).astype(int)
    network = BrainLM.from_size(BrainLMSize(num_hidden_layers=2), torch.Generator().manual_seed(0))
    xyz_mm = np.random.default_rng(0).uniform(-70, 70, (len(NETWORKS), 3))

    def encode(signal: NDArray[np.float64], how: ModelOptions) -> Floats:
        return encode_series(BrainLMEncoder(network, how, 0), signal, xyz_mm).cls

    once = replace(model, token_orders=1)
    windows = [[person[at : at + WINDOW] for at in STARTS] for person in series]
    return Cohort(
        examples=Examples(
            keys=tuple(f"sub-{number:02d}" for number in range(N_PEOPLE)),
            arrays={
                "cls": np.stack([encode(person, model) for person in series]),
                "fc": np.stack([connect(person, "correlation") for person in series]).astype(
                    np.float32
                ),
            },
            y=y,
            strata=tuple(map(str, y)),
        ),
        cls=np.array([[encode(each, once) for each in person] for person in windows], np.float32),
        fc=np.array(
            [[connect(each, "correlation") for each in person] for person in windows],
            dtype=np.float32,
        ),
    )


def follow(loop: Loop, cohort: Cohort, fold: Fold, train: TrainOptions, seed: int) -> list[float]:
    """Train once and judge the test people after every epoch, -> MCC of each epoch."""
    rng = np.random.default_rng((seed, fold.fold))
    y = cohort.examples.y
    cls = cohort.cls if loop.raw else standardised(cohort.cls, fold)
    network = build_fmmtc(cls.shape[2], "concat", seed * train.folds + fold.fold, RESNET)
    optimizer = torch.optim.AdamW(network.parameters(), lr=train.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, train.epochs, eta_min=1e-7)

    def look(rows: NDArray[np.integer[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        at = rng.integers(len(STARTS), size=len(rows)) if loop.redrawn else np.zeros_like(rows)
        return torch.as_tensor(cls[rows, at]), torch.as_tensor(cohort.fc[rows, at])

    mcc = []
    for _ in range(train.epochs):
        network.train()
        optimizer.zero_grad()
        order = rng.permutation(fold.train)
        for batch in np.array_split(order, -(-len(order) // train.batch_size)):
            if not loop.summed:
                optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(
                network(*look(batch)), torch.as_tensor(y[batch], dtype=torch.float32)
            )
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
        if not loop.running:
            reestimate_batchnorm(network.fc_encoder, batches_of(look(fold.train)[1]))
        mcc.append(float(matthews_corrcoef(y[fold.test], decide(network, *look(fold.test)))))
    return mcc


def standardised(cls: NDArray[np.float32], fold: Fold) -> NDArray[np.float32]:
    seen = cls[fold.train]
    scaled: NDArray[np.float32] = (cls - seen.mean(axis=(0, 1))) / seen.std(axis=(0, 1))
    return scaled


def batches_of(fc: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from fc.tensor_split(-(-len(fc) // 4))


@torch.no_grad()
def decide(network: FmmTc, cls: torch.Tensor, fc: torch.Tensor) -> NDArray[np.bool_]:
    network.eval()
    decisions: NDArray[np.bool_] = network(cls, fc).numpy() >= 0
    return decisions


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean over independent cohorts, with its 95 % interval."""
    mean = float(values.mean())
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def table(mcc: Mapping[str, Floats], results: Sequence[Mapping[str, Any]]) -> str:
    titles = {name: f"our program, {title}" for name, title in SELECTIONS.items()}
    titles |= {name: f"plain loop, best on test, {loop.title}" for name, loop in LOOPS.items()}
    return markdown_table(
        [
            {
                f"MCC over {len(results)} cohorts without an effect": title,
                "mean": f"{interval(mcc[name])[0]:+.2f}",
                "95 % interval": "{:+.2f} to {:+.2f}".format(*interval(mcc[name])[1:]),
                "single cohorts": f"{mcc[name].min():+.2f} to {mcc[name].max():+.2f}",
            }
            for name, title in titles.items()
        ]
    )


def draw(mcc: Mapping[str, Floats]) -> None:
    """Draw every cohort, and the mean with its interval, for each way to choose."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), sharey=True, layout="constrained", width_ratios=(3, 4)
    )
    colours = {"nested": "#0072B2", "last_epoch": "#009E73"}
    panels = (
        (left, "Our program", dict(SELECTIONS)),
        (
            right,
            "Best on test: a plain loop with habits of the published one",
            {name: loop.title for name, loop in LOOPS.items()},
        ),
    )
    spread = np.random.default_rng(0)
    for axes, title, names in panels:
        axes.axhline(0, color="#1b1f24", linewidth=1, linestyle=(0, (4, 3)))
        for at, name in enumerate(names):
            colour = colours.get(name, "#D55E00")
            values = mcc[name]
            axes.scatter(
                at + spread.uniform(-0.16, 0.16, len(values)),
                values,
                s=14,
                color=colour,
                alpha=0.45,
                linewidths=0,
            )
            mean, low, high = interval(values)
            axes.errorbar(
                at,
                mean,
                yerr=[[mean - low], [high - mean]],
                fmt="D",
                color=colour,
                markersize=7,
                capsize=5,
                markeredgecolor="white",
            )
            axes.annotate(f"{mean:+.2f}", (at + 0.24, mean), va="center", fontsize=9)
        axes.set_xticks(
            range(len(names)), [title.replace(" ", "\n", 1) for title in names.values()]
        )
        axes.set_xlim(-0.5, len(names) - 0.3)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("MCC, mean over five folds\n(the truth is 0)")
    figure.savefig(CHART, dpi=150, metadata={"Software": None})


def limits_missed(mcc: Mapping[str, Floats]) -> list[str]:
    nested, best = mcc["nested"].mean(), mcc["best_on_test"].mean()
    kept = {
        "nested at 0": abs(nested) <= HIGHEST_NESTED,
        "best-on-test above nested": best - nested >= LEAST_GAP,
    }
    return [name for name, each in kept.items() if not each]


if __name__ == "__main__":
    sys.exit(main())

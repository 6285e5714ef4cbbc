"""Recovery: does FMM_TC find an effect that is there, and none where there is none.

Cohorts of 60 people, 424 parcels and 200 volumes are simulated with a response that depends on the
coupling of three of ten networks, and on chance as far as leaves the oracle a chosen AUROC; or on
chance alone. Series -> correlation and random encoder -> nested cross-validation with the real
ResNet-18, as `fmmtc … group` does it; images are left out. Finished cohorts are kept in a file,
and a rerun goes on where the last one stopped:

    python benchmarks/recovery.py --results recovery.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.preprocessing.encode_series import encode_series
from fmmtc_bidsapp.models.device import resolve_device, resolve_precision
from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples
from fmmtc_bidsapp.signals.connectivity import connect
from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.truth import GroundTruth, simulate_cohort

CONDITIONS: dict[str, float | None] = {"strong": 0.965, "weak": 0.80, "none": None}
"""AUROC of the oracle that a cohort is simulated for."""

OUTCOME_NOISES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.9, 1.2, 1.4, 1.6, 1.8)
"""What the response owes to nothing in the brain: the effect is large, and this limits everyone."""

MODELS = ("fmmtc", "fc-logistic")
NETWORKS = tuple(f"network-{parcel * 10 // 424}" for parcel in range(424))


def main() -> None:
    arguments = parse_arguments()
    finished = read_results(arguments.results)
    wanted = [
        settings(arguments, c, seed) for c in arguments.conditions for seed in arguments.seeds
    ]
    missing = [each for each in wanted if key(each) not in finished]
    run = partial(run_cohort, device_name=arguments.device, precision=arguments.precision)
    start = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(run, each) for each in missing]
        for number, future in enumerate(as_completed(started), start=1):
            result = future.result()
            finished[key(result)] = result
            with arguments.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            left_min = (time.monotonic() - start) / number * (len(missing) - number) / 60
            print(f"{number}/{len(missing)} cohorts, about {left_min:.0f} min left", flush=True)
    print("\n".join(markdown([finished[key(each)] for each in wanted])))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("recovery.jsonl"))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--inner-folds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--jobs", type=int, default=2, help="cohorts at once, one core each")
    return parser.parse_args()


def settings(arguments: argparse.Namespace, condition: str, seed: int) -> dict[str, Any]:
    names = ("folds", "inner_folds", "epochs", "batch_size", "learning_rate")
    training = {name: getattr(arguments, name) for name in names}
    return {"condition": condition, "seed": seed, "training": training}


def key(result: dict[str, Any]) -> str:
    return json.dumps({name: result[name] for name in ("condition", "seed", "training")})


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    results = [json.loads(line) for line in path.read_text().splitlines()]
    return {key(each): each for each in results}


def run_cohort(wanted: dict[str, Any], device_name: str, precision: str) -> dict[str, Any]:
    # One core per cohort: as fast as can be, and the result does not depend on the machine's cores.
    torch.set_num_threads(1)
    start = time.monotonic()
    truth = simulate(CONDITIONS[wanted["condition"]], wanted["seed"])
    device = resolve_device(device_name)
    setup = Setup(
        train=TrainOptions(**wanted["training"]),
        # One token order: averaging more would cost most of the time and tells a random encoder
        # nothing more.
        model=ModelOptions(encoder="random", token_orders=1),
        device=device,
        dtype=resolve_precision(precision, device),
    )
    examples = make_examples(truth, setup)
    folds = outer_folds(examples.strata, setup.train.folds, 1, wanted["seed"])
    judged = EvaluationOptions()
    analysis = Analysis(examples, setup, judged, wanted["seed"])
    predictions = [
        fit_together(analysis, (model,), fold)[1][0] for fold in folds for model in MODELS
    ]
    rows = evaluate(predictions, examples.y, judged, wanted["seed"]).metrics
    return wanted | {
        "oracle": oracle_auroc(truth),
        "outcome_noise": truth.options.outcome_noise,
        "auroc": {row.model: row.mean for row in rows if row.metric == "auroc"},
        "epochs_chosen": [each.epoch for each in predictions if each.model == "fmmtc"],
        "seconds": round(time.monotonic() - start, 1),
    }


def simulate(target: float | None, seed: int) -> GroundTruth:
    """Simulate a cohort whose oracle comes nearest to the target, or one without an effect."""
    if target is None:
        return simulate_cohort(options_for((), 0.0, seed), NETWORKS)
    cohorts = (
        simulate_cohort(options_for(("coupling",), noise, seed), NETWORKS)
        for noise in OUTCOME_NOISES
    )
    return min(cohorts, key=lambda truth: abs(oracle_auroc(truth) - target))


def options_for(effects: tuple[str, ...], outcome_noise: float, seed: int) -> SimulationOptions:
    return SimulationOptions(
        people=60,
        controls=0,
        volumes=200,
        effects=effects,
        strength=2.0,
        outcome_noise=outcome_noise,
        seed=seed,
    )


def oracle_auroc(truth: GroundTruth) -> float:
    return next(each.auroc for each in truth.oracles if each.name == "coupling")


def make_examples(truth: GroundTruth, setup: Setup) -> Examples:
    network = BrainLM.from_size(BrainLMSize(), torch.Generator().manual_seed(0))
    encoder = BrainLMEncoder(network, setup.model, 0).to(setup.device)
    xyz_mm = np.random.default_rng(0).uniform(-70, 70, (len(NETWORKS), 3))
    scans = [encode_series(encoder, series.astype(np.float64), xyz_mm) for series in truth.series]
    return Examples(
        keys=truth.participant_ids,
        arrays={
            "cls": np.stack([scan.cls for scan in scans]),
            "fc": np.stack(
                [connect(series.astype(np.float64), "correlation") for series in truth.series]
            ).astype(np.float32),
        },
        y=truth.y,
        strata=tuple(str(y) for y in truth.y),
    )


def markdown(results: list[dict[str, Any]]) -> Iterator[str]:
    yield "| effect | seeds | oracle | FMM_TC | by seed | FC-logistic | core minutes |"
    yield "|---|---|---|---|---|---|---|"
    for condition in dict.fromkeys(each["condition"] for each in results):
        members = [each for each in results if each["condition"] == condition]
        fmmtc = [each["auroc"]["fmmtc"] for each in members]
        cells = [
            condition,
            " ".join(str(each["seed"]) for each in members),
            f"{mean(each['oracle'] for each in members):.3f}",
            f"**{mean(fmmtc):.3f}**",
            " ".join(f"{value:.2f}" for value in fmmtc),
            f"{mean(each['auroc']['fc-logistic'] for each in members):.3f}",
            f"{sum(each['seconds'] for each in members) / 60:.1f}",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

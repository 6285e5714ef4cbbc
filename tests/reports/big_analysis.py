"""A comparison of twelve models on a hundred people, as the group level would have written it.

Outputs of the models are drawn at random around the outcome; everything after that, from the
metrics to the lines of the paper's tables, is computed and written by the program itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from explained_analysis import write_demo_labels, write_explanation

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.eligibility import Divisions
from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import (
    GroupFiles,
    dataset_description,
    group_motion_connectivity,
    group_quality,
)
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.group.output import results
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluate import FittedRun, evaluate_run, model_titles
from fmmtc_bidsapp.learning.metrics.predictions import prediction_rows
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.tables import paper_rows
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions
from fmmtc_bidsapp.records import (
    Calibration,
    EligibilityStep,
    Examples,
    Exclusion,
    Fold,
    FoldPredictions,
    Person,
    SeriesFile,
)

__all__ = ["TWELVE", "write_big_analysis"]

TWELVE: Mapping[str, float] = {
    "fmmtc": 0.9, "fmmtc-sum": 0.8, "brainlm": 0.5, "lstm": 0.2, "resnet-ts": 0.3, "resnet-fc": 0.7,
    "bnt": 0.6, "ridge-fc": 0.8, "xgboost-fused": 0.4, "fc-logistic": 0.7, "motion": 0.1,
    "dummy": 0.0,
}  # fmt: skip
"""By model, how far apart the outputs of the two outcomes lie, in SD."""

_FOLDS, _REPEATS, _EPOCHS, _SHUFFLES = 5, 2, 100, 99


def write_big_analysis(
    root: Path,
    label: str = "big",
    *,
    people: int = 100,
    models: Mapping[str, float] = TWELVE,
    analysis: str = "compare",
    bootstrap: int = 200,
) -> GroupFiles:
    """Write every table that a report of the analysis can be made from.

    Parameters
    ----------
    root, label
        Where, and under which name.
    people
        How many; half of them with the positive outcome.
    models
        The main one first; by model, the effect.
    analysis
        ``train`` or ``compare``.
    bootstrap
        Draws behind the intervals.
    """
    files = GroupFiles(root, label)
    examples = _examples(people)
    folds = outer_folds(examples.strata, _FOLDS, _REPEATS, seed=0)
    fitted = [
        each
        for seed, (model, effect) in enumerate(models.items())
        for each in _fitted(model, effect, examples, folds, seed)
    ]
    # Shares and maps come first: they leave a sidecar of the metrics that is not the whole one.
    networks = {"series": "VIS", "connectivity": "DMN"}
    write_explanation(root, write_demo_labels(root), networks, label=label)
    main = next(iter(models))
    about = _about(main, examples, analysis)
    rng = np.random.default_rng(1)
    evaluation = evaluate_run(
        FittedRun(
            fitted,
            examples,
            EvaluationOptions(bootstrap=bootstrap),
            main=main,
            seed=0,
            permuted={
                model: rng.normal(0.5, 0.05, _SHUFFLES)
                for model in models
                if not MODELS[model].is_network
            },
            rows=[
                row
                for row in paper_rows(ModelOptions(), (), lambda name: ())
                if row.model in models
            ],
        )
    )
    persons = [_person(key, y) for key, y in zip(examples.keys, examples.y, strict=True)]
    results.write_cohort(files, _cohort(persons), persons, ())
    results.write_folds(files, persons, folds)
    own = [each for each in fitted if each.model == main]
    rows = prediction_rows(own, examples)
    results.write_predictions(files, persons, rows, out_of_distribution={}, about=about)
    results.write_evaluation(files, evaluation, about)
    results.write_learning(files, fitted)
    _write_quality(root, persons)
    made_by = {"Name": "fmmtc_bidsapp", "Version": "0.1.0"}
    write_json(dataset_description(root), {"GeneratedBy": [made_by]})
    return files


def _examples(n: int) -> Examples:
    y = np.arange(n) % 2
    return Examples(
        keys=tuple(f"sub-{i:03d}" for i in range(n)),
        arrays={
            "cls": np.zeros((n, 0)),
            "fc": np.zeros((n, 0, 0), np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
        arms=tuple("drug" if i % 4 < 2 else "placebo" for i in range(n)),
    )


def _fitted(
    model: str, effect: float, examples: Examples, folds: Sequence[Fold], seed: int
) -> list[FoldPredictions]:
    rng = np.random.default_rng(seed)
    output = 0.5 * effect * (2 * examples.y - 1) + rng.normal(size=len(examples.y))
    if effect == 0:
        output[:] = 0
    epoch = np.arange(1, _EPOCHS + 1)
    n_epochs = _EPOCHS if MODELS[model].is_network else 1
    return [
        FoldPredictions(
            model=model,
            fold=fold,
            logit=output[fold.test] + (0.2 * rng.normal(size=len(fold.test)) if effect else 0.0),
            calibration=Calibration("sigmoid", 0.8, 0.05, 0.5),
            prevalence=0.5,
            epoch=min(30, n_epochs),
            validation_loss=(
                0.69 - 0.06 * np.exp(-(((epoch - 30) / 15) ** 2)) + 0.002 * rng.normal(size=_EPOCHS)
            )[:n_epochs],
            train_loss=(0.7 * np.exp(-epoch / 40))[: min(30, n_epochs)],
        )
        for fold in folds
    ]


def _person(key: str, y: int) -> Person:
    run = SeriesFile(Path(f"{key}_timeseries.tsv"), {}, 2.0, "Demo", None, "simple")
    return Person(key, None, int(y), (run,))


def _cohort(persons: Sequence[Person]) -> Cohort:
    n = len(persons)
    reasons = ("no series found", "mean FD 0.71 mm above 0.5 mm", "outcome is n/a")
    return Cohort(
        people=tuple(persons),
        exclusions=tuple(
            Exclusion(f"sub-9{i:02d}", None, "quality", reasons[i % 3]) for i in range(30)
        ),
        eligibility=tuple(
            EligibilityStep(step, count, count // 2, count - count // 2)
            for step, count in (("in the table", n + 30), ("outcome known", n + 20), ("data", n))
        ),
        parcels=(),
        atlas_label="Demo",
        atlas_digest=None,
        coordinates_mm=None,
        tr_s=(2.0,),
        divisions=Divisions(),
    )


def _about(main: str, examples: Examples, analysis: str) -> dict[str, Any]:
    return {
        "Analysis": analysis, "Target": "Response", "PositiveValue": "1", "N": len(examples.y),
        "NPositive": int(examples.y.sum()), "Atlas": "Demo", "AtlasFallback": True, "Notice": "",
        "Normalisation": "scan", "Encoder": "brainlm", "EncoderDigest": "3f1a" * 16,
        "OrderSpread": 0.01, "NumberOfWindows": 120, "PatchesLeftOut": 0, "ParcelsLeftOut": 3,
        "EdgesImputed": 12, "Device": "cuda", "Precision": "bfloat16", "MainModel": main,
        "ModelNames": model_titles("brainlm"), "Seeds": 1,
        "NotTested": {
            name: "no shuffles of the outcome were made; ask for them with --permutations"
            for name in TWELVE if MODELS[name].is_network
        },
        "Options": {
            "folds": _FOLDS, "repeats": _REPEATS, "inner_folds": 3, "epochs": _EPOCHS,
            "batch_size": 8, "learning_rate": 5e-4, "calibration": "sigmoid", "threshold": "0.5",
            "bootstrap": 2000, "normalisation": "scan", "window": 200, "fusion": "concat",
            "short_series": "drop-patches", "token_orders": 8, "encoder": "brainlm",
        },
    }  # fmt: skip


def _write_quality(root: Path, persons: Sequence[Person]) -> None:
    """Write the runs' head motion and how it goes with connectivity."""
    rng = np.random.default_rng(2)
    n = len(persons)
    write_tsv(
        group_quality(root),
        {
            "participant_id": [each.participant_id for each in persons], "session_id": [None] * n,
            "task_id": ["rest"] * n, "run_id": [None] * n, "atlas": ["Demo"] * n,
            "desc": ["simple"] * n, "mean_fd": rng.gamma(3, 0.05, n), "n_volumes": [200] * n,
            "usable": [True] * n,
        },
    )  # fmt: skip
    edges = np.linspace(0, 160, 11)
    bins = len(edges)
    write_tsv(
        group_motion_connectivity(root),
        {
            "desc": ["simple"] * bins, "atlas": ["Demo"] * bins, "space": ["MNI"] * bins,
            "measure": ["correlation"] * bins, "n_participants": [n] * bins,
            "bin": ["all", *map(str, range(1, bins))],
            "distance_low_mm": [None, *edges[:-1]], "distance_high_mm": [None, *edges[1:]],
            "n_edges": [89676, *[8967] * (bins - 1)],
            "median_r": np.r_[0.01, np.linspace(0.08, -0.02, bins - 1)],
            "median_abs_r": np.r_[0.08, np.linspace(0.1, 0.07, bins - 1)],
            "share_p_below_05": [0.07] * bins, "share_q_below_05": [0.0] * bins,
            "distance_spearman": [-0.12, *[None] * (bins - 1)],
            "chance_median_abs_r": [0.068, *[None] * (bins - 1)], "note": [None] * bins,
        },
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    write_big_analysis(parser.parse_args().root)

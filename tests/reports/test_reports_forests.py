"""Forests and curves of the group's report, by what is drawn and what is said of it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, FoldPredictions
from fmmtc_bidsapp.reports.figures.group_bands import Band
from fmmtc_bidsapp.reports.figures.group_figures import learning_curves, precision_recall, roc
from fmmtc_bidsapp.reports.figures.group_forests import (
    arm_forest,
    difference_forest,
    forest,
    paired_differences,
)

NAMES = {"fmmtc": "FMM_TC", "a": "Model A", "b": "Model B", "c": "Model C"}


def compared(*rows: dict) -> pd.DataFrame:
    plain = {
        "table": None, "title": "a title", "selection": "nested", "train_on": None,
        "metric": "auroc", "difference_p": 0.5,
    }  # fmt: skip
    return pd.DataFrame([plain | row for row in rows])


def gap(model: str, value: float, half: float = 0.1, **changes) -> dict:
    ends = {"difference_low": value - half, "difference_high": value + half}
    return {"model": model, "difference": value} | ends | changes


def label_of(svg: str) -> str:
    return re.search(r'aria-label="([^"]*)"', svg)[1]


def test_a_model_in_two_tables_is_compared_once_and_only_as_it_was_judged():
    table = compared(
        gap("fmmtc", np.nan), gap("a", 0.2, table="Table 1"), gap("a", 0.2, table="Table 3"),
        gap("b", 0.1, selection="best-on-test"), gap("b", -0.3),
        gap("c", 0.1, train_on="drug"), gap("c", 0.1, metric="mcc"),
    )  # fmt: skip
    assert paired_differences(table)[["model", "difference"]].values.tolist() == [
        ["a", 0.2], ["b", -0.3],
    ]  # fmt: skip


def test_differences_are_coloured_by_the_side_their_interval_is_on():
    svg = difference_forest(
        compared(gap("a", 0.3), gap("b", -0.3), gap("c", 0.02)), NAMES, "FMM_TC"
    )
    assert label_of(svg) == (
        "AUROC of FMM_TC minus each model&#39;s with its 95 % interval: Model A 0.30 (0.20 to "
        "0.40); Model B −0.30 (−0.40 to −0.20); Model C 0.02 (−0.08 to 0.12)."
    )
    lines = re.findall(r"stroke: (var\(--\w+\)); stroke-width: 1.6", svg)
    assert lines == ["var(--accent)", "var(--second)", "var(--ink)"]


def test_a_difference_without_an_interval_is_drawn_without_one():
    svg = difference_forest(compared(gap("a", 0.3, half=np.nan)), NAMES, "FMM_TC")
    assert "Model A 0.30 (interval n/a)." in label_of(svg)
    assert "stroke-width: 1.6" not in svg


def test_a_forest_says_its_figures_in_words():
    rows = [
        {"model": "fmmtc", "metric": "auroc", "mean": 0.7, "mean_low": 0.6, "mean_high": 0.8},
        {"model": "a", "metric": "auroc", "mean": np.nan, "pooled": 0.6, "pooled_low": 0.5,
         "pooled_high": 0.7},
    ]  # fmt: skip
    svg = forest(pd.DataFrame(rows), "auroc", NAMES, chance=0.5)
    assert "FMM_TC 0.70 (0.60 to 0.80); Model A 0.60 (0.50 to 0.70)." in label_of(svg)


def test_thirty_models_have_a_line_each_and_room_for_it():
    names = {f"m{i}": f"Model {i}" for i in range(30)}
    rows = pd.DataFrame(
        {"model": list(names), "metric": "auroc", "mean": 0.6, "mean_low": 0.5, "mean_high": 0.7}
    )
    svg = forest(rows, "auroc", names, chance=0.5)
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])
    assert height / 30 > 18  # points a line, for text of 8.5
    assert all(f">Model {i}<" in svg for i in range(30))


def test_arms_are_those_of_the_model_and_no_differences():
    table = pd.DataFrame(
        [
            {"model": m, "metric": "auroc", "arm": arm, "other": other, "n": 10, "value": value,
             "low": value - 0.1, "high": value + 0.1}
            for m in ("fmmtc", "a")
            for arm, other, value in (("drug", None, 0.7), ("drug", "placebo", 0.1))
        ]
    )  # fmt: skip
    assert "drug (10 people) 0.70 (0.60 to 0.80)." in label_of(arm_forest(table, "fmmtc"))


def test_a_value_without_an_interval_is_hollow_and_says_so():
    nothing = {"mean_low": np.nan, "mean_high": np.nan}
    rows = [
        {"model": "fmmtc", "metric": "auroc", "mean": 1.0, "bound": 0.78} | nothing,
        {"model": "a", "metric": "auroc", "mean": 0.7, "bound": np.nan} | nothing,
        {"model": "b", "metric": "auroc", "mean": 0.6, "mean_low": 0.5, "mean_high": 0.7},
    ]
    svg = forest(pd.DataFrame(rows), "auroc", NAMES, chance=0.5)
    assert "1.00 (interval n/a; at least 0.78)" in svg
    assert "0.70 (interval n/a)" in svg
    assert "0.60 (0.50 to 0.70)" in svg
    marks = re.findall(r'<use [^>]*style="(fill[^;]*); stroke: var', svg)
    assert [each == "fill-opacity: 0" for each in marks] == [True, True, False]


def line_of(svg: str) -> np.ndarray:
    """Points of the first model's line, (point, 2), in the figure's units."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg)
    path, _in_legend = [d for d, s in paths if "stroke: var(--accent); stroke-width: 2.2" in s]
    return np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), dtype=float)


def test_precision_of_a_model_that_knows_nothing_stays_at_the_share_of_positives():
    # As scikit-learn gives it where all have one score; precision 1 is of calling nobody positive.
    curves = pd.DataFrame({"model": "fmmtc", "kind": "pr", "x": [0.0, 1.0], "y": [1.0, 0.4]})
    points = line_of(precision_recall(curves, {"fmmtc": "FMM_TC"}, None, None))
    level = points[-1, 1]
    assert points[points[:, 0] > points[0, 0], 1].tolist() == [level] * (len(points) - 2)


@pytest.mark.parametrize(("kind", "quoted"), [("roc", "auroc"), ("pr", "average_precision")])
def test_the_area_under_the_line_that_is_drawn_is_the_figure_that_is_quoted(kind, quoted):
    rng = np.random.default_rng(2)
    y = np.arange(40) % 2
    folds = []
    for fold in outer_folds([str(each) for each in y], folds=4, repeats=2, seed=0):
        # Outputs of different folds have no common scale.
        logit = 5 * fold.fold + y[fold.test] + rng.normal(size=len(fold.test))
        told = Calibration("sigmoid", 0.0, 0.1, 0.5)
        folds.append(FoldPredictions("fmmtc", fold, logit, told, 0.5, 1, y[:1], train_loss=y[:1]))
    found = evaluate(folds, y, EvaluationOptions(bootstrap=20), 0)
    curves = pd.DataFrame(
        [
            {"model": each.model, "kind": each.kind, "repeat": each.repeat, "fold": each.fold,
             "x": x, "y": height}
            for each in found.curves
            for x, height in zip(each.x, each.y, strict=True)
        ]
    )  # fmt: skip
    draw = {
        "roc": lambda: roc(curves, NAMES, None),
        "pr": lambda: precision_recall(curves, NAMES, None, None),
    }
    svg = draw[kind]()
    points = line_of(svg)
    mean = curves[(curves["kind"] == kind) & curves["fold"].isna()]
    # Of the drawing two heights are known: where the line begins and where it ends.
    first, last = mean["y"].iloc[0], mean["y"].iloc[-1]
    slope = (last - first) / (points[-1, 1] - points[0, 1])
    height = first + slope * (points[:, 1] - points[0, 1])
    width = (points[:, 0] - points[0, 0]) / (points[-1, 0] - points[0, 0])
    (row,) = [each for each in found.metrics if each.metric == quoted]
    assert np.trapezoid(height, width) == pytest.approx(row.mean, abs=0.003)
    assert svg.count("stroke-opacity: 0.45") == len(folds)


def test_a_band_is_shaded_behind_the_curve():
    curves = pd.DataFrame({"model": "fmmtc", "kind": "roc", "x": [0.0, 1.0], "y": [0.0, 1.0]})
    x = np.linspace(0, 1, 5)
    shaded = roc(curves, {"fmmtc": "FMM_TC"}, Band(x, x**2, np.sqrt(x)))
    assert "fill: var(--accent); fill-opacity: 0.16" in shaded
    assert "fill-opacity: 0.16" not in roc(curves, {"fmmtc": "FMM_TC"}, None)


def test_folds_are_drawn_in_the_order_of_their_numbers_and_epochs_are_whole():
    table = pd.DataFrame(
        {
            "repeat": "0", "fold": [str(fold) for fold in range(12)], "epoch": 1,
            "train_loss": 0.7, "validation_loss": 0.69, "chosen": True,
        }
    )  # fmt: skip
    svg = learning_curves(table)
    assert re.findall(r">Repeat 0, fold (\d+)<", svg) == [str(fold) for fold in range(12)]
    assert ">0.96<" not in svg

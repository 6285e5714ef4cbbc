"""What is left of a comparison when a part of it fails."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group import compare
from fmmtc_bidsapp.learning.evaluate import FittedRun, evaluate_run
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.tables import PaperRow, folds_to_fit
from fmmtc_bidsapp.options import (
    CohortOptions,
    EvaluationOptions,
    ProtocolOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.records import Calibration, Examples, FoldPredictions

N = 40
Y = np.tile([0, 1], N // 2)


def test_the_main_figures_stand_when_no_fit_across_arms_succeeds(tmp_path, monkeypatch):
    examples = Examples(
        keys=tuple(f"sub-{i:02}" for i in range(N)),
        arrays={
            "cls": np.zeros((N, 0)),
            "fc": np.zeros((N, 2, 2), np.float32),
        },
        y=Y,
        strata=tuple(map(str, Y)),
        arms=tuple("drug" if i % 4 < 2 else "placebo" for i in range(N)),
    )
    plan = GroupPlan(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        run_id="run",
        resources=Resources(work_dir=tmp_path / "work"),
        label="test",
        analysis="compare",
        cohort=CohortOptions(target="response"),
        train=TrainOptions(folds=2, inner_folds=2),
        protocol=ProtocolOptions(network=("ridge",)),
    )
    study = SimpleNamespace(
        plan=plan, encoded=SimpleNamespace(examples=examples), device="cpu", crash_dir=tmp_path
    )

    def fails(*given, **named):
        raise InputError("ridge-fc could not be fitted on any fold: no edge varies")

    monkeypatch.setattr(compare, "fit_models", fails)
    cells, _ = compare.across_arms(plan, examples, ("ridge-fc",))
    across, fits, (failed,) = compare._fit_across(study, cells, folds_to_fit(cells), ("ridge-fc",))
    assert fits == []
    assert (failed.name, failed.status, failed.code) == ("fit across arms", "failed", 65)
    nothing = np.zeros(0)
    unchanged = Calibration("none", 1.0, 0.0, 0.5)
    predictions = [
        FoldPredictions("ridge-fc", fold, Y[fold.test] - 0.5, unchanged, 0.5, 1, nothing, nothing)
        for fold in outer_folds(examples.strata, 2, 1, 0)
    ]
    rows = [PaperRow("Fig. 2a", 2, "ridge-fc", "Ridge on raw FC")]
    options = EvaluationOptions(bootstrap=20)
    judged = evaluate_run(
        FittedRun(predictions, examples, options, main="ridge-fc", seed=0, rows=rows, across=across)
    )
    assert next(each.mean for each in judged.comparison if each.metric == "auroc") == 1.0
    lines = [each for each in judged.comparison if each.table == "Table 4"]
    assert {each.model for each in lines} == {"ridge-fc", "dummy", "fc-logistic"}
    assert all(np.isnan(each.mean) and "no edge varies" in str(each.note) for each in lines)

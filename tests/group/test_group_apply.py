"""What apply refuses before it opens a series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_fits import fit_everyone

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.errors import ModelFileError, UsageError
from fmmtc_bidsapp.group.apply import apply
from fmmtc_bidsapp.group.bundle.bundle import Bundle
from fmmtc_bidsapp.group.bundle.fitted import save_bundle_model
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.bundle.write import write_bundle
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.options import CohortOptions, EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.records import Examples


@pytest.fixture
def plan(tmp_path: Path) -> GroupPlan:
    """Of a bundle that predicts from age alone."""
    n = 12
    y = np.tile([0, 1], n // 2)
    examples = Examples(
        keys=tuple(map(str, range(n))),
        arrays={
            "cls": np.zeros((n, 0)),
            "fc": np.zeros((n, 0, 0), dtype=np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
        covariates=np.random.default_rng(0).normal(size=(n, 1)),
        covariate_names=("age",),
    )
    setup = Setup(TrainOptions(inner_folds=2), ModelOptions(), torch.device("cpu"), torch.float32)
    model = fit_everyone("covariates", examples, setup, EvaluationOptions(), seed=0)
    node = tmp_path / "node"
    node.mkdir()
    save_bundle_model(node, model)
    bundle = Bundle(
        folder=tmp_path / "bundle",
        main="covariates",
        title="Covariates only",
        model=ModelOptions(encoder="none"),
        seed=0,
        encoder_digest="none",
        precision="float32",
        atlas_label="A",
        atlas_digest=None,
        parcels=("P",),
        coordinates_mm=None,
        training_range=TrainingRange(None, None, None),
        connectivity_limit=None,
        target="Response",
        positive_value="1",
        n_people=n,
        covariates=(CovariateLevels("age"),),
    )
    write_bundle(bundle, [node], None, "# card\n")
    return GroupPlan(
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        run_id="r",
        resources=Resources(tmp_path / "work"),
        analysis="apply",
        label="new",
        model_dir=tmp_path / "bundle",
    )


def test_other_covariates_than_the_bundle_reads_are_refused(plan: GroupPlan) -> None:
    with pytest.raises(UsageError, match="reads age; leave the flag out"):
        apply(replace(plan, cohort=CohortOptions(covariates=("sex",))))


def test_an_adjustment_that_the_bundle_has_not_is_refused(plan: GroupPlan) -> None:
    asked = CohortOptions(covariates=("age",), adjust=True)
    with pytest.raises(UsageError, match="was trained without it"):
        apply(replace(plan, cohort=asked))


def test_a_bundle_that_is_none_is_refused_with_its_exit_code(plan: GroupPlan) -> None:
    with pytest.raises(ModelFileError, match="needs a whole models/<label> folder") as error:
        apply(replace(plan, model_dir=plan.bids_dir))
    assert error.value.exit_code == 65

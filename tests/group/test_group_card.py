"""The model card says what the run knows, and leaves the rest to the authors."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.group.bundle.bundle import Bundle
from fmmtc_bidsapp.group.bundle.card import CardFacts, model_card
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import (
    ArmCount,
    ArmRow,
    Duplicate,
    EligibilityStep,
    Evaluation,
    MetricRow,
    PermutationTest,
)

NAN = float("nan")


@pytest.fixture
def facts() -> CardFacts:
    bundle = Bundle(
        folder=Path("models/pain"),
        main="fmmtc",
        title="FMM_TC",
        model=ModelOptions(),
        seed=7,
        encoder_digest="abc123",
        precision="float32",
        atlas_label="A424",
        atlas_digest="d",
        parcels=tuple(map(str, range(424))),
        coordinates_mm=np.zeros((424, 3)),
        training_range=TrainingRange((2.5, 2.5), (140, 300), None),
        connectivity_limit=0.3,
        target="Response",
        positive_value="1",
        n_people=56,
        trainings=2,
        covariates=(CovariateLevels("age"),),
    )
    evaluation = Evaluation(
        metrics=(
            MetricRow("fmmtc", "auroc", 0.61, 0.42, 0.80, 0.1, 0.6, 0.5, 0.7),
            MetricRow("fmmtc", "calibration_slope", NAN, NAN, NAN, NAN, 0.8, 0.1, 1.5),
            MetricRow("fmmtc", "calibration_error", NAN, NAN, NAN, NAN, 0.12, NAN, NAN, 0.11, 0.4),
            MetricRow("dummy", "auroc", 0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5),
        ),
        curves=(),
        calibration=(),
        verdict="no evidence of prediction in 2 tested models.",
        expected_half_width=0.15,
        tests=(PermutationTest("fmmtc", 0.61, 99, 0.12, 0.2, "no evidence of prediction"),),
        arms=(ArmRow("fmmtc", "auroc", "placebo", 37, 17, 0.58, 0.4, 0.77),),
        duplicates=(Duplicate("sub-1", "sub-2", 1.0),),
    )
    return CardFacts(
        about={
            "Target": "Response",
            "PositiveValue": "1",
            "N": 56,
            "NPositive": 26,
            "Notice": "",
            "AtlasFallback": False,
            "Device": "cpu",
            "Precision": "float32",
            "ModelNames": {"fmmtc": "FMM_TC", "dummy": "Dummy (prevalence)"},
            "Options": {
                "folds": 5,
                "repeats": 1,
                "inner_folds": 3,
                "epochs": 100,
                "calibration": "sigmoid",
                "threshold": "0.5",
            },
        },
        evaluation=evaluation,
        bundle=bundle,
        eligibility=(
            EligibilityStep("in participants.tsv", 76),
            EligibilityStep("type = patient", 56, 26, 30, (ArmCount("placebo", 37, 17, 20),)),
        ),
        excluded={"quality": 3, "table": 20},
        covariates_missing={"age": 2},
        edges_missing=423,
        series_missing=0,
        epochs=(12, 30),
        calibrations=("sigmoid, log odds = 0.5 x output -0.1",),
        keeps_people=False,
        versions={"torch": "9.9"},
    )


@pytest.mark.parametrize(
    "words",
    [
        "# FMM_TC: a model of Response = 1",
        "doi:10.1136/bmj-2023-078378",
        "Research use only",
        "in participants.tsv: 76; type = patient: 56 (26 positive, 30 negative; placebo 37)",
        "quality 3, table 20",
        "repetition time 2.5 to 2.5 s, length 140 to 300 volumes, mean framewise displacement not "
        "known",
        "56 people, 26 of them positive and 30 negative",
        "about ± 0.15",
        "over all people [11]: 423",
        "age 2; replaced by the training mean",
        "at most 100 [12c]: 12, 30.",
        "Trainings: 2; random seed 7",
        "log odds = 0.5 x output -0.1",
        "p = 0.120, adjusted for all models p = 0.200, 99 shuffles: no evidence of prediction",
        "| FMM_TC | auroc | 0.61 (0.42 to 0.80) |",
        "| Dummy (prevalence) | auroc | 0.50 (0.50 to 0.50) |",
        "| FMM_TC | calibration_slope | 0.80 (0.10 to 1.50) |",
        "| FMM_TC | calibration_error | 0.12 (0.11 expected if calibrated, p = 0.40) |",
        "| placebo | 37 (17) | auroc | 0.58 (0.40 to 0.77) |",
        "prognosis, not prediction of a drug's effect",
        "one scan or one person: 1; they were kept together in folds and shuffles [26]",
        "CC BY-NC-ND 4.0) is not in this folder",
        "torch 9.9",
        "--encoder-weights",
    ],
)
def test_what_the_run_knows_is_in_the_card(facts: CardFacts, words: str) -> None:
    assert words in model_card(facts)


def test_every_item_of_the_statement_is_answered_or_left_to_the_authors(facts: CardFacts) -> None:
    card = model_card(facts)
    named = {int(number) for number in re.findall(r"(?<=[\[ ])(\d+)[a-g]?(?=[,\]])", card)}
    # 2 is the abstract, which a card has none of.
    assert named >= set(range(1, 28)) - {2}
    for item in ("Funding", "Ethical approval", "Licence of these weights", "Source of the data"):
        line = next(line for line in card.splitlines() if item in line)
        assert "To be filled in by the authors" in line


def test_without_shuffles_the_card_says_not_tested(facts: CardFacts) -> None:
    untested = replace(facts, evaluation=replace(facts.evaluation, tests=()))
    assert "Permutation test of this model [23a]: not tested." in model_card(untested)


def test_a_model_without_encoder_says_nothing_of_weights_to_fetch(facts: CardFacts) -> None:
    bundle = replace(facts.bundle, main="knn-fc", title="k-NN on FC")
    card = model_card(replace(facts, bundle=bundle, keeps_people=True, epochs=()))
    assert "--encoder-weights" not in card
    assert "BrainLM" not in card
    assert "Encoder: none." in card
    assert "features of single training people" in card
    assert "Epochs" not in card


def test_a_fine_tuned_encoder_may_not_be_passed_on(facts: CardFacts) -> None:
    bundle = replace(facts.bundle, main="brainlm-tuned", title="BrainLM (fine-tuned)")
    assert "do not pass this folder on" in model_card(replace(facts, bundle=bundle))


def test_the_verdict_names_models_as_a_reader_knows_them(facts: CardFacts) -> None:
    verdict = "evidence of prediction: fmmtc (AUROC 0.80). Not tested: fc-logistic."
    names = {"fmmtc": "FMM_TC", "fc-logistic": "FC logistic (tangent space)"}
    told = replace(
        facts,
        evaluation=replace(facts.evaluation, verdict=verdict),
        about={**facts.about, "ModelNames": names},
    )
    assert (
        "- Verdict: evidence of prediction: FMM_TC (AUROC 0.80). Not tested: FC logistic (tangent "
        "space)." in model_card(told)
    )


def test_names_of_columns_and_values_are_text_and_never_markup(facts: CardFacts) -> None:
    nasty = "<script>|*x*_y_"
    shown = r"\<script\>\|\*x\*\_y\_"
    step = EligibilityStep(nasty, 56, 26, 30, (ArmCount(nasty, 37, 17, 20),))
    (arm,) = facts.evaluation.arms
    told = replace(
        facts,
        about={**facts.about, "Target": nasty, "PositiveValue": nasty, "Notice": nasty},
        bundle=replace(
            facts.bundle,
            covariates=(CovariateLevels(nasty),),
            atlas_label=nasty,
            target=nasty,
            positive_value=nasty,
        ),
        eligibility=(step,),
        covariates_missing={nasty: 2},
        evaluation=replace(facts.evaluation, arms=(replace(arm, arm=nasty),)),
    )
    card = model_card(told)
    assert nasty not in card
    # Column and value in the title, the use and the outcome; a step and its arm; atlas, note,
    # covariate and how many lack it; the performance in an arm.
    assert card.count(shown) == 14


def test_a_card_of_a_model_of_simulated_people_says_so_before_anything_else(facts):
    about = {"InputGeneratedBy": ["fmmtc-tools simulate 0.1.0"], "Simulated": True}
    text = model_card(replace(facts, about={**facts.about, **about}))
    assert text.index("SIMULATED DATA") < text.index("## ")
    assert "Images or series made by [9b]: fmmtc-tools simulate 0.1.0" in text


def test_a_card_names_the_preprocessing_that_the_dataset_states_and_says_where_it_states_none(
    facts,
):
    about = {"InputGeneratedBy": ["fMRIPrep 24.1.1"], "InputDataset": "Study of pain"}
    text = model_card(replace(facts, about={**facts.about, **about}))
    assert "made by [9b]: fMRIPrep 24.1.1; dataset Study of pain." in text
    assert "SIMULATED" not in text
    assert "made by [9b]: not stated" in model_card(facts)


def test_a_card_calls_the_outcome_by_the_words_of_the_participants_table(facts):
    about = {**facts.about, "PositiveMeaning": "responder", "NegativeMeaning": "no responder"}
    text = model_card(replace(facts, about=about))
    assert text.startswith("# FMM_TC: a model of responder from resting-state fMRI")
    assert "from a scan: responder." in text

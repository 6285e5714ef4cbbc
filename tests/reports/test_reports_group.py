from __future__ import annotations

import re

import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.write import write_json
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.answer import meaning
from fmmtc_bidsapp.reports.group import write_group_report
from fmmtc_bidsapp.reports.group_tables import confusion, exclusion_counts, per_person
from fmmtc_bidsapp.reports.written import read_json

NAMES = {"fmmtc": "FMM_TC", "dummy": "Dummy"}


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html[html.index("<main") :]).split())


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', html)


def predictions(y_true: str, y_pred: str, repeat: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(len(y_true))],
            "session_id": None,
            "y_true": list(y_true),
            "y_pred": list(y_pred),
            "probability": [0.25 if each == "0" else 0.75 for each in y_pred],
            "repeat": list(repeat),
        }
    )


def test_training_shows_every_section(write_a_group):
    html = write_group_report(write_a_group.train(), "L").read_text()
    assert sections(html) == [
        "answer", "people", "performance", "probabilities", "learning", "participants",
        "methods", "about",
    ]  # fmt: skip


def test_the_answer_names_the_interval_and_that_nothing_was_tested(write_a_group):
    text = text_of(write_group_report(write_a_group.train(), "L").read_text())
    assert "AUROC of 0.66 (95 % interval 0.49 to 0.83; guessing gives 0.50)" in text
    assert "Not tested." in text
    assert "prognosis, not prediction of a drug" in text
    assert "Research use only." in text


def test_applying_without_outcomes_shows_no_performance(write_a_group):
    html = write_group_report(write_a_group.apply(), "L").read_text()
    assert "performance" not in sections(html)
    assert "learning" not in sections(html)
    assert "how often it is right cannot be said" in html
    assert "AUROC" not in text_of(html)


def test_a_fallback_atlas_is_announced(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    write_json(sidecar, read_json(sidecar) | {"AtlasFallback": True, "Atlas": "generated"})
    assert "not made with A424, but with generated" in write_group_report(root, "L").read_text()


def test_an_analysis_that_was_not_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="--label absent"):
        write_group_report(tmp_path, "absent")


def test_an_absent_table_of_exclusions_is_not_taken_for_nobody(write_a_group):
    root = write_a_group.train()
    GroupFiles(root, "L").exclusions.unlink()
    text = text_of(write_group_report(root, "L").read_text())
    assert "Nobody was left out" not in text
    assert "No table says" in text


def test_exclusions_are_counted_by_reason():
    table = pd.DataFrame({"stage": ["a", "b", "b"], "reason": ["x", "y", "y"]})
    assert exclusion_counts(table) == [
        {"stage": "b", "reason": "y", "n": 2},
        {"stage": "a", "reason": "x", "n": 1},
    ]


def test_confusion_counts_people():
    assert confusion(predictions("110011", "101011", "000000")) == {
        "tp": "3", "fp": "1", "fn": "1", "tn": "1",
    }  # fmt: skip


def test_confusion_over_repeats_is_a_mean_and_people_are_listed_once():
    both = pd.concat([predictions("10", "10", "00"), predictions("10", "00", "11")])
    assert confusion(both) == {"tp": "0.5", "fp": "0.0", "fn": "0.5", "tn": "1.0"}
    people = per_person(both.assign(probability_low=float("nan"), probability_high=float("nan")))
    assert people["probability"].tolist() == [0.5, 0.25]
    assert people["positive_share"].tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.4, 0.8, "includes 0.5"), (0.55, 0.8, "above 0.5"), (0.2, 0.45, "below 0.5")],
)
def test_the_meaning_follows_the_interval(low, high, words):
    row = {"model": "fmmtc", "metric": "auroc", "mean": 0.5, "mean_low": low, "mean_high": high}
    sentences = meaning(pd.DataFrame([row]), pd.DataFrame(), "fmmtc", NAMES, {})
    assert len(sentences) == 1
    assert words in sentences[0]

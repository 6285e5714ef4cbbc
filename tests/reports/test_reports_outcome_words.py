"""Outcomes are called by the words of the participants table."""

from __future__ import annotations

import re

import pytest
from applied_analysis import write_applied

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words
from fmmtc_bidsapp.reports.data.outputs import read_json
from fmmtc_bidsapp.reports.pages.group import write_group_report
from fmmtc_bidsapp.reports.pages.sheet import write_sheets
from fmmtc_bidsapp.reports.text.methods import group_methods

CODED = {"Target": "Response", "PositiveValue": "1", "NegativeValue": "0"}
WORDS = {"PositiveMeaning": "responder", "NegativeMeaning": "no responder"}


@pytest.mark.parametrize(
    ("about", "positive", "negative"),
    [
        ({}, "positive", "negative"),
        ({"Target": "Response", "PositiveValue": "1"}, "Response = 1", "Response ≠ 1"),
        (CODED, "Response = 1", "Response = 0"),
        (CODED | WORDS, "responder", "no responder"),
        (CODED | {"PositiveMeaning": "responder"}, "responder", "Response = 0"),
        (
            CODED | {"PositiveMeaning": "Yes", "NegativeMeaning": "no"},
            "Response: Yes",
            "Response: no",
        ),
        (CODED | {"PositiveMeaning": "", "NegativeMeaning": None}, "Response = 1", "Response = 0"),
    ],
)
def test_an_outcome_is_called_by_its_words_else_by_column_and_value(about, positive, negative):
    assert outcome_words(about) == {"1": positive, "0": negative}


def shown(html: str) -> str:
    """Text and descriptions of figures of a page, without the table of options."""
    body = re.sub(r'<section id="about">.*', "", html, flags=re.DOTALL)
    labels = " ".join(re.findall(r'aria-label="([^"]*)"', body))
    return f"{re.sub('<[^>]*>', ' ', body)} {labels}"


def test_a_report_says_responder_in_answer_tables_figures_and_methods(write_a_group):
    root = write_a_group.train()
    path = GroupFiles(root, "L").metrics.with_suffix(".json")
    write_json(path, read_json(path) | CODED | WORDS)
    text = shown(write_group_report(root, "L").read_text())
    assert "for Response (responder or no responder) in 20 people" in " ".join(text.split())
    assert "10 of 20 people are positive (responder)" in " ".join(text.split())
    assert not re.search(r"Response\s*(=|≠)", text)
    assert "10 responder, 10 no responder" in group_methods(root, "L")


def test_a_sheet_says_responder_or_no_responder(tmp_path):
    write_applied(tmp_path, **CODED, **WORDS)
    text = shown(write_sheets(tmp_path, "new")[0].read_text())
    assert "probability of responder; classified as  responder" in text
    assert not re.search(r"Response\s*(=|≠)", text)
    write_applied(tmp_path, person={"probability": 0.2, "y_pred": 0}, **CODED, **WORDS)
    assert "classified as  no responder" in shown(write_sheets(tmp_path, "new")[0].read_text())

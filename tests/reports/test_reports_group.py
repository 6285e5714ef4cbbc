from __future__ import annotations

import json
import re
from itertools import pairwise
from urllib.parse import unquote

import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, participant_report
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.data.group_analysis import per_person
from fmmtc_bidsapp.reports.data.number_format import p_value
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table
from fmmtc_bidsapp.reports.pages.group import write_group_report
from fmmtc_bidsapp.reports.text.group_comparison import comparison_tables
from fmmtc_bidsapp.reports.text.group_tables import (
    confusion,
    eligibility_rows,
    exclusion_counts,
    model_rows,
    people_rows,
)
from fmmtc_bidsapp.reports.text.summary import (
    answer_of_training,
    answer_of_validation,
    meaning,
    notices,
    titled_verdict,
)

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
            "threshold": 0.5,
            "probability_low": None,
            "probability_high": None,
            "repeat": list(repeat),
        }
    )


def test_training_shows_every_section(write_a_group):
    html = write_group_report(write_a_group.train(), "L").read_text()
    assert sections(html) == [
        "answer", "people", "performance", "comparison", "probabilities", "learning", "motion",
        "participants", "methods", "card", "about",
    ]  # fmt: skip


def test_the_answer_names_the_interval_and_that_nothing_was_tested(write_a_group):
    text = text_of(write_group_report(write_a_group.train(), "L").read_text())
    assert "AUROC of 0.66 (95 % interval 0.49 to 0.83; chance level 0.50)" in text
    assert "Not tested: in held-out people, FMM_TC reached" in text
    assert "no shuffles were asked for" in text
    assert "prognosis, not prediction of a drug" in text
    assert "Research use only." in text


def test_applying_without_outcomes_shows_no_performance(write_a_group):
    html = write_group_report(write_a_group.apply(), "L").read_text()
    assert "performance" not in sections(html)
    assert "learning" not in sections(html)
    assert "performance cannot be computed" in html
    assert "AUROC" not in text_of(html)


def test_a_fallback_atlas_is_announced(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    write_json(sidecar, read_json(sidecar) | {"AtlasFallback": True, "Atlas": "generated"})
    assert "The atlas is generated, not A424" in write_group_report(root, "L").read_text()


def test_an_analysis_that_was_not_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="--label absent"):
        write_group_report(tmp_path, "absent")


def test_an_absent_table_of_exclusions_is_not_taken_for_nobody(write_a_group):
    root = write_a_group.train()
    GroupFiles(root, "L").exclusions.unlink()
    text = text_of(write_group_report(root, "L").read_text())
    assert "Nobody was left out" not in text
    assert "The table of exclusions is missing" in text


def test_eligibility_shows_outcomes_and_arms():
    table = pd.DataFrame(
        {
            "step": ["in the table", "encoded"], "n": [8, 4],
            "n_positive": [4, 1], "n_negative": [4, 3],
            "n_arm-drug": [5, 2], "n_positive_arm-drug": [3, 1], "n_negative_arm-drug": [2, 1],
        }
    )  # fmt: skip
    rows = eligibility_rows(table)
    assert [row["divided"] for row in rows] == [
        {"all": "4 / 4", "arm: drug": "3 / 2"},
        {"all": "1 / 3", "arm: drug": "1 / 1"},
    ]
    assert [row["share"] for row in rows] == ["100.0", "50.0"]


def test_exclusions_are_counted_by_reason():
    table = pd.DataFrame({"stage": ["a", "b", "b"], "reason": ["x", "y", "y"]})
    assert exclusion_counts(table) == [
        {"stage": "b", "reason": "y", "n": 2},
        {"stage": "a", "reason": "x", "n": 1},
    ]


def test_confusion_counts_people():
    assert confusion(per_person(predictions("110011", "101011", "000000"))) == {
        "tp": "3", "fp": "1", "fn": "1", "tn": "1",
        "tp_share": "75 %", "fp_share": "50 %", "fn_share": "25 %", "tn_share": "50 %",
    }  # fmt: skip


def repeated(probabilities, thresholds):
    """One positive person, a row a repeat; each repeat calls by its own figures."""
    rows = [
        {
            "participant_id": "sub-1", "session_id": None, "y_true": "1", "probability": p,
            "threshold": t, "y_pred": "1" if p >= t else "0", "repeat": i,
        }
        for i, (p, t) in enumerate(zip(probabilities, thresholds, strict=True))
    ]  # fmt: skip
    nothing = {"probability_low": None, "probability_high": None, "fold": "0", "n_runs": 1}
    return pd.DataFrame(rows).assign(**nothing, qc_flag="usable", out_of_distribution=None)


@pytest.mark.parametrize(
    ("probabilities", "thresholds", "shown", "threshold", "call"),
    [
        # Half of the repeats call this person positive, and the mean does not.
        ((0.52, 0.42), (0.5, 0.5), "0.47", "0.50", "false negative"),
        ((0.48, 0.49, 0.59), (0.5, 0.5, 0.5), "0.52", "0.50", "true positive"),
        ((0.4, 0.6), (0.3, 0.5), "0.50", "0.40", "true positive"),
        ((0.1, 0.2, 0.3), (0.2, 0.2, 0.2), "0.20", "0.20", "true positive"),
        ((0.4984, 0.4984), (0.5, 0.5), "0.498", "0.500", "false negative"),
        ((float("nan"),), (0.5,), "n/a", "0.50", "n/a"),
    ],
)
def test_a_person_is_called_by_the_probability_and_the_threshold_that_are_shown(
    probabilities, thresholds, shown, threshold, call
):
    people = per_person(repeated(probabilities, thresholds))
    (row,) = people_rows(people, {"1": "yes", "0": "no"})
    assert (row["probability"], row["call"]) == (shown, call)
    assert threshold.startswith(row["threshold"])
    counted = confusion(people)
    expected = {"true positive": ("1", "0"), "false negative": ("0", "1"), "n/a": ("0", "0")}
    assert (counted["tp"], counted["fn"]) == expected[call]


def auroc(verdict=None, **figures):
    row = {"model": "fmmtc", "metric": "auroc", "mean": 0.7, "mean_low": 0.55, "mean_high": 0.85}
    return pd.DataFrame([row | {"verdict": verdict} | figures])


STEP = {
    "Step": "beyond motion and acquisition", "Reached": False, "Reason": "",
    "HeldAgainst": ["mean_fd_mm", "volumes"], "ReferenceAUROC": 0.71, "AUROC": 0.72, "Gain": 0.01,
    "P": 0.3, "PAdjusted": 0.4,
}  # fmt: skip


@pytest.mark.parametrize(
    "verdict",
    [
        "evidence of prediction",
        "predicts; not shown beyond motion and acquisition",
        "no evidence of prediction",
    ],
)
def test_the_answer_is_the_verdict_that_was_written(verdict):
    tested = {"n_permutations": 99, "p": 0.01, "p_adjusted": 0.03}
    metrics = auroc(verdict, **tested)
    words = answer_of_training(metrics, "fmmtc", "FMM_TC", {})
    assert words.lower().startswith(f"{verdict}: ")
    assert "adjusted p = 0.030" in words
    steps = [STEP | {"Reached": verdict == "evidence of prediction"}]
    first, *others = meaning(metrics, pd.DataFrame(), "fmmtc", NAMES, {"Steps": {"fmmtc": steps}})
    assert first.endswith(f"for all models tested: {verdict}.")
    assert len(others) == (not verdict.startswith("no "))
    if others:
        assert others[0].startswith("Beyond motion and acquisition: ")
        assert ("not shown that it adds" in others[0]) == verdict.startswith("predicts;")
        assert (
            "The AUROC of mean_fd_mm, volumes alone is 0.71, and 0.72 with the model's score added"
            in (others[0])
        )
    untested = STEP | {"Reached": None, "Reason": "head motion is not known"}
    told = meaning(metrics, pd.DataFrame(), "fmmtc", NAMES, {"Steps": {"fmmtc": [untested]}})
    said = "Beyond motion and acquisition: not tested, since head motion is not known."
    assert (said in told) == (not verdict.startswith("no "))
    answer = answer_of_training(metrics, "fmmtc", "FMM_TC", {"Steps": {"fmmtc": [untested]}})
    end = " Not tested: beyond motion and acquisition (head motion is not known)."
    assert answer.endswith(end) == (not verdict.startswith("no "))


def test_figures_of_a_model_that_was_not_fitted_on_every_fold_say_of_how_many_people_they_are():
    about = {
        "N": 24, "People": {"fmmtc": 8}, "FoldsFitted": {"fmmtc": 1}, "FoldsPlanned": 3,
    }  # fmt: skip
    words = answer_of_training(auroc("not tested"), "fmmtc", "FMM_TC", about)
    assert words.startswith("Not tested: ")
    assert words.endswith(" in 8 of 24 people (1 of 3 folds).")
    whole = about | {"People": {"fmmtc": 24}, "FoldsFitted": {"fmmtc": 3}}
    assert answer_of_training(auroc("not tested"), "fmmtc", "FMM_TC", whole).endswith(
        " in 24 people."
    )


def test_scans_that_differ_as_the_outcome_does_are_told_before_the_answer():
    told = notices({"AcquisitionWarnings": ["volumes has an AUROC of 1.00"]}, "train", "FMM_TC")
    assert told[0][0] == "Scan properties are associated with the outcome."
    assert "volumes has an AUROC of 1.00" in told[0][1]


def test_a_finished_model_is_judged_by_its_pooled_figures(write_a_group):
    root = write_a_group.apply()
    files = GroupFiles(root, "L")
    figures = {"mean": None, "mean_low": None, "mean_high": None, "fold_sd": None}
    pooled = {"pooled": 0.62, "pooled_low": 0.4, "pooled_high": 0.8}
    told = {"n_permutations": None, "p": None, "p_adjusted": None, "verdict": None}
    row = {"model": "fmmtc", "metric": "auroc"} | figures | pooled | told
    write_tsv(files.metrics, {name: [value] for name, value in row.items()})
    about = {"N": 6, "Target": "Response"}
    write_json(files.metrics.with_suffix(".json"), about)
    html = write_group_report(root, "L").read_text()
    assert "On 6 people, of whom it is not known whether they were in training," in text_of(html)
    write_json(files.metrics.with_suffix(".json"), about | {"TrainingPeopleKnown": True})
    html = write_group_report(root, "L").read_text()
    assert "On 6 new people FMM_TC without refitting reached an AUROC of 0.62" in text_of(html)
    assert "0.40 to 0.80" in text_of(html)
    assert "applying a trained model" in html
    assert "learning" not in sections(html)


def test_an_interval_above_one_half_alone_proves_nothing():
    metrics = auroc("not tested", n_permutations=0)
    assert answer_of_training(metrics, "fmmtc", "FMM_TC", {}).startswith("Not tested: ")
    (sentence,) = meaning(metrics, pd.DataFrame(), "fmmtc", NAMES, {})
    assert "Whether it predicts better than chance is not known" in sentence
    assert "evidence" not in sentence


def test_an_interval_below_one_half_is_remarked_upon():
    metrics = auroc("not tested", mean=0.3, mean_low=0.2, mean_high=0.45)
    assert "below 0.5" in meaning(metrics, pd.DataFrame(), "fmmtc", NAMES, {})[1]


def test_folds_that_are_all_equal_have_no_interval():
    nothing = {"mean_low": float("nan"), "mean_high": float("nan"), "fold_sd": 0.0}
    words = answer_of_training(auroc("not tested", **nothing), "fmmtc", "FMM_TC", {})
    assert "no interval: the AUROC was the same in every fold" in words


def test_a_verdict_calls_models_as_the_tables_do():
    names = {"fmmtc": "FMM_TC", "fmmtc-sum": "FMM_TC (sum)", "covariates": "Covariates only"}
    words = titled_verdict("evidence: fmmtc-sum (AUROC 0.70), fmmtc, above covariates.", names)
    assert words == "evidence: FMM_TC (sum) (AUROC 0.70), FMM_TC, above covariates."


def test_a_baseline_that_is_the_main_model_is_not_held_against_itself():
    rows = [comparison(table=None, row=None, model=m, difference=0.1) for m in ("dummy", "motion")]
    told = meaning(auroc("not tested"), pd.DataFrame(rows), "motion", {"dummy": "Dummy"}, {})
    assert [each for each in told if "minus" in each] == ["AUROC minus that of Dummy: 0.10."]


def test_options_are_plain_text(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    about = json.loads(sidecar.read_text())
    options = {"where": ["a=1", "b=2"], "covariates": [], "adjust": False, "group_by": None}
    write_json(sidecar, about | {"Options": options})
    text = text_of(write_group_report(root, "L").read_text())
    assert "adjust no covariates none group_by n/a where a=1, b=2" in text


def comparison(**columns):
    row = {
        "table": "Table 3", "row": 9, "model": "fmmtc", "title": "FMM_TC", "selection": "nested",
        "train_on": None, "test_on": None, "metric": "auroc", "mean": 0.7, "mean_low": 0.5,
        "mean_high": 0.9, "fold_sd": 0.1, "pooled": 0.7, "pooled_low": 0.6, "pooled_high": 0.8,
        "difference": None, "difference_low": None, "difference_high": None,
        "difference_p": None, "note": None,
    }  # fmt: skip
    return row | columns


def test_tables_of_the_paper_come_first_and_every_line_keeps_its_note():
    told = "needs parcel series"
    rows = [
        comparison(table=None, row=None, model="dummy", title="Dummy"),
        comparison(),
        comparison(row=2, model="lstm", title="LSTM", mean=None, fold_sd=None, note=told),
        comparison(selection="best-on-test", mean=1.0),
        comparison(table="Table 4", row=1, train_on="drug", test_on="placebo"),
    ]
    tables = comparison_tables(pd.DataFrame(rows))
    assert [table["name"] for table in tables] == ["Table 3", "Table 4", ""]
    titles = [line["title"] for line in tables[0]["rows"]]
    assert titles == ["FMM_TC", "LSTM", "FMM_TC, epoch: best-on-test"]
    assert tables[0]["rows"][1]["note"] == told
    assert tables[1]["rows"][0]["arms"] == "drug → placebo"
    assert [table["has_arms"] for table in tables] == [False, True, False]


def test_optimistic_figures_carry_a_banner(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    warning = "optimistic: epoch chosen on the test fold"
    write_json(sidecar, read_json(sidecar) | {"Warning": warning})
    text = text_of(write_group_report(root, "L").read_text())
    assert text.index(warning) < text.index("Participants")


def test_scans_that_are_there_twice_carry_a_banner(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    pair = {"First": "sub-01", "Second": "sub-02", "Correlation": 1.0}
    write_json(sidecar, read_json(sidecar) | {"Duplicates": [pair]})
    assert "sub-01 and sub-02" in text_of(write_group_report(root, "L").read_text())


def test_a_comparison_says_that_no_model_was_kept(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    write_json(sidecar, read_json(sidecar) | {"Analysis": "compare"})
    html = write_group_report(root, "L").read_text()
    assert "comparing models" in html
    assert "those of FMM_TC" in text_of(html)


def test_arms_are_shown_with_the_words_that_were_written(write_a_group):
    root = write_a_group.train()
    arms = GroupFiles(root, "L").arms
    write_tsv(
        arms,
        {
            "model": ["fmmtc"] * 3, "metric": ["auroc"] * 3,
            "arm": ["drug", "placebo", "drug"], "other": [None, None, "placebo"],
            "n": [12, 8, None], "n_positive": [6, 4, None], "value": [0.71, 0.6, 0.11],
            "low": [0.5, 0.3, -0.2], "high": [0.9, 0.9, 0.4],
        },
    )  # fmt: skip
    write_json(arms.with_suffix(".json"), {"Note": "Prognosis, that is."})
    text = text_of(write_group_report(root, "L").read_text())
    assert "Prognosis, that is." in text
    assert "AUROC drug 12 6 0.71 0.50 to 0.90" in text
    assert "AUROC drug − placebo 0.11 −0.20 to 0.40" in text
    assert "drug: AUROC 0.71 (95 % bootstrap interval 0.50 to 0.90) in 12 people, 6 of" in text
    assert "drug minus placebo: 0.11 (−0.20 to 0.40): no clear difference." in text


def test_without_arms_and_without_another_selection_their_parts_are_left_out(write_a_group):
    text = text_of(write_group_report(write_a_group.train(), "L").read_text())
    assert "Arm by arm" not in text
    assert "not tested on its own" not in text
    assert "What choosing the epoch" not in text


def written_of(html: str) -> dict[str, str]:
    """The tables that the page holds for its buttons."""
    (text,) = re.findall(r"^const written = (.*);$", html, flags=re.MULTILINE)
    return json.loads(text)


def test_the_page_holds_the_written_tables_as_they_are(write_a_group):
    root = write_a_group.train()
    files = GroupFiles(root, "L")
    html = write_group_report(root, "L").read_text()
    held = written_of(html)
    assert set(held) == {"eligibility", "exclusions", "metrics", "comparison", "predictions"}
    assert all(text == getattr(files, name).read_text() for name, text in held.items())
    assert set(re.findall(r'data-written="(\w+)"', html)) - set(held) == set()


def test_a_table_cannot_end_the_script_it_is_held_in(write_a_group):
    root = write_a_group.train()
    exclusions = GroupFiles(root, "L").exclusions
    table = {"participant_id": "</script><b>", "session_id": None, "stage": "x", "reason": "y"}
    write_tsv(exclusions, {name: [value] for name, value in table.items()})
    html = write_group_report(root, "L").read_text()
    assert html.count("</script>") == 1
    assert written_of(html)["exclusions"] == exclusions.read_text()


def test_every_table_has_a_name_and_a_region_that_the_keyboard_reaches(write_a_group):
    html = write_group_report(write_a_group.train(), "L").read_text()
    tables = re.findall(r"<table[^>]*>", html)
    names = [re.search(r'data-name="([^"]+)"', each)[1] for each in tables]
    assert len(names) == len(set(names)) > 5
    regions = re.findall(r'<div class="scroll[^>]*aria-label="([^"]+)"><table', html)
    assert len(regions) == len(set(regions)) == len(tables)


def test_participants_with_a_report_are_linked_and_others_are_not(write_a_group):
    root = write_a_group.train(first_id="sub-a b")
    participant_report(root, "sub-a b").write_text("x")
    participant_report(root, "sub-002").write_text("x")
    html = write_group_report(root, "L").read_text()
    links = re.findall(r'<a href="(\.\./[^"]+)">([^<]+)</a>', html)
    assert links == [("../sub-a%20b.html", "sub-a b"), ("../sub-002.html", "sub-002")]
    assert all((root / "group" / unquote(link)).exists() for link, _ in links)


def test_a_person_carries_what_the_filter_asks_for(write_a_group):
    root = write_a_group.train()
    html = write_group_report(root, "L").read_text()
    rows = re.findall(r'<tr data-outcome="(\w+)" data-fold="(\w+)" data-call="([^"]+)">', html)
    table = read_table(GroupFiles(root, "L").predictions)
    words = {
        (1, 1): "true-positive right", (0, 1): "false-positive wrong",
        (1, 0): "false-negative wrong", (0, 0): "true-negative right",
    }  # fmt: skip
    assert rows == [
        (str(row["y_true"]), row["fold"], words[row["y_true"], row["y_pred"]])
        for row in table.to_dict("records")
    ]
    assert set(re.findall(r'<option value="([\w-]+)">', html)) >= {"right", "wrong", "0", "4"}


def test_the_probability_is_sorted_by_its_exact_value(write_a_group):
    root = write_a_group.train()
    html = write_group_report(root, "L").read_text()
    held = re.findall(r'<td data-value="([\d.e-]+)" class="nowrap"><span class="meter"', html)
    table = read_table(GroupFiles(root, "L").predictions)
    assert [float(each) for each in held] == table["probability"].tolist()


def test_a_person_of_unknown_outcome_has_no_call():
    table = predictions("1", "1", "0").assign(
        y_true=None, probability_low=None, probability_high=None, fold="0", n_runs=1,
        qc_flag="usable", out_of_distribution=None,
    )  # fmt: skip
    (row,) = people_rows(per_person(table), {"1": "yes", "0": "no"})
    assert (row["call"], row["outcome"], row["is_positive"]) == ("n/a", "n/a", "na")


def test_the_caption_of_a_curve_says_that_its_area_is_the_quoted_figure(write_a_group):
    text = text_of(write_group_report(write_a_group.train(), "L").read_text())
    assert "mean over the held-out folds. Grey: folds of FMM_TC" in text
    assert "The area under a line is its AUROC" in text
    assert "The area under a line is its average precision" in text
    assert "Shaded" not in text


def test_curves_of_an_older_version_are_told_not_to_have_the_quoted_area(write_a_group):
    root = write_a_group.train()
    path = GroupFiles(root, "L").curves
    curves = read_table(path)
    old = curves[curves["fold"].isna()].drop(columns=["fold", "repeat"])
    write_tsv(path, {name: old[name].tolist() for name in old})
    text = text_of(write_group_report(root, "L").read_text())
    assert text.count("the area under a line is not its") == 2


def test_the_model_card_is_in_the_report_of_its_training(write_a_group):
    root = write_a_group.train()
    assert (
        "The folder of the model, which holds its card" in write_group_report(root, "L").read_text()
    )
    card = GroupFiles(root, "L").model_card
    card.parent.mkdir(parents=True)
    card.write_text("# A card <b>\n\n## Limits\n")
    html = write_group_report(root, "L").read_text()
    assert "<h3>A card &lt;b&gt;</h3>" in html
    assert html.index('<details class="card">') < html.index("<h4>Limits</h4>")


def test_headings_never_skip_a_level(write_a_group):
    html = write_group_report(write_a_group.train(), "L").read_text()
    levels = [int(each) for each in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_files_behind_the_report_are_listed_beside_it(write_a_group):
    root = write_a_group.train()
    report = write_group_report(root, "L")
    links = re.findall(r'<a href="(group_desc-L_[\w.]+)">', report.read_text())
    assert all((report.parent / link).exists() for link in links)
    assert {"group_desc-L_metrics.tsv", "group_desc-L_curves.tsv"} <= set(links)
    assert report.name not in links


EQUAL = {"mean": 1.0, "mean_low": float("nan"), "mean_high": float("nan"), "fold_sd": 0.0}


def test_equal_folds_are_answered_with_a_bound_and_the_floor_of_the_p():
    table = auroc("evidence of prediction", **EQUAL, bound=0.784, p=0.05, p_adjusted=0.05,
                  n_permutations=19)  # fmt: skip
    text = answer_of_training(table, "fmmtc", "FMM_TC", {"Target": "Response", "N": 16})
    assert "no interval: the AUROC was the same in every fold" in text
    assert "the true AUROC may be as low as 0.78" in text
    assert "adjusted p = 0.050, the smallest possible with 19 permutations" in text


@pytest.mark.parametrize(
    ("p", "n", "words"),
    [
        (0.05, 19, "0.050, the smallest possible with 19 permutations"),
        (0.1, 19, "0.100"),
        (0.001, 999, "0.001, the smallest possible with 999 permutations"),
        (0.002, 999, "0.002"),
        (float("nan"), 0, "n/a"),
        (0.05, float("nan"), "0.050"),
    ],
)
def test_a_p_at_its_floor_is_told_with_the_number_of_permutations(p, n, words):
    assert p_value(p, n) == words


def test_new_people_who_are_all_ranked_right_get_a_bound_in_place_of_an_interval_without_width():
    table = auroc(None, mean=float("nan"), pooled=1.0, pooled_low=1.0, pooled_high=1.0, bound=0.81)
    text = answer_of_validation(table, "fmmtc", "FMM_TC", {"Target": "Response", "N": 20})
    assert "1.00 to 1.00" not in text
    assert "no interval: the AUROC was the same in every bootstrap draw" in text
    assert "0.81" in text
    (row,) = model_rows(table, {"fmmtc": "FMM_TC"})
    assert row["cells"][0]["interval"] == "no interval; at least 0.81"

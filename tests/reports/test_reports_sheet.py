"""The prediction sheet: what a reader of one page is told, and when."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from applied_analysis import EVIDENCE, WITHIN, write_applied

from fmmtc_bidsapp.bidsio.files.names import sheet_path
from fmmtc_bidsapp.group.run import run_group
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.reports.pages.group import write_group_report
from fmmtc_bidsapp.reports.pages.sheet import write_sheets


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html[html.index("<body") :]).split())


def sheet(root: Path, **changes) -> str:
    write_applied(root, **changes)
    return write_sheets(root, "new")[0].read_text()


def test_everyone_has_a_page_named_after_them(tmp_path):
    files = write_applied(tmp_path, people=[("sub-01", "ses-1"), ("sub-02", None)])
    written = write_sheets(tmp_path, "new")
    assert written == [sheet_path(files, "sub-01_ses-1"), sheet_path(files, "sub-02")]
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "group/group_desc-new_sheets/sub-01_ses-1_desc-new_sheet.html",
        "group/group_desc-new_sheets/sub-02_desc-new_sheet.html",
    ]
    assert all(path.is_file() for path in written)


def test_a_page_of_somebody_no_table_names_any_more_goes(tmp_path):
    files = write_applied(tmp_path)
    write_sheets(tmp_path, "new")
    write_applied(tmp_path, people=[("sub-02", None)])
    write_sheets(tmp_path, "new")
    assert [path.name for path in files.sheets_dir.iterdir()] == ["sub-02_desc-new_sheet.html"]


def test_people_who_were_cross_validated_have_no_page(write_a_group):
    assert write_sheets(write_a_group.train(), "L") == []


def test_an_analysis_that_is_not_there_has_no_page(tmp_path):
    assert write_sheets(tmp_path, "absent") == []


def test_the_page_says_what_the_number_is_and_is_not(tmp_path):
    text = text_of(sheet(tmp_path))
    assert "0.64 probability of Response = 1; classified as Response = 1" in text
    assert "research use only · not a medical device" in text
    assert "21 (38 %) were Response = 1; without a scan, this share is the best estimate" in text
    assert "Threshold 0.50: at or above it the model classifies a person as Response = 1." in text
    assert "not a clinical cut-off" in text
    assert "Computed on 2026-11-21" in text
    assert "fmmtc_bidsapp 0.1.0" in text
    assert "9f" * 32 in text


@pytest.mark.parametrize(
    ("verdict", "first"),
    [
        ("no evidence of prediction", "There is no evidence that this model predicts anything."),
        ("not tested", "This model was not tested."),
        (
            "predicts; not shown beyond motion and acquisition",
            "This model does better than with shuffled outcomes, but it is not shown that it "
            "adds to covariates, head motion and acquisition together.",
        ),
        ("evidence of prediction", None),
    ],
)
def test_a_model_without_evidence_says_so_before_the_number(tmp_path, verdict, first):
    told = {**EVIDENCE, "verdict": verdict, "not_tested": "no shuffles" * (verdict == "not tested")}
    text = text_of(sheet(tmp_path, Evidence=told))
    assert f"): {verdict}" in text
    if first is None:
        assert text.index("0.64") < text.index("evidence")
    else:
        assert text.index(first) < text.index("0.64")
    assert ("not tested, since no shuffles" in text) == (verdict == "not tested")


def test_a_bundle_that_does_not_say_what_it_is_worth_is_not_taken_for_a_good_one(tmp_path):
    html = sheet(tmp_path, Evidence=None)
    text = text_of(html)
    assert "How well this model predicts is not known." in text
    assert "AUROC" not in text
    assert 'class="positive"' not in html


def test_one_training_has_no_interval_and_the_page_says_why(tmp_path):
    html = sheet(tmp_path)
    assert "Interval: n/a. The model was trained once" in text_of(html)
    assert 'class="band"' not in html


def test_several_trainings_have_an_interval(tmp_path):
    html = sheet(tmp_path, person={"probability_low": 0.55, "probability_high": 0.7}, Trainings=5)
    assert "0.55 to 0.70, the 2.5 and 97.5 % quantiles of 5 training runs" in text_of(html)
    assert '<rect class="band" x="55.00%" width="15.00%"' in html


def test_below_the_threshold_a_person_is_called_otherwise(tmp_path):
    text = text_of(sheet(tmp_path, person={"threshold": 0.7, "y_pred": 0}))
    assert "classified as Response ≠ 1" in text


def test_the_training_people_are_drawn_by_outcome(tmp_path):
    html = sheet(tmp_path)
    for outcome in ("positive", "negative"):
        bars = re.findall(f'class="{outcome}"', html)
        assert len(bars) == sum(1 for count in EVIDENCE[outcome] if count)
    n = sum(EVIDENCE["positive"]) + sum(EVIDENCE["negative"])
    assert f"{n} probabilities of training participants" in html


def test_a_strip_places_the_person_on_the_axis_of_the_training(tmp_path):
    # From 2 to 3 s with the person at 3: margins of 0.08 at both ends of an axis of 1.16.
    html = sheet(tmp_path, found=WITHIN | {"tr_s": [3.0]}, outside={"tr_s": "TR 3 s, trained on 2"})
    row = html[html.index("Repetition time</th>") :]
    assert '<circle class="person" cx="93.10%"' in row[: row.index("</tr>")]
    assert 'x="6.90%" width="43.10%"' in row[: row.index("</tr>")]
    assert "outside" in row[: row.index("</tr>")]
    assert text_of(html).count("within") == 3


def test_a_scan_outside_the_training_is_announced_at_the_top(tmp_path):
    text = text_of(
        sheet(tmp_path, outside={"mean_fd_mm": "mean FD 0.60 mm, trained on up to 0.42"})
    )
    assert text.index("unlike those the model was trained on") < text.index("0.64")
    assert "mean FD 0.60 mm, trained on up to 0.42" in text


def test_more_reasons_than_fit_are_counted(tmp_path):
    reasons = "; ".join(f"reason {i}" for i in range(7))
    text = text_of(sheet(tmp_path, person={"out_of_distribution": reasons}))
    assert "reason 3; and 3 more in the table of predictions" in text
    assert "reason 4" not in text


def test_what_is_not_known_is_neither_within_nor_outside(tmp_path):
    nothing = {name: [None] for name in WITHIN}
    html = sheet(tmp_path, found=nothing)
    position = html[html.index('id="position"') : html.index('id="worth"')]
    assert position.count("<td>not known</td>") == 4
    assert "within" not in position
    assert 'class="person" cx="64' in html
    assert html.count('class="person"') == html.count('class="person" cx="64') == 1


def test_runs_of_one_person_share_a_strip(tmp_path):
    runs = {"tr_s": [2.0] * 3, "n_volumes": [150, 160, 180], "mean_fd_mm": [0.1, 0.2, 0.3]}
    text = text_of(sheet(tmp_path, found=runs))
    assert "150 to 180, 3 runs" in text
    assert "2 s, 3 runs" in text
    assert "0.10 to 0.30 mm, 3 runs" in text


def test_tables_without_ranges_say_how_to_have_them(tmp_path):
    files = write_applied(tmp_path)
    files.ranges.unlink()
    html = write_sheets(tmp_path, "new")[0].read_text()
    assert "Apply the bundle again" in html


def test_quality_and_another_atlas_are_told_at_the_top(tmp_path):
    html = sheet(
        tmp_path,
        person={"qc_flag": "mean FD 0.60 mm above 0.5 mm"},
        AtlasFallback=True,
        Atlas="generated",
    )
    text = text_of(html)
    for words in (
        "has a quality warning. mean FD 0.60 mm above",
        "The atlas is generated, not A424",
    ):
        assert text.index(words) < text.index("Prediction of FMM_TC")


def test_names_from_tables_cannot_put_markup_on_the_page(tmp_path):
    bad = "<script>alert(1)</script>"
    html = sheet(
        tmp_path,
        people=[("sub-01", None)],
        person={"qc_flag": bad, "out_of_distribution": bad},
        Target=bad,
        Bundle=bad,
        Evidence={**EVIDENCE, "verdict": "not tested", "not_tested": bad},
        ModelNames={"fmmtc": bad},
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_the_page_asks_for_nothing_but_itself(tmp_path):
    html = sheet(tmp_path)
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["../group_desc-new_report.html"]
    assert "@import" not in html
    assert "url(" not in html


@pytest.mark.parametrize(
    "plan",
    [
        b"label = [",
        b"\xff\xfe",
        b'label = "other"\nanalysis = "apply"\n',
        b'label = "new"\nanalysis = "train"\n',
        b'label = "new"\nanalysis = "apply"\nmode = "reports-only"\n',
    ],
    ids=["damaged", "no text", "another label", "another analysis", "reports alone"],
)
def test_the_date_is_of_the_last_plan_that_applied_this_label(tmp_path, plan):
    files = write_applied(tmp_path)
    files.log_dir("20270101-1_b").mkdir()
    (files.log_dir("20270101-1_b") / "plan.toml").write_bytes(plan)
    assert "Computed on 2026-11-21" in text_of(write_sheets(tmp_path, "new")[0].read_text())


def test_the_report_points_to_the_sheets_whether_they_are_written_before_it_or_after(tmp_path):
    write_applied(tmp_path)
    html = write_group_report(tmp_path, "new").read_text()
    for path in write_sheets(tmp_path, "new"):
        assert f'href="{path.parent.name}/{path.name}"' in html


def test_reports_only_writes_report_and_sheets_anew_and_touches_no_table(tmp_path):
    out = tmp_path / "out"
    files = write_applied(out)
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    plan = GroupPlan(
        bids_dir=tmp_path / "absent",
        output_dir=out,
        run_id="20270202-101500_b",
        resources=Resources(tmp_path / "work"),
        analysis="apply",
        label="new",
        mode="reports-only",
    )
    assert run_group(plan) == 0
    assert files.report.is_file()
    sheets = {path: path.read_text() for path in files.sheets_dir.iterdir()}
    assert sorted(path.name[:6] for path in sheets) == ["sub-01", "sub-02"]
    # Written anew is not applied anew.
    assert all("2026-11-21" in text and "2027" not in text for text in sheets.values())
    assert {path: path.read_bytes() for path in before} == before
    for path in sheets:
        path.unlink()
    assert run_group(plan) == 0
    assert {path: path.read_text() for path in files.sheets_dir.iterdir()} == sheets

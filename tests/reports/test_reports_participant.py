from __future__ import annotations

import re

import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.data.outputs import finished_runs, read_table
from fmmtc_bidsapp.reports.figures.run_figures import KINDS
from fmmtc_bidsapp.reports.pages.participant import write_participant_report

HEADINGS = (
    *("Summary", "Quality", "Head motion", "Regressors", "Series", "Parcels on the brain"),
    *("Coverage", "Connectivity", "Methods", "Errors", "About"),
)
CRASH = """Node: runs.sub_01.clean
Working directory: /scratch

Traceback (most recent call last):
  File "nodes.py", line 1, in _run_interface
fmmtc_bidsapp.errors.InputError: <i>cut short</i>
"""


def report(root, participant="sub-01", **arguments) -> str:
    return write_participant_report(root, participant, **arguments).read_text()


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def headings(html: str) -> list[str]:
    return [words(each) for each in re.findall(r"<h[23][^>]*>(.*?)</h[23]>", html, re.DOTALL)]


def test_every_section_is_there_under_its_heading_and_in_order(write_a_run):
    found = headings(report(write_a_run()))
    assert [each for each in found if each in HEADINGS] == list(HEADINGS)
    assert "task-rest run-1 usable" in found


def test_every_link_of_the_navigation_leads_somewhere(write_a_run):
    html = report(write_a_run())
    anchors = re.findall(r'<a href="#([^"]+)"', html)
    assert {"summary", "run1", "methods", "errors", "about"} <= set(anchors)
    assert all(f'id="{anchor}"' in html for anchor in anchors)


def test_every_picture_of_a_run_stands_in_the_page_and_one_that_is_gone_is_a_sentence(write_a_run):
    root = write_a_run(draw=True)
    html = report(root)
    assert all(f'id="run1-{kind}-' in html for kind in KINDS)
    assert "was not drawn" not in html
    path = next(root.rglob("*_motion.svg"))
    path.unlink()
    html = report(root)
    assert 'id="run1-motion-' not in html
    assert f"{path.name} was not drawn" in words(html)


def test_without_any_picture_there_is_a_sentence_for_each(write_a_run):
    text = words(report(write_a_run()))
    assert all(f"_{kind}.svg was not drawn" in text for kind in KINDS)


def test_half_a_picture_is_an_error_that_names_it(write_a_run):
    files = write_a_run.run()
    write_text(files.figure("carpet"), "<svg ")
    with pytest.raises(InputError, match=r"carpet\.svg is not a complete SVG"):
        report(write_a_run.root)


def test_grayordinates_have_sentences_where_a_volume_would_be_drawn(write_a_run):
    text = words(report(write_a_run(den="91k", draw=True)))
    assert "on grayordinates (CIFTI), so there is no image for outlines" in text
    assert "on grayordinates (CIFTI), so there is no image" in text


def test_the_quality_table_has_the_words_and_units_of_the_record(write_a_run):
    text = words(report(write_a_run()))
    assert "Mean framewise displacement 0.120 mm Head motion, on average." in text
    assert "Lowest coverage 20 % " in text
    assert "Mask and template, Dice n/a" in text
    assert "Atlas handling none" in text


def test_what_cleaning_left_is_said_in_a_sentence_with_its_notes(write_a_run):
    text = words(report(write_a_run()))
    assert "35 of 40 volumes are retained (2 dummy and 3 censored volumes left out)" in text
    assert "trans_x_derivative1 was computed." in text


def test_a_run_that_is_not_usable_says_why_in_summary_and_section(write_a_run):
    root = write_a_run(quality={"usable": False, "reasons": "35 volumes, fewer than 50"})
    text = words(report(root))
    assert "Reason: 35 volumes, fewer than 50." in text
    assert "not usable 35 volumes, fewer than 50" in text
    assert "1 run finished, 0 usable." in text


def listed(html: str, what: str) -> list[str]:
    """Parcels of the folded list with this heading."""
    found = re.search(rf"<summary>(\d+) {what}.*?</details>", html, re.DOTALL)
    assert found is not None, what
    parcels = re.findall(r'<th scope="row">(.*?)</th>', found[0])
    assert len(parcels) == int(found[1])
    return parcels


def test_missing_parcels_are_counted_as_the_quality_table_does_and_apart_from_thin_ones(
    write_a_run,
):
    run = write_a_run.run()
    html = report(write_a_run.root)
    coverage = read_table(run.coverage).set_index("Node")["coverage"]
    missing = listed(html, "missing parcel")
    assert missing == ["P1"]
    assert len(missing) == int(read_table(run.qc)["n_parcels_missing"].iloc[0])
    thin = listed(html, "parcels with less than 90 % coverage")
    assert set(thin) == set(coverage[coverage < 0.9].index) - {"P1"}


def test_a_parcel_named_like_a_tag_is_text(write_a_run):
    html = report(write_a_run(first_parcel="<b>", draw=True))
    assert '<th scope="row">&lt;b&gt;</th>' in html
    assert "<b>" not in html


@pytest.mark.parametrize("name", ["sub-<script>", "sub-{{ 7 * 7 }}", "sub-{template}", "sub-a: #b"])
def test_a_hostile_participant_is_text(tmp_path, name):
    html = report(tmp_path, name, problems=[(name, name)])
    assert "<script" not in html
    assert name in words(html).replace("&lt;", "<").replace("&gt;", ">")


def test_sessions_cleanings_and_spaces_each_have_a_section_that_tells_them_apart(write_a_run):
    for session in ("a", "b"):
        write_a_run.run(entities={"ses": session, "task": "rest"})
    write_a_run.run(entities={"ses": "a", "task": "rest"}, desc="none")
    write_a_run.run(entities={"ses": "a", "task": "rest"}, den="91k")
    found = [each for each in headings(report(write_a_run.root)) if each.startswith("ses-")]
    assert len(set(found)) == len(found) == 4
    assert "ses-b task-rest desc-simple space-MNI152NLin6Asym res-02 usable" in found
    assert "ses-a task-rest desc-simple space-fsLR den-91k usable" in found


def test_more_than_nine_runs_stay_in_order(write_a_run):
    for i in range(1, 12):
        write_a_run.run(entities={"task": "rest", "run": f"{i:02d}"})
    found = [each for each in headings(report(write_a_run.root)) if each.startswith("task-rest")]
    assert found == [f"task-rest run-{i:02d} usable" for i in range(1, 12)]


def test_the_uncleaned_series_beside_a_cleaned_one_is_no_run_of_its_own(write_a_run):
    assert [run.desc for run in finished_runs(write_a_run(), "sub-01")] == ["simple"]


def test_another_atlas_than_a424_is_announced(write_a_run):
    root = write_a_run("02", atlas="generated")
    assert "The atlas is Atlas generated (generated), not A424" in report(root, "sub-02")
    assert "not made with" not in report(write_a_run())


def test_a_run_that_was_left_out_is_told_in_summary_and_errors(write_a_run):
    html = report(write_a_run(), problems=[("task-rest run-2", "no mask\nGive one.")])
    assert "1 left out or failed" in html
    assert "task-rest run-2 not processed no mask" in words(html)
    assert "no mask\nGive one." in html


def test_the_crash_files_of_the_last_run_are_told_and_those_of_earlier_ones_not(write_a_run):
    root = write_a_run()
    log = root / "sub-01" / "log"
    for run_id, mode in (
        ("20260101-1_a", "run"),
        ("20260102-1_b", "run"),
        ("20260103-1_c", "reports-only"),
    ):
        write_text(log / run_id / "plan.toml", f'mode = "{mode}"\nrun_id = "{run_id}"\n')
    write_text(log / "20260101-1_a" / "crash-old.txt", CRASH.replace("cut short", "long ago"))
    write_text(log / "20260102-1_b" / "crash-new.txt", CRASH)
    html = report(root)
    assert "InputError: &lt;i&gt;cut short&lt;/i&gt;" in html
    assert "long ago" not in html
    assert "run_id = &#34;20260102-1_b&#34;" in html


def test_the_crash_files_of_a_later_call_that_only_drew_are_told_until_the_next(write_a_run):
    root = write_a_run()
    log = root / "sub-01" / "log"
    for run_id, mode in (("20260101-1_a", "run"), ("20260102-1_b", "reports-only")):
        write_text(log / run_id / "plan.toml", f'mode = "{mode}"\nrun_id = "{run_id}"\n')
        write_text(log / run_id / "crash-1.txt", CRASH.replace("cut short", mode))
    html = report(root)
    assert "InputError: &lt;i&gt;run&lt;/i&gt;" in html
    assert "InputError: &lt;i&gt;reports-only&lt;/i&gt;" in html
    assert "run_id = &#34;20260101-1_a&#34;" in html
    write_text(log / "20260103-1_c" / "plan.toml", 'mode = "reports-only"\n')
    html = report(root)
    assert "InputError: &lt;i&gt;run&lt;/i&gt;" in html
    assert "reports-only" not in html


def test_a_plan_that_is_no_toml_is_named(write_a_run):
    root = write_a_run()
    write_text(root / "sub-01" / "log" / "1" / "plan.toml", "mode = ")
    with pytest.raises(InputError, match=r"plan\.toml is not TOML"):
        report(root)


def test_a_participant_without_a_finished_run_still_has_a_report(tmp_path):
    html = report(tmp_path, problems=[("task-rest", "no mask")])
    assert "No run finished." in html
    assert "no mask" in html
    assert "No run was finished" in html


def test_a_run_whose_quality_table_is_not_there_yet_is_not_reported(write_a_run):
    root = write_a_run()
    next(root.rglob("*_qc.tsv")).unlink()
    assert "No run finished." in report(root)


def test_about_tells_version_configuration_licence_and_packages(write_a_run):
    text = words(report(write_a_run()))
    assert "fmmtc_bidsapp 0.0.1" in text
    assert "Configuration of simple 7c1e" in text
    assert "Licence of A424 CC0" in text
    assert re.search(r"numpy \d+\.\d+", text)


@pytest.mark.slow
def test_one_long_run_of_424_parcels_stays_below_5_mb_and_each_picture_below_1(write_a_run):
    root = write_a_run(n_parcels=424, n_volumes=1500, draw=True)
    assert write_participant_report(root, "sub-01").stat().st_size < 5e6
    assert max(path.stat().st_size for path in root.rglob("*.svg")) < 1e6


def test_a_quality_table_of_an_older_version_is_reported_with_na(write_a_run):
    root = write_a_run()
    (table,) = root.glob("sub-*/**/*_qc.tsv")
    kept = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
    kept = kept.drop(columns=["n_parcels", "dof", "reasons", "coverage_min"])
    kept.to_csv(table, sep="\t", index=False)
    text = words(report(root))
    assert "n/a degrees of freedom remain after cleaning" in text
    assert "Lowest coverage n/a" in text
    assert "1 run finished, 1 usable." in text

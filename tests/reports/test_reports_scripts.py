"""What the small scripts of a page do in a real browser: save, sort, filter, print, skip."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from big_analysis import write_big_analysis

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.reports.data.outputs import read_table
from fmmtc_bidsapp.reports.pages.group import write_group_report

pytestmark = pytest.mark.browser

SCRIPTS = Path(__file__).parents[2] / "fmmtc_bidsapp" / "reports" / "pages" / "templates"
SVG = "{http://www.w3.org/2000/svg}"

Open = Callable[..., object]


@pytest.fixture(scope="module")
def report(written_dataset: Path) -> Path:
    return write_group_report(written_dataset, "train")


@pytest.fixture
def open_page(chromium, report) -> Iterator[Open]:
    contexts = []

    def open_one(scheme: str = "light"):
        context = chromium.new_context(color_scheme=scheme, offline=True, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.goto(report.as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()


def save(page, button: str) -> tuple[str, str]:
    """Press a button: name and text of the file that comes of it."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text("utf-8")


def test_a_table_is_saved_as_the_program_wrote_it(open_page, written_dataset):
    files = GroupFiles(written_dataset, "train")
    page = open_page()
    for button, path in (
        ("Performance of each model", files.metrics),
        ("Participants", files.predictions),
        ("Eligibility, step by step", files.eligibility),
    ):
        name, text = save(page, f"Save as TSV: {button}")
        assert name == path.name
        assert text == path.read_text("utf-8")


def test_a_table_that_was_not_written_is_saved_from_the_page(open_page, written_dataset):
    name, text = save(open_page(), "Save as TSV: Confusion matrix")
    table = read_table(GroupFiles(written_dataset, "train").predictions)
    n = table.groupby(["y_true", "y_pred"]).size()
    assert name == "group_desc-train_confusion.tsv"
    heading, *rows = [line.split("\t") for line in text.splitlines()]
    assert heading[0] == "True outcome"
    counts = [[int(cell.split()[0]) for cell in row[1:]] for row in rows]
    assert counts == [[n.get((0, 0), 0), n.get((0, 1), 0)], [n.get((1, 0), 0), n.get((1, 1), 0)]]


def test_a_figure_is_saved_with_the_colours_of_paper_whatever_the_page_has(open_page):
    name, light = save(open_page(), "Save as SVG: ROC")
    same, dark = save(open_page("dark"), "Save as SVG: ROC")
    assert name == same == "group_desc-train_roc.svg"
    assert light == dark
    assert "var(" not in light
    assert "#0072b1" in light
    root = ET.fromstring(light)
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox")
    assert "True positive rate" in {each.text for each in root.iter(f"{SVG}text")}


def test_every_figure_and_every_table_can_be_saved(open_page):
    page = open_page()
    n_figures = page.locator("figure svg[data-name]").count()
    assert n_figures >= 6
    buttons = page.locator("button.download").all_text_contents()
    assert buttons.count("Save as SVG") == n_figures == page.locator("figure svg").count()
    assert buttons.count("Save as TSV") == page.locator("table").count()


def test_the_filter_shows_the_wrong_calls_and_says_how_many(open_page, written_dataset):
    table = read_table(GroupFiles(written_dataset, "train").predictions)
    wrong = set(table.loc[table["y_true"] != table["y_pred"], "participant_id"])
    page = open_page()
    rows = page.locator("#people-table tbody tr")
    page.locator("form.filters [name=call]").focus()
    page.keyboard.type("all wrong")
    shown = rows.locator("visible=true")
    assert set(shown.locator("th").all_inner_texts()) == wrong
    told = page.get_by_role("status")
    assert told.inner_text() == f"{len(wrong)} of {len(table)} participants are shown."
    assert told.get_attribute("aria-live") == "polite"
    page.locator("form.filters [name=fold]").select_option("2")
    both = wrong & set(table.loc[table["fold"] == "2", "participant_id"])
    assert set(shown.locator("th").all_inner_texts()) == both
    page.get_by_role("button", name="Show all").press("Enter")
    page.get_by_text(f"All {len(table)} participants are shown.").wait_for()
    assert shown.count() == len(table)


def test_a_filter_that_fits_nobody_says_so(open_page):
    page = open_page()
    page.locator("form.filters [name=text]").fill("nobody at all")
    assert page.locator("#people-table tbody tr").locator("visible=true").count() == 0
    assert page.get_by_role("status").inner_text().startswith("0 of ")


@pytest.mark.parametrize(
    ("values", "rising"),
    [
        (["0.5", "n/a", "9e-05", "0.25"], ["9e-05", "0.25", "0.5", "n/a"]),
        (["-1", "2", "-3"], ["-3", "-1", "2"]),
        (["sub-10", "sub-9", "sub-1"], ["sub-1", "sub-9", "sub-10"]),
    ],
)
def test_numbers_sort_by_value_labels_by_their_numbers_and_gaps_come_last(chromium, values, rising):
    page = chromium.new_page()
    cells = "".join(f'<tr><td data-value="{value}">{value}</td></tr>' for value in values)
    page.set_content(
        f'<table class="sortable"><thead><tr><th>x</th></tr></thead><tbody>{cells}</tbody></table>'
    )
    page.add_script_tag(content=(SCRIPTS / "sort.js").read_text("utf-8"))
    heading = page.get_by_role("button", name="x")
    heading.click()
    assert page.locator("td").all_inner_texts() == rising
    heading.press("Enter")
    known = [each for each in rising if each != "n/a"]
    assert page.locator("td").all_inner_texts() == known[::-1] + rising[len(known) :]
    page.close()


def test_the_first_key_leads_past_the_navigation(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the content")
    assert link.evaluate("link => document.activeElement === link")
    assert link.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_on_paper_everything_is_unfolded_and_no_control_is_left(open_page):
    page = open_page()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    for control in ("nav", "button.download", "form.filters", "a.skip"):
        assert page.locator(control).locator("visible=true").count() == 0, control
    page.locator("form.filters [name=text]").evaluate(
        "box => { box.value = 'sub-01'; box.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    page.set_viewport_size({"width": 718, "height": 1000})  # of A4 within Chromium's margins
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    # Who is left out of a printed table is said on paper.
    assert page.get_by_role("status").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_a_hundred_people_and_twelve_models_are_small_and_soon_seen(chromium, tmp_path):
    files = write_big_analysis(tmp_path, analysis="train")
    before = time.process_time()
    path = write_group_report(files.output_dir, files.label)
    assert time.process_time() - before <= 60
    assert path.stat().st_size <= 15e6
    page = chromium.new_page(offline=True)
    page.goto(path.as_uri())
    page.wait_for_function("performance.getEntriesByType('paint').length > 0")
    paints = page.evaluate("performance.getEntriesByType('paint').map(each => each.startTime)")
    assert max(paints) <= 2000  # milliseconds
    page.close()

"""Reports in a real browser, offline: what a reader sees, not what the markup says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from applied_analysis import EVIDENCE, write_applied
from axe import fetch_axe, violations
from big_analysis import write_big_analysis

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.reports.figures.run_figures import KINDS
from fmmtc_bidsapp.reports.pages.group import write_group_report
from fmmtc_bidsapp.reports.pages.participant import write_participant_report
from fmmtc_bidsapp.reports.pages.sheet import write_sheets

pytestmark = pytest.mark.browser

WIDTHS = (1280, 400)
NAMES = ("participant", "combined", "train", "compare", "apply", "sheet", "fullest sheet")
GROUPS = ("train", "compare", "apply")
LONG = "symptom_improvement_after_eight_weeks"
REASONS = (
    "TR 3 s, trained on 2 to 2.5 s; 60 volumes, trained on 120 to 240; mean FD 0.60 mm, trained on "
    "up to 0.42 mm; connectivity 0.45 from the training mean (RMS of Fisher's z), 99 % of the "
    "training people within 0.31; a fifth reason; a sixth reason"
)
HEADINGS = (
    *("Summary", "Quality", "Head motion", "Regressors", "Series", "Parcels on the brain"),
    *("Coverage", "Connectivity", "Methods", "Errors", "About"),
)
PICTURES = """() => Promise.all(
  [...document.querySelectorAll("img, svg image")].map(async (element) => {
    const image = new Image();
    image.src = element.src || element.getAttribute("href") || element.getAttribute("xlink:href");
    await image.decode();
    return image.naturalWidth;
  })
)"""


LONG_ROWS = """() => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  return [...document.querySelectorAll("table")].map((table) => {
    for (const cell of table.querySelectorAll("th, td")) cell.append("wide".repeat(40));
    const box = table.closest(".scroll");
    return box !== null && box.scrollWidth > box.clientWidth;
  });
}"""


@pytest.fixture(scope="module")
def pages(written_dataset: Path) -> dict[str, Path]:
    log = written_dataset / "sub-01" / "log" / "20260101-1_a"
    write_text(log / "plan.toml", 'mode = "run"\n')
    write_text(log / "crash-1.txt", "Node: a\n\n" + "InputError: " + "long " * 60)
    problems = [("task-rest run-2", "InputError: " + "/a/very/long/path" * 20)]
    return {
        "participant": write_participant_report(written_dataset, "sub-01", problems=problems),
        "combined": write_participant_report(written_dataset, "sub-02"),
        "train": write_group_report(written_dataset, "train"),
        **_applied(written_dataset.with_name("applied")),
        "compare": write_group_report(
            write_big_analysis(written_dataset.with_name("big")).output_dir, "big"
        ),
    }


def _applied(root: Path) -> dict[str, Path]:
    """Write an ordinary sheet, and one with everything that can be said."""
    write_applied(root)
    write_applied(
        root,
        "full",
        people=[("sub-averylongnameofaparticipant", "ses-20260101baseline")],
        person={
            "probability_low": 0.41, "probability_high": 0.78, "threshold": 0.47,
            "qc_flag": "mean FD 0.60 mm above 0.5 mm; fewer than 50 retained volumes",
            "out_of_distribution": REASONS,
        },
        found={
            "tr_s": [2.0, 3.0, 2.0], "n_volumes": [180, 60, 220], "mean_fd_mm": [0.1, 0.6, 0.3],
            "connectivity_distance": [0.45],
        },
        outside={"tr_s": "3", "n_volumes": "60", "mean_fd_mm": "0.6", "connectivity_distance": "x"},
        Trainings=5,
        Target=LONG,
        AtlasFallback=True,
        Atlas="generated",
        Notice="of the covariate site a value is new; " * 12,
        ModelNames={"fmmtc": "FMM_TC (bidirectional cross attention)"},
        Evidence={**EVIDENCE, "verdict": "not tested", "not_tested": "no shuffles were made"},
    )  # fmt: skip
    (fullest,) = write_sheets(root, "full")
    sheets = {"sheet": write_sheets(root, "new")[0], "fullest sheet": fullest}
    return {"apply": write_group_report(root, "new"), **sheets}


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    return fetch_axe(request.config.cache.mkdir("axe"))


class Visit:
    """A page opened offline, with everything it asked for and complained of."""

    def __init__(self, browser, path: Path, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        self.uri = path.as_uri()

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        root = "document.documentElement"
        return self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_report_needs_no_network_complains_of_nothing_and_fits(
    chromium, pages, name, width, scheme
):
    with Visit(chromium, pages[name], width, scheme) as visit:
        assert [each for each in visit.requests if not each.startswith("data:")] == [visit.uri]
        assert visit.complaints == []
        assert visit.overflow == 0


def test_every_section_is_seen_under_its_heading(chromium, pages):
    with Visit(chromium, pages["participant"]) as visit:
        for heading in HEADINGS:
            found = visit.page.get_by_role("heading", name=heading, exact=True)
            assert found.is_visible(), heading
        assert visit.page.get_by_role("heading", name="task-rest run-1").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_picture_is_drawn_and_every_image_in_it_decodes(chromium, pages, width):
    with Visit(chromium, pages["participant"], width) as visit:
        pictures = visit.page.locator("figure svg")
        assert pictures.count() == len(KINDS)
        for picture in pictures.all():
            box = picture.bounding_box()
            assert box["width"] > 300
            assert box["height"] > 100
            assert picture.get_attribute("aria-label")
        widths = visit.page.evaluate(PICTURES)
        assert len(widths) > len(KINDS)
        assert all(each > 0 for each in widths)


def test_words_of_a_picture_follow_the_page_from_light_to_dark(chromium, pages):
    colours = {}
    for scheme in ("light", "dark"):
        with Visit(chromium, pages["participant"], scheme=scheme) as visit:
            title = visit.page.locator("svg text", has_text="Framewise displacement").first
            ink = title.evaluate("element => getComputedStyle(element).fill")
            body = visit.page.evaluate("getComputedStyle(document.body).color")
            assert ink == body
            colours[scheme] = ink
    assert colours["light"] != colours["dark"]


def test_the_navigation_and_what_is_folded_work_from_the_keyboard(chromium, pages):
    with Visit(chromium, pages["participant"]) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Summary"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.url.endswith("#run1")
        summary = page.locator("summary", has_text="regressors")
        summary.focus()
        page.keyboard.press("Enter")
        assert page.get_by_text("trans_x_derivative1, ").is_visible()
        assert page.locator(".plot").first.get_attribute("tabindex") == "0"


def test_a_combined_matrix_is_reached_from_the_keyboard_and_its_picture_is_drawn(chromium, pages):
    with Visit(chromium, pages["combined"]) as visit:
        page = visit.page
        # Summary, two runs, then what stands for both.
        for _ in range(4):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "task-rest (2 runs combined)"
        page.keyboard.press("Enter")
        assert page.url.endswith("#combined1")
        assert page.get_by_role("heading", name="task-rest (2 runs combined)").is_visible()
        table = page.get_by_role("region", name="Runs of task-rest (2 runs combined)")
        assert table.get_attribute("tabindex") == "0"
        table.get_by_role("link", name="task-rest run-2").press("Enter")
        assert page.url.endswith("#run2")
        (picture,) = page.locator("figure svg").all()
        assert picture.bounding_box()["width"] > 300
        assert picture.get_attribute("aria-label")
        assert all(width > 0 for width in page.evaluate(PICTURES))


def test_on_paper_there_is_no_navigation_and_nothing_is_cut_off(chromium, pages):
    with Visit(chromium, pages["participant"], width=794) as visit:
        visit.page.emulate_media(media="print")
        assert not visit.page.locator("nav").is_visible()
        assert visit.overflow == 0
        assert visit.page.locator("figure svg").first.bounding_box()["width"] <= 794


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_keeps_anybody_from_reading_a_report(chromium, axe, pages, name, scheme):
    with Visit(chromium, pages[name], scheme=scheme) as visit:
        assert violations(visit.page, axe) == []


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("press", ["click", "Enter", "Space"])
def test_the_table_of_people_sorts_by_click_and_by_keyboard(chromium, pages, name, press):
    with Visit(chromium, pages[name]) as visit:
        table = visit.page.locator("#participants table.sortable")
        heading = table.get_by_role("columnheader", name="Probability")
        button = heading.get_by_role("button")

        def push() -> list[float]:
            button.click() if press == "click" else button.press(press)
            column = heading.evaluate("heading => heading.cellIndex")
            rows = "rows => rows.map(row => Number(row.cells[column].dataset.value))"
            cells = rows.replace("column", str(column))
            return table.locator("tbody tr").evaluate_all(cells)

        rising = push()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert rising == sorted(rising)
        falling = push()
        assert heading.get_attribute("aria-sort") == "descending"
        assert falling == sorted(rising, reverse=True)


@pytest.mark.parametrize("name", GROUPS)
def test_the_table_of_people_shows_whom_the_filter_names(chromium, pages, name):
    with Visit(chromium, pages[name]) as visit:
        page = visit.page
        rows = page.locator("#participants table.sortable tbody tr")
        before = rows.count()
        page.locator("form.filters [name=text]").fill("sub-01")
        shown = rows.locator("visible=true")
        assert 0 < shown.count() < before
        assert all("sub-01" in text for text in shown.all_inner_texts())
        told = page.locator("form.filters [role=status]").inner_text()
        assert f"{shown.count()} of {before}" in told
        page.locator("form.filters [name=text]").fill("")
        assert shown.count() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_report_prints_to_paper_and_a_sheet_to_one_page(chromium, pages, name):
    with Visit(chromium, pages[name]) as visit:
        pdf = visit.page.pdf(format="A4", prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF")
        n_pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
        assert n_pages == 1 if "sheet" in name else n_pages > 1


def test_a_sheet_leads_to_the_report_of_the_group(chromium, pages):
    with Visit(chromium, pages["sheet"]) as visit:
        visit.page.get_by_role("link", name="All participants of this run").click()
        assert visit.page.url == pages["apply"].as_uri()
        assert visit.page.get_by_role("link", name="sub-01").first.is_visible()


def test_a_picture_without_words_is_found(chromium, axe, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<!DOCTYPE html><html lang="en"><title>t</title><main><img src=""></main></html>'
    )
    with Visit(chromium, page) as visit:
        assert any(each.startswith("image-alt (critical)") for each in violations(visit.page, axe))


@pytest.mark.parametrize("name", ["participant", "combined", "train", "apply"])
def test_a_table_too_wide_for_a_telephone_scrolls_in_its_own_box(chromium, pages, name):
    with Visit(chromium, pages[name], width=400) as visit:
        tables = visit.page.evaluate(LONG_ROWS)
        assert tables
        assert all(tables)
        assert visit.overflow == 0

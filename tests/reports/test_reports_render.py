"""What holds for every report: whole, escaped, alone, and the same twice."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.data.number_format import interval, number
from fmmtc_bidsapp.reports.data.outputs import read_json
from fmmtc_bidsapp.reports.pages.group import write_group_report
from fmmtc_bidsapp.reports.pages.participant import write_participant_report

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(str(given["id"]))
            if tag == "section":
                self.sections.append(str(given["id"]))
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            if tag != "a" and given.get(name):
                self.loads.append(str(given[name]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def render(root: Path) -> list[Path]:
    return [
        write_participant_report(root, "sub-01"),
        write_group_report(root, "train"),
        write_group_report(root, "apply"),
    ]


@pytest.fixture(scope="module")
def reports(written_dataset: Path) -> list[Path]:
    return render(written_dataset)


def test_a_page_loads_nothing_from_outside_and_closes_every_tag(reports):
    for path in reports:
        page = Page(path)
        assert not page.open
        assert [each for each in page.loads if not each.startswith(("#", "data:"))] == []
        assert "@import" not in path.read_text()
        assert "url(http" not in path.read_text()


def test_no_id_stands_twice_in_a_page(reports):
    for path in reports:
        ids = Page(path).ids
        assert len(ids) == len(set(ids))


def test_written_again_a_report_has_the_same_bytes(reports):
    first = [path.read_bytes() for path in reports]
    for path in reports:
        path.unlink()
    assert [path.read_bytes() for path in render(reports[0].parent)] == first


def test_no_line_of_a_figure_keeps_the_stand_in_colour_it_was_drawn_in(reports):
    for path in reports:
        html = path.read_text()
        assert "var(--accent)" in html[html.index("<svg") :]
        assert not any(f"#0{i}0{i}0{i}" in html for i in range(1, 8))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x_1$ & \"q'"])
def test_a_hostile_participant_id_is_text(write_a_group, name):
    root = write_a_group.train(first_id=name)
    page = Page(write_group_report(root, "L"))
    assert page.tags.count("script") == 1
    assert name in page.text


def test_a_hostile_error_message_is_text(write_a_run):
    problem = ("<b>run</b>", "</pre><script>alert(1)</script>")
    page = Page(write_participant_report(write_a_run(), "sub-01", problems=[problem]))
    assert "script" not in page.tags
    assert problem[1] in page.text


def test_a_sidecar_that_is_no_json_is_named(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InputError, match=r"broken\.json"):
        read_json(broken)


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.123, "−0.12"), (np.nan, "n/a"), (None, "n/a"), (True, "yes"), (2, "2.00")],
)
def test_a_number_is_spelt_for_readers(value, text):
    assert number(value) == text


def test_an_interval_with_an_unknown_end_is_left_out():
    assert interval(0.4, np.nan) == ""
    assert interval(-0.1, 0.4) == "−0.10 to 0.40"

"""The model card in a page: headings, tables, and nothing that its text could smuggle in."""

from __future__ import annotations

import re

from fmmtc_bidsapp.reports.pages.render import card_html

CARD = """# A model

Text with **weight**.

## Performance [12e]

| model | value |
|---|---|
| FMM_TC | 0.7 |

| arm | value |
|---|---|
| drug | 0.8 |

    fmmtc BIDS_DIR OUTPUT_DIR
"""


def test_headings_lie_below_those_of_the_page():
    html = card_html(CARD)
    assert re.findall(r"<(h\d)>(.*?)</\1>", html) == [
        ("h3", "A model"), ("h4", "Performance [12e]"),
    ]  # fmt: skip
    assert "<strong>weight</strong>" in html
    assert "<code>fmmtc BIDS_DIR OUTPUT_DIR" in html


def test_tables_scroll_and_have_names_and_headings():
    html = card_html(CARD)
    assert re.findall(r'data-name="([\w-]+)"', html) == ["model-card-1", "model-card-2"]
    assert html.count('tabindex="0" role="region"') == 2
    assert html.count('<th scope="col">') == 4
    assert html.count("</table></div>") == 2


def test_html_in_a_card_is_text_and_pictures_are_not_loaded():
    html = card_html(
        "# <script>alert(1)</script>\n\n<b>raw</b> ![x](http://example.org/x.png) "
        "[press](javascript:alert) [fine](https://example.org)\n\n"
        '| a"><img src=x> |\n|---|\n| <i>b</i> |\n'
    )
    assert not re.findall(r"<(script|b|i|img)\b", html)
    assert "javascript:alert)" in html  # as text, not as a link
    assert re.findall(r'href="(.*?)"', html) == ["http://example.org/x.png", "https://example.org"]

from __future__ import annotations

import json
import os
import unicodedata

import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_json, write_text
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.visible import is_blank, visible, visible_json

HOSTILE = "\x1b]0;owned\x07 a\rb \x9b31m \u202etxt.exe\u2066 \u200bz \U000e0041 \udcff"


def test_what_is_not_seen_is_spelled_out_and_what_is_seen_stays():
    for code in (*range(0x300), *range(0x2000, 0x2100), 0xFEFF, 0x115F, 0xE0041, 0x1F600, 0x4E00):
        character = chr(code)
        unseen = unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")
        # A filler counts as a letter, and one code has no meaning yet.
        unseen |= code in (0x115F, 0x2065)
        stays = character in "\t\n" or not unseen
        assert (visible(character) == character) == stays, hex(code)


def test_letters_of_any_language_stay():
    text = "Jörg Müller, Núñez, Łódź, Ωμέγα, Привет, 日本語, 한국어, عربى, שלום, ไทย, नमस्ते"
    assert visible(text) == text


def test_bytes_of_a_name_that_is_no_utf8_are_spelled_as_bytes():
    assert visible(os.fsdecode(b"sub-\xff\xfe.nii")) == r"sub-\xff\xfe.nii"


def test_doing_it_twice_changes_nothing():
    assert visible(visible(HOSTILE)) == visible(HOSTILE)


def test_line_ends_of_any_system_stay():
    assert visible("a\r\nb\n\tc") == "a\r\nb\n\tc"
    assert visible("a\rb") == r"a\u000db"


def test_json_reads_back_as_it_was():
    text = HOSTILE.replace("\udcff", "")
    assert json.loads(visible_json(json.dumps({text: text}, ensure_ascii=False))) == {text: text}


def test_no_written_file_holds_a_character_that_acts_or_is_not_seen(tmp_path):
    write_text(tmp_path / "page.html", HOSTILE)
    write_json(tmp_path / "about.json", {HOSTILE: HOSTILE})
    write_tsv(tmp_path / "table.tsv", {HOSTILE: [HOSTILE]})
    for path in tmp_path.iterdir():
        text = path.read_bytes().decode()
        assert visible(text) == text
        assert "owned" in text


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\u2060\ufe0f\u3164", "\u00a0\t", "\x1b"])
def test_a_text_of_which_nothing_is_seen_is_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", "\u200ba", "-", "0", "日"])
def test_a_text_of_which_something_is_seen_is_not_blank(text):
    assert not is_blank(text)

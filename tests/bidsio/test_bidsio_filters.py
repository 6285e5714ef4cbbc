import json

import pytest

from fmmtc_bidsapp.bidsio.filters import read_filter
from fmmtc_bidsapp.errors import UsageError


def written(folder, content):
    path = folder / "filter.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_long_names_become_short_keys_and_every_value_a_list(tmp_path):
    bold = {"subject": "01", "session": None, "reconstruction": "*", "run": [1, "02", None]}
    assert read_filter(written(tmp_path, {"bold": bold})) == {
        "sub": ("01",),
        "ses": (None,),
        "rec": ("*",),
        "run": ("1", "02", None),
    }


def test_a_file_without_bold_keeps_everything(tmp_path):
    assert read_filter(written(tmp_path, {})) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"t1w": {}, "bold": {}}, "unknown key t1w; those allowed are bold"),
        ({"bold": {"ses": "1"}}, "unknown entity ses; .*subject, session, task, acquisition"),
        ({"bold": {"space": "T1w", "echo": 1}}, "unknown entity echo, space; those allowed"),
        ({"bold": "rest"}, "\"bold\" is 'rest'"),
        ({"bold": {"task": {"a": 1}}}, "task is .* must be a label"),
        ({"bold": {"task": []}}, r"task is \[\]"),
        ({"bold": {"run": True}}, "run is True"),
        ([], "no JSON object"),
        ("{", "is not JSON"),
    ],
)
def test_a_file_that_is_no_filter_is_wrong_use(tmp_path, content, words):
    with pytest.raises(UsageError, match=words):
        read_filter(written(tmp_path, content))


def test_a_file_that_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="--bids-filter-file: JSON missing"):
        read_filter(tmp_path / "absent.json")

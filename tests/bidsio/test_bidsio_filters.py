import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fmmtc_bidsapp.bidsio.layout.filters import read_filter
from fmmtc_bidsapp.bidsio.layout.query import Query
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


FMRIPREP = {
    "fmap": {"datatype": "fmap"},
    "bold": {"datatype": "func", "suffix": "bold", "part": ["mag", None], "task": "rest"},
    "sbref": {"datatype": "func", "suffix": "sbref", "part": ["mag", None]},
    "flair": {"datatype": "anat", "suffix": "FLAIR", "part": ["mag", None]},
    "t2w": {"datatype": "anat", "suffix": "T2w"},
    "t1w": {"datatype": "anat", "suffix": "T1w", "reconstruction": None},
    "roi": {"datatype": "anat", "suffix": "roi"},
}


def test_fmripreps_own_file_is_read_and_what_is_not_about_bold_passed_over_with_a_word(
    tmp_path, capsys
):
    kept = read_filter(written(tmp_path, FMRIPREP))
    query = Query((), (), (), (), kept)
    run = {"datatype": "func", "suffix": "bold", "sub": "01", "task": "rest"}
    assert query.admits(run)
    assert not query.admits({**run, "task": "faces"})
    assert not query.admits({**run, "part": "phase"})
    told = capsys.readouterr().err
    assert "fmap, sbref, flair, t2w, t1w, roi ignored" in told


@pytest.mark.parametrize("part", [None, "mag", ["mag"], ["mag", None]])
def test_preprocessed_runs_are_of_the_magnitude_though_their_names_do_not_say_so(tmp_path, part):
    query = Query((), (), (), (), read_filter(written(tmp_path, {"bold": {"part": part}})))
    assert query.admits({"sub": "01", "task": "rest"})
    assert not query.admits({"sub": "01", "task": "rest", "part": "phase"})


def test_echoes_asked_for_stand_for_the_run_that_they_were_combined_to(tmp_path, capsys):
    query = Query((), (), (), (), read_filter(written(tmp_path, {"bold": {"echo": [1, 2, 3]}})))
    assert query.admits({"sub": "01", "task": "rest"})
    assert "bold's echo ignored" in capsys.readouterr().err
    query = Query((), (), (), (), read_filter(written(tmp_path, {"bold": {"echo": None}})))
    assert not query.admits({"sub": "01", "task": "rest", "echo": "1"})
    assert capsys.readouterr().err == ""


def test_no_raw_run_has_a_space_so_its_absence_leaves_nobody_out(tmp_path, capsys):
    content = {"bold": {"space": None, "extension": [".nii", ".nii.gz"]}}
    assert read_filter(written(tmp_path, content)) == {}
    assert "bold's extension ignored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"bolt": {}, "bold": {}}, "unknown key bolt; those allowed are bold, fmap"),
        ({"bold": {"ses": "1"}}, "unknown entity ses; .*subject, session, task, acquisition"),
        ({"bold": {"space": "T1w"}}, "filters by space, .* with --space"),
        ({"bold": {"inversion": 1, "desc": "x"}}, "unknown entity desc, inversion; those allowed"),
        ({"bold": {"": "rest"}}, 'unknown entity ""; those allowed'),
        ({"bold": "rest"}, "\"bold\" is 'rest'"),
        ({"bold": {"task": {"a": 1}}}, "task is .* must be a label"),
        ({"bold": {"task": []}}, r"task is \[\]"),
        ({"bold": {"run": True}}, "run is True"),
        ({"bold": {"session": ["1", ""]}}, "session is .* must be a label"),
        ([], "not a JSON object"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_file_that_is_no_filter_is_wrong_use(tmp_path, content, words):
    with pytest.raises(UsageError, match=words):
        read_filter(written(tmp_path, content))


def test_a_file_that_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="--bids-filter-file: JSON missing"):
        read_filter(tmp_path / "absent.json")


LONG = {
    "subject": "sub",
    "session": "ses",
    "task": "task",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
}
NUMBERS = st.sampled_from(["0", "00", "1", "01", "10", "010"])
LABELS = st.sampled_from(["a", "A", "1", "01"])


def label_of(short):
    return NUMBERS if short == "run" else LABELS


def wanted_of(short):
    """Values of a filter file for one entity: labels with and without prefix, numbers, null, *."""
    label = label_of(short)
    one = label | label.map(lambda text: f"{short}-{text}") | st.sampled_from([0, 1, 10])
    one |= st.sampled_from([None, "*"])
    return one | st.lists(one, min_size=1, max_size=3)


# Few entities at a time, or hardly any file would meet them all.
BOLD = st.lists(st.sampled_from(sorted(LONG)), unique=True, max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({name: wanted_of(LONG[name]) for name in names})
)
FILES = st.fixed_dictionaries(
    {"sub": LABELS}, optional={key: label_of(key) for key in LONG.values() if key != "sub"}
)


def says_so(bold, entities):
    """Say, straight from the JSON, whether it describes a file."""
    for name, wanted in bold.items():
        short, found = LONG[name], entities.get(LONG[name])
        met = False
        for each in wanted if isinstance(wanted, list) else [wanted]:
            if each is None or found is None:
                met |= each is None and found is None
            elif each == "*":
                met = True
            else:
                text = str(each).split("-")[-1]
                met |= int(text) == int(found) if short == "run" else text == found
        if not met:
            return False
    return True


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("filters") / "filter.json"


@given(bold=BOLD, files=st.lists(FILES, min_size=4, max_size=8))
def test_a_file_is_admitted_just_when_the_json_says_so(file, bold, files):
    file.write_text(json.dumps({"bold": bold}))
    query = Query((), (), (), (), read_filter(file))
    assert [query.admits(each) for each in files] == [says_so(bold, each) for each in files]


@given(bold=BOLD, entities=FILES, others=FILES)
def test_labels_and_filter_admit_what_both_do(file, bold, entities, others):
    file.write_text(json.dumps({"bold": bold}))
    lists = [[others[key]] if key in others else [] for key in ("sub", "ses", "task", "run")]
    both = Query(*lists, read_filter(file))
    alone = Query(*lists), Query((), (), (), (), read_filter(file))
    assert both.admits(entities) == all(each.admits(entities) for each in alone)


@given(wanted_of("sub"), st.lists(LABELS, max_size=2), st.sets(LABELS, min_size=1))
@example("*", [], {"a", "1"})
def test_only_folders_with_admitted_files_are_looked_into_and_all_of_them(
    file, wanted, labels, everyone
):
    file.write_text(json.dumps({"bold": {"subject": wanted}}))
    query = Query(labels, (), (), (), read_filter(file))
    admitted = {f"sub-{label}" for label in everyone if query.admits({"sub": label})}
    asked = query.participant_ids()
    # An empty list asks for all folders, which is right whoever is admitted.
    assert not asked or {f"sub-{label}" for label in everyone} & set(asked) == admitted

"""The participants table joined with phenotype tables."""

import pytest

from fmmtc_bidsapp.bidsio.tables.tables import read_rows
from fmmtc_bidsapp.errors import InputError, UsageError


@pytest.fixture
def table(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text("\n".join("\t".join(line.split()) for line in text.splitlines()) + "\n")
        return path

    return write


@pytest.fixture
def participants(table):
    return table("participants.tsv", "participant_id age\nsub-1 30\nsub-2 40\n3 50")


def test_phenotype_columns_are_joined_by_participant_and_absent_people_have_none(
    table, participants
):
    pain = table("pain.tsv", "participant_id ache\nsub-3 7\n1 2\nsub-9 5")
    sleep = table("sleep.tsv", "hours participant_id\n8 sub-2")
    rows = read_rows(participants, (pain, sleep), ("ache", "hours", "age"))
    assert rows == [
        {"participant_id": "sub-1", "age": "30", "ache": "2", "hours": "n/a"},
        {"participant_id": "sub-2", "age": "40", "ache": "n/a", "hours": "8"},
        {"participant_id": "sub-3", "age": "50", "ache": "7", "hours": "n/a"},
    ]


def test_a_column_that_is_used_and_in_two_tables_is_refused_with_both(table, participants):
    other = table("other.tsv", "participant_id age\nsub-1 31")
    with pytest.raises(UsageError, match=r"age is in .*participants\.tsv and in .*other\.tsv"):
        read_rows(participants, (other,), ("age",))
    assert read_rows(participants, (other,))[0]["age"] == "30"


def test_an_optional_column_in_two_tables_is_refused_too(table, participants):
    other = table("other.tsv", "participant_id age\nsub-1 31")
    with pytest.raises(UsageError, match="age is in"):
        read_rows(participants, (other,), (), ("age",))


def test_a_phenotype_table_without_participants_is_wrong_use(table, participants):
    other = table("other.tsv", "subject ache\nsub-1 3")
    with pytest.raises(UsageError, match="no column participant_id; it has subject, ache"):
        read_rows(participants, (other,))


@pytest.mark.parametrize("name", ["participants.tsv", "pain.tsv"])
def test_two_rows_for_someone_are_refused_in_any_table(table, participants, name):
    twice = table(name, "participant_id ache\nsub-1 3\n1 4")
    tables = [table("first.tsv", "participant_id\nsub-1"), twice]
    with pytest.raises(InputError, match=rf"{name} has two rows for sub-1"):
        read_rows(tables[0], (twice,))


def test_an_absent_column_lists_the_columns_of_every_table(table, participants):
    pain = table("pain.tsv", "participant_id ache\nsub-1 3")
    with pytest.raises(UsageError, match=r"no column sex: .*participant_id, age; .*ache") as caught:
        read_rows(participants, (pain,), ("sex",))
    assert caught.value.exit_code == 2


def test_a_table_that_is_not_there_is_named(participants, tmp_path):
    with pytest.raises(UsageError, match=r"--phenotype .*nowhere\.tsv"):
        read_rows(participants, (tmp_path / "nowhere.tsv",))


def test_tabs_at_the_end_of_lines_and_tables_shift_nothing(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\t\nsub-1\t30\t\nsub-2\t40\t\t\nsub-3\n\t\t\n\n")
    assert read_rows(path, (), ("age",)) == [
        {"participant_id": "sub-1", "age": "30"},
        {"participant_id": "sub-2", "age": "40"},
        {"participant_id": "sub-3", "age": ""},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("participant_id\tage\nsub-1\t30\t7\n", "3 cells in line 2 but 2 columns"),
        ("participant_id\tage\nsub-1\t30\n\t40\n", "no participant_id in line 3"),
        ("participant_id\tage\tage\nsub-1\t30\t40\n", "two columns"),
        ('participant_id\tage\nsub-1\t"30\n', "not a table"),
        ("\t\n", "it is empty"),
    ],
)
def test_a_table_of_which_a_value_could_be_anybodys_is_refused(tmp_path, text, words):
    path = tmp_path / "participants.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_rows(path)


def heard_of(participants, *phenotype, needed=(), sessions=()):
    heard = []
    rows = read_rows(participants, phenotype, needed, (), sessions, heard.append)
    return rows, heard


def test_a_phenotype_table_says_whom_it_lacks_and_which_rows_match_nobody(table, participants):
    pain = table("pain.tsv", "participant_id ache\nsub-3 7\n1 2\nsub-9 5")
    (said,) = heard_of(participants, pain)[1]
    assert said == (
        "pain.tsv has 2 of the 3 participants of participants.tsv; its columns are n/a for 1 "
        "(sub-2); 1 of its rows match no participant (sub-9)."
    )
    whole = table("whole.tsv", "participant_id ache\nsub-3 7\n1 2\nsub-2 5")
    assert heard_of(participants, whole)[1] == []


def test_a_phenotype_table_that_matches_nobody_is_refused_where_it_is_needed(table, participants):
    pain = table("pain.tsv", "participant_id ache\n001 7\n002 2")
    with pytest.raises(
        InputError, match=r"0 of the 3 participants.*leading zeros.*no row matches"
    ) as caught:
        heard_of(participants, pain, needed=("ache",))
    assert "sub-001" in str(caught.value)
    assert len(heard_of(participants, pain, needed=("age",))[1]) == 1


VISITS = "participant_id session_id ache\nsub-1 ses-1 7\nsub-1 ses-2 8\n2 1 3\n3 2 4"


def test_of_a_table_with_a_row_a_session_those_of_the_session_asked_for_are_taken(
    table, participants
):
    visits = table("visits.tsv", VISITS)
    for asked, expected in (("1", ["7", "3", "n/a"]), ("ses-2", ["8", "n/a", "4"])):
        rows, _ = heard_of(participants, visits, needed=("ache",), sessions=(asked,))
        assert [row["ache"] for row in rows] == expected


@pytest.mark.parametrize("sessions", [(), ("1", "2")])
def test_a_table_with_a_row_a_session_is_refused_without_a_choice(table, participants, sessions):
    visits = table("visits.tsv", VISITS)
    with pytest.raises(
        UsageError, match=r"\(ses-1: 2, ses-2: 2\)\. Choose one session with --session-id"
    ):
        heard_of(participants, visits, sessions=sessions)


def test_a_session_that_a_table_lacks_is_refused_with_those_it_has(table, participants):
    with pytest.raises(UsageError, match=r"no row of ses-01; it has ses-1: 2, ses-2: 2"):
        heard_of(participants, table("visits.tsv", VISITS), sessions=("01",))


def test_a_table_of_another_session_with_one_row_a_person_is_told(table, participants):
    first = table("first.tsv", "participant_id session_id ache\nsub-1 1 7\n2 1 3\n3 1 4")
    rows, (said,) = heard_of(participants, first, sessions=("2",))
    assert [row["ache"] for row in rows] == ["7", "3", "4"]
    assert "another session than requested (ses-1: 3)" in said

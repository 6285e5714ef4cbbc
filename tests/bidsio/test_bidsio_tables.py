"""The participants table joined with phenotype tables."""

import pytest

from fmmtc_bidsapp.bidsio.tables import read_rows
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
        ("participant_id\tage\tage\nsub-1\t30\t40\n", "names a column twice"),
        ('participant_id\tage\nsub-1\t"30\n', "not a table"),
        ("\t\n", "it is empty"),
    ],
)
def test_a_table_of_which_a_value_could_be_anybodys_is_refused(tmp_path, text, words):
    path = tmp_path / "participants.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_rows(path)

import tarfile

import pytest

from fmmtc_bidsapp.bidsio.tables import read_labels
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions


@pytest.fixture
def table(tmp_path):
    def write(*rows, columns="participant_id type Response"):
        path = tmp_path / "participants.tsv"
        lines = [columns.split(), *(row.split() for row in rows)]
        path.write_text("".join("\t".join(line) + "\n" for line in lines))
        return path

    return write


def outcomes(path, **options):
    labels, _, _ = read_labels(path, CohortOptions(target="Response", **options))
    return {label.participant_id: label.y for label in labels}


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("0.0", "1.0"), ("0", "1.0")])
def test_zero_and_one_are_themselves_however_they_are_written(table, no, yes):
    path = table(f"sub-01 patient {no}", f"sub-02 patient {yes}")
    assert outcomes(path) == {"sub-01": 0, "sub-02": 1}


def test_text_needs_a_positive_value_and_its_values_are_listed(table):
    path = table("sub-01 patient non", "sub-02 patient resp", "sub-03 patient resp")
    with pytest.raises(UsageError, match="non: 1, resp: 2; say with --positive-value"):
        outcomes(path)
    assert outcomes(path, positive_value="resp") == {"sub-01": 0, "sub-02": 1, "sub-03": 1}


def test_numbers_other_than_zero_and_one_need_a_positive_value(table):
    path = table("sub-01 patient 1", "sub-02 patient 2")
    with pytest.raises(UsageError, match="--positive-value"):
        outcomes(path)
    assert outcomes(path, positive_value="2.0") == {"sub-01": 0, "sub-02": 1}


def test_a_positive_value_that_does_not_occur_is_refused(table):
    path = table("sub-01 patient a", "sub-02 patient b")
    with pytest.raises(UsageError, match=r"--positive-value c is not a value.*a: 1, b: 1"):
        outcomes(path, positive_value="c")


def test_three_values_are_refused_with_their_counts(table):
    path = table("sub-01 patient a", "sub-02 patient b", "sub-03 patient c")
    with pytest.raises(UsageError, match="it has 3"):
        outcomes(path, positive_value="a")


def test_one_class_is_unusable_input_with_its_count(table):
    path = table("sub-01 patient 1", "sub-02 patient 1.0")
    with pytest.raises(InputError, match=r"same Response \(1: 2\)") as caught:
        outcomes(path)
    assert caught.value.exit_code == 65


def test_filters_and_missing_outcomes_leave_people_out_with_a_reason(table):
    path = table("sub-01 patient 1", "sub-02 control n/a", "sub-03 patient n/a", "sub-04 patient 0")
    options = CohortOptions(target="Response", where=("type=patient",))
    labels, exclusions, steps = read_labels(path, options)
    assert [label.participant_id for label in labels] == ["sub-01", "sub-04"]
    assert {each.participant_id: each.reason for each in exclusions} == {
        "sub-02": "type is control, not patient",
        "sub-03": "Response is n/a",
    }
    assert [count for _, count in steps] == [4, 3, 2]


def test_a_filter_by_number_takes_any_way_of_writing_it(table):
    path = table("sub-01 1.0 1", "sub-02 1 0", "sub-03 2 0")
    assert set(outcomes(path, where=("type=1",))) == {"sub-01", "sub-02"}


def test_a_filter_that_selects_nobody_lists_the_values(table):
    path = table("sub-01 patient 1", "sub-02 control 0")
    with pytest.raises(InputError, match="type=healthy selects nobody; type holds control, pat"):
        outcomes(path, where=("type=healthy",))


def test_a_filter_without_a_value_is_refused(table):
    with pytest.raises(UsageError, match="COLUMN=VALUE"):
        outcomes(table("sub-01 patient 1"), where=("type",))


@pytest.mark.parametrize("options", [{"where": ("Drug=x",)}, {"stratify_by": ("Drug",)}])
def test_an_absent_column_is_refused_with_those_there_are(table, options):
    with pytest.raises(UsageError, match="no column Drug; it has participant_id, type, Response"):
        outcomes(table("sub-01 patient 1", "sub-02 patient 0"), **options)


def test_an_absent_target_is_wrong_use(table):
    with pytest.raises(UsageError, match="no column Outcome") as caught:
        read_labels(table("sub-01 patient 1"), CohortOptions(target="Outcome"))
    assert caught.value.exit_code == 2


def test_a_participant_with_two_rows_is_refused(table):
    with pytest.raises(InputError, match="two rows for sub-01"):
        outcomes(table("sub-01 patient 1", "01 patient 0"))


def test_strata_are_kept_even_where_unknown(table):
    path = table("sub-01 patient 1", "sub-02 n/a 0")
    labels, _, _ = read_labels(path, CohortOptions(target="Response", stratify_by=("type",)))
    assert [label.strata for label in labels] == [("patient",), ("n/a",)]


def test_without_a_target_nobody_has_an_outcome(table):
    labels, exclusions, _ = read_labels(table("sub-01 patient 1"), CohortOptions())
    assert ([label.y for label in labels], exclusions) == ([None], [])


def test_the_papers_cohort_is_56_patients_with_26_responders(shared, tmp_path):
    with tarfile.open(shared / "data" / "ds000208-skeleton.tar.gz") as tar:
        names = (member for member in tar if member.name.endswith("participants.tsv"))
        tar.extract(next(names), tmp_path, filter="data")
    path = next(tmp_path.rglob("participants.tsv"))
    y = list(outcomes(path, where=("type=patient",), stratify_by=("Drug", "study")).values())
    assert (len(y), sum(y)) == (56, 26)

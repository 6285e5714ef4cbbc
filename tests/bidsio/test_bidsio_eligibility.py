"""Who is eligible by the tables, and what is told of it."""

import json
import tarfile

import pytest

from fmmtc_bidsapp.bidsio.cohort.eligibility import eligibility_columns, read_eligible
from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import ArmCount, EligibilityStep


@pytest.fixture
def table(tmp_path):
    def write(*rows, columns="participant_id type Response", name="participants.tsv"):
        path = tmp_path / name
        lines = [columns.split(), *(row.split() for row in rows)]
        path.write_text("".join("\t".join(line) + "\n" for line in lines))
        return path

    return write


def outcomes(path, **options):
    eligible = read_eligible(path, CohortOptions(target="Response", **options))
    return {label.participant_id: label.y for label in eligible.rows}


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("0.0", "1.0"), ("0", "1.0")])
def test_zero_and_one_are_themselves_however_they_are_written(table, no, yes):
    path = table(f"sub-01 patient {no}", f"sub-02 patient {yes}")
    assert outcomes(path) == {"sub-01": 0, "sub-02": 1}


def test_text_needs_a_positive_value_and_its_values_are_listed(table):
    path = table("sub-01 patient non", "sub-02 patient resp", "sub-03 patient resp")
    with pytest.raises(UsageError, match=r"non: 1, resp: 2. Give the value"):
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
    eligible = read_eligible(path, options)
    assert [label.participant_id for label in eligible.rows] == ["sub-01", "sub-04"]
    assert {each.participant_id: each.reason for each in eligible.exclusions} == {
        "sub-02": "type is control, not patient",
        "sub-03": "Response is n/a",
    }
    assert [each.n for each in eligible.steps] == [4, 3, 2]


def test_every_step_divides_people_by_outcome_and_arm(table):
    rows = ("sub-1 a 1 x", "sub-2 a 0 x", "sub-3 b 1 y", "sub-4 a 0 n/a", "sub-5 a n/a y")
    path = table(*rows, columns="participant_id type Response Drug")
    options = CohortOptions(target="Response", where=("type=a",))
    eligible = read_eligible(path, options, subset_by="Drug")
    assert eligible.steps == (
        EligibilityStep(
            "in participants.tsv",
            5,
            2,
            2,
            (ArmCount("x", 2, 1, 1), ArmCount("y", 2, 1, 0), ArmCount("n/a", 1, 0, 1)),
        ),
        EligibilityStep(
            "type = a",
            4,
            1,
            2,
            (ArmCount("x", 2, 1, 1), ArmCount("y", 1, 0, 0), ArmCount("n/a", 1, 0, 1)),
        ),
        EligibilityStep(
            "Response known",
            3,
            1,
            2,
            (ArmCount("x", 2, 1, 1), ArmCount("y", 0, 0, 0), ArmCount("n/a", 1, 0, 1)),
        ),
    )
    columns = eligibility_columns(eligible.steps)
    assert list(columns)[:5] == ["step", "n", "n_positive", "n_negative", "n_arm-x"]
    assert columns["n_positive_arm-y"] == [1, 0, 0]
    assert [label.arm for label in eligible.rows] == ["x", "x", "n/a"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (("sub-1 patient 1", "sub-2 patient 1"), [(2, None), (2, None), (2, None)]),
        (("sub-1 control 1", "sub-2 other 0"), [(2, None), (0, None), (0, None)]),
    ],
)
def test_steps_are_told_before_an_error_ends_them(table, rows, told):
    heard = []
    options = CohortOptions(target="Response", where=("type=patient",))
    with pytest.raises(InputError):
        read_eligible(table(*rows), options, tell=heard.extend)
    assert [(each.n, each.n_positive) for each in heard] == told


def test_someone_without_a_group_is_left_out_with_the_reason(table):
    path = table("sub-1 a 1", "sub-2 n/a 0", "sub-3 b 0")
    eligible = read_eligible(path, CohortOptions(target="Response", group_by="type"))
    assert [(each.participant_id, each.group) for each in eligible.rows] == [
        ("sub-1", "a"),
        ("sub-3", "b"),
    ]
    (exclusion,) = eligible.exclusions
    assert (exclusion.participant_id, exclusion.reason) == ("sub-2", "type is n/a")
    assert eligible.steps[-1].step == "type known"


def test_a_filter_by_number_takes_any_way_of_writing_it(table):
    path = table("sub-01 1.0 1", "sub-02 1 0", "sub-03 2 0")
    assert set(outcomes(path, where=("type=1",))) == {"sub-01", "sub-02"}


def test_a_filter_that_selects_nobody_lists_the_values(table):
    path = table("sub-01 patient 1", "sub-02 control 0")
    with pytest.raises(
        InputError, match="type=healthy matches no participant; type has control, pat"
    ):
        outcomes(path, where=("type=healthy",))


def test_a_second_filter_that_selects_nobody_lists_what_the_first_left(table):
    path = table("sub-1 a 1 x", "sub-2 b 0 y", columns="participant_id type Response Drug")
    with pytest.raises(InputError, match="Drug=y matches no participant; Drug has x"):
        outcomes(path, where=("type=a", "Drug=y"))


def test_outcomes_that_are_all_missing_leave_nobody(table):
    with pytest.raises(InputError, match=r"is left: in participants\.tsv: 1, Response known: 0"):
        outcomes(table("sub-1 a n/a"))


def test_a_filter_without_a_value_is_refused(table):
    with pytest.raises(UsageError, match="COLUMN=VALUE"):
        outcomes(table("sub-01 patient 1"), where=("type",))


@pytest.mark.parametrize(
    "options",
    [
        {"where": ("Drug=x",)},
        {"stratify_by": ("Drug",)},
        {"group_by": "Drug"},
        {"covariates": ("Drug",)},
    ],
)
def test_an_absent_column_is_refused_with_those_there_are(table, options):
    path = table("sub-01 patient 1", "sub-02 patient 0")
    with pytest.raises(UsageError, match=r"no column Drug: .* has participant_id, type, Response"):
        outcomes(path, **options)


def test_an_absent_column_of_arms_is_refused(table):
    with pytest.raises(UsageError, match="no column Drug"):
        read_eligible(table("sub-1 a 1", "sub-2 a 0"), CohortOptions(), subset_by="Drug")


def test_an_absent_target_is_wrong_use(table):
    with pytest.raises(UsageError, match="no column Outcome") as caught:
        read_eligible(table("sub-01 patient 1"), CohortOptions(target="Outcome"))
    assert caught.value.exit_code == 2


def test_strata_and_covariates_are_kept_even_where_unknown(table):
    path = table("sub-01 patient 1", "sub-02 n/a 0")
    options = CohortOptions(target="Response", stratify_by=("type",), covariates=("type",))
    rows = read_eligible(path, options).rows
    assert [label.strata for label in rows] == [("patient",), ("n/a",)]
    assert [label.covariates for label in rows] == [("patient",), ("n/a",)]


def test_without_a_target_nobody_has_an_outcome(table):
    eligible = read_eligible(table("sub-01 patient 1"), CohortOptions())
    assert ([label.y for label in eligible.rows], eligible.exclusions) == ([None], ())
    assert eligible.steps == (EligibilityStep("in participants.tsv", 1),)


ZERO_ONE = OutcomeCoding("Response", "1", "0", "yes", "no")
"""What a model was trained on."""


def of_new_people(path, trained=ZERO_ONE, where=(), **options):
    options = CohortOptions(target="Response", where=where, **options)
    return [each.y for each in read_eligible(path, options, trained=trained).rows]


def describe(path, **levels):
    text = json.dumps({"Response": {"Levels": levels}})
    path.with_suffix(".json").write_text(text)
    return path


@pytest.mark.parametrize(
    ("rows", "positive", "trained", "expected"),
    [
        (("sub-1 a 1", "sub-2 a 0", "sub-3 a n/a"), None, ZERO_ONE, [1, 0, None]),
        (("sub-1 a 1.0", "sub-2 a n/a"), "1", ZERO_ONE, [1, None]),
        (("sub-1 a 0", "sub-2 a n/a"), "1.0", ZERO_ONE, [0, None]),
        (
            ("sub-1 a resp", "sub-2 a non"),
            None,
            OutcomeCoding("Response", "resp", "non"),
            [1, 0],
        ),
        (("sub-1 a n/a",), None, ZERO_ONE, [None]),
        # The user says how this table is coded.
        (("sub-1 a 1", "sub-2 a 2"), "2", ZERO_ONE, [0, 1]),
        (("sub-1 a resp", "sub-2 a non"), "resp", ZERO_ONE, [1, 0]),
    ],
)
def test_new_people_are_read_by_the_values_of_the_training_or_as_the_user_states(
    table, rows, positive, trained, expected
):
    assert of_new_people(table(*rows), trained, positive_value=positive) == expected


def test_an_optional_outcome_without_its_column_is_unknown_for_all(table):
    options = CohortOptions(target="Improved", where=("type=a",))
    eligible = read_eligible(table("sub-1 a 1"), options, trained=ZERO_ONE)
    assert ([label.y for label in eligible.rows], eligible.others) == ([None], None)


@pytest.mark.parametrize("values", [("1", "2"), ("1", "0", "2"), ("2", "2"), ("yes", "no")])
def test_a_table_with_a_value_that_the_training_had_not_is_refused(table, values):
    path = table(*(f"sub-{i} a {value}" for i, value in enumerate(values)))
    with pytest.raises(UsageError, match=r"1 \(yes\) is positive, 0 \(no\)") as caught:
        of_new_people(path)
    assert f"{values[-1]}: " in str(caught.value)
    assert "--positive-value" in str(caught.value)


def test_a_value_elsewhere_in_the_table_says_how_it_is_coded(table):
    # Of the people asked for all have 1, which by this table's other rows may well mean no.
    path = table("sub-1 a 1", "sub-2 b 2")
    with pytest.raises(UsageError, match="1: 1, 2: 1"):
        of_new_people(path, where=("type=a",))
    path = table("sub-1 a 1", "sub-2 a 0", "sub-3 b control")
    assert of_new_people(path, where=("type=a",)) == [1, 0]


@pytest.mark.parametrize("values", ["1 3", "0", "1 2 0"])
def test_a_stated_positive_value_leaves_nothing_to_be_guessed(table, values):
    path = table(*(f"sub-{i} a {value}" for i, value in enumerate(values.split())))
    with pytest.raises(UsageError, match="--positive-value"):
        of_new_people(path, positive_value="2")


def test_values_that_mean_the_other_outcome_here_are_refused(table):
    path = table("sub-1 a 1", "sub-2 a 0")
    describe(path, **{"0": "Yes.", "1": "No."})
    with pytest.raises(UsageError, match=r"means 'No\.', the other outcome"):
        of_new_people(path)
    assert of_new_people(path, positive_value="0") == [0, 1]
    with pytest.raises(UsageError, match="the other outcome"):
        of_new_people(path, positive_value="1")


def test_values_described_in_other_words_need_to_be_stated(table):
    path = describe(table("sub-1 a 1", "sub-2 a 0"), **{"0": "no", "1": "remission"})
    with pytest.raises(UsageError, match=r"'remission' in the JSON .* 'yes' in the training"):
        of_new_people(path)
    assert of_new_people(path, positive_value="1") == [1, 0]
    describe(path, **{"0": " NO", "1": "yes!"})
    assert of_new_people(path) == [1, 0]


def test_the_coding_of_the_training_is_kept_with_its_meaning(table):
    path = describe(table("sub-1 a 1.0", "sub-2 a 0"), **{"0": "no", "1": "yes", "9": "lost"})
    coding = read_eligible(path, CohortOptions(target="Response")).divisions.coding
    assert coding == ZERO_ONE
    assert str(coding) == "Response: 1 (yes) is positive, 0 (no) is negative"
    path = table("sub-1 a b", "sub-2 a c")
    path.with_suffix(".json").unlink()
    options = CohortOptions(target="Response", positive_value="c")
    assert read_eligible(path, options).divisions.coding == OutcomeCoding("Response", "c", "b")


def test_levels_of_a_phenotype_table_and_of_objects_are_read(table, tmp_path):
    scores = tmp_path / "scores.tsv"
    scores.write_text("participant_id\tImproved\nsub-1\t1\nsub-2\t0\n")
    about = {"Improved": {"Levels": {"1": {"Description": "better"}, "0": {"TermURL": "x"}}}}
    scores.with_suffix(".json").write_text(json.dumps(about))
    path = table("sub-1 a 1", "sub-2 a 0")
    options = CohortOptions(target="Improved")
    coding = read_eligible(path, options, phenotype=(scores,)).divisions.coding
    assert (coding.positive_meaning, coding.negative_meaning) == ("better", None)


def test_the_papers_cohort_is_table_2_of_the_paper(shared, tmp_path):
    with tarfile.open(shared / "data" / "ds000208-skeleton.tar.gz") as tar:
        names = (member for member in tar if member.name.endswith("participants.tsv"))
        tar.extract(next(names), tmp_path, filter="data")
    path = next(tmp_path.rglob("participants.tsv"))
    options = CohortOptions(
        target="Response", where=("type=patient",), stratify_by=("Drug", "study")
    )
    eligible = read_eligible(path, options, subset_by="Drug")
    first, _, last = eligible.steps
    everyone = (ArmCount("duloxetine", 19, 8, 11), ArmCount("placebo", 37, 18, 19))
    assert (first.n, first.n_positive, first.n_negative) == (76, 26, 30)
    assert first.arms == (*everyone, ArmCount("n/a", 20, 0, 0))
    assert (last.n, last.n_positive, last.n_negative) == (56, 26, 30)
    assert last.arms == (*everyone, ArmCount("n/a", 0, 0, 0))
    assert sum(label.y for label in eligible.rows) == 26


def test_arms_called_positive_and_negative_overwrite_no_total(table):
    rows = ("sub-1 1 positive", "sub-2 0 negative", "sub-3 1 negative", "sub-4 0 positive_1")
    path = table(*rows, columns="participant_id Response Drug")
    steps = read_eligible(path, CohortOptions(target="Response"), subset_by="Drug").steps
    columns = {name: values[0] for name, values in eligibility_columns(steps).items()}
    assert [columns[name] for name in ("n", "n_positive", "n_negative")] == [4, 2, 2]
    assert [columns[f"{name}arm-negative"] for name in ("n_", "n_positive_", "n_negative_")] == [
        2, 1, 1,
    ]  # fmt: skip
    assert len(columns) == 1 + 3 * (1 + 3)


def test_labels_that_the_table_does_not_have_are_named(table):
    path = table("sub-01 patient 1", "sub-02 patient 0")
    options = CohortOptions(target="Response")
    with pytest.raises(InputError, match=r"--participant-label: .*no row for sub-98, sub-99"):
        read_eligible(path, options, participants=("98", "sub-99"))
    found = read_eligible(path, options, participants=("01", "02", "99"))
    assert [(each.participant_id, each.reason) for each in found.exclusions] == [
        ("sub-99", "not in participants.tsv")
    ]

import json
import tarfile

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.cohort.cohort import counted_reasons, read_cohort
from fmmtc_bidsapp.bidsio.cohort.eligibility import Eligible, LabelRow, read_eligible
from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import EligibilityStep, Exclusion


@pytest.fixture
def heard():
    """Steps that were told."""
    return []


@pytest.fixture
def cohort(tmp_path, heard):
    def read(
        table,
        *,
        participants=(),
        sessions=(),
        smallest_class=1,
        trained=None,
        warn=lambda line: None,
        **options,
    ):
        chosen = CohortOptions(**({"target": "Response"} if table else {}), **options)
        eligible = Eligible(others=LabelRow(""))
        if table is not None:
            path = tmp_path / "participants.tsv"
            rows = "".join(f"{who}\t{y}\n" for who, y in table.items())
            path.write_text("participant_id\tResponse\n" + rows)
            eligible = read_eligible(path, chosen, participants=participants, trained=trained)
        query = Query(participants, sessions, (), ())
        return read_cohort(
            tmp_path / "out",
            eligible,
            chosen,
            query,
            smallest_class=smallest_class,
            tell=heard.extend,
            warn=warn,
        )

    return read


def rest(sub, **more):
    return {"sub": sub, "task": "rest"} | more


def reasons(cohort):
    return {each.participant_id: each.reason for each in cohort.exclusions}


def test_runs_of_a_person_are_one_example_with_the_outcome(written, cohort):
    written(rest("02"))
    written(rest("01", run="1"))
    written(rest("01", run="2"))
    found = cohort({"sub-01": 1, "sub-02": 0})
    assert [(person.key, person.y, len(person.runs)) for person in found.people] == [
        ("sub-01", 1, 2),
        ("sub-02", 0, 1),
    ]
    assert (found.parcels, found.tr_s) == (("R_V1", "R_MST", "L_V1"), (2.0,))
    assert (found.atlas_label, found.atlas_digest) == ("A424", "00")


def test_the_order_of_rows_and_of_files_changes_nothing_of_the_cohort(written, cohort):
    for sub in ("03", "01", "02"):
        written(rest(sub))
    table = {"sub-01": 1, "sub-02": 0, "sub-03": 1}
    mixed = cohort(dict(reversed(table.items())))
    assert [each.key for each in mixed.people] == ["sub-01", "sub-02", "sub-03"]
    assert mixed.people == cohort(table).people


def test_people_in_only_one_of_table_and_series_are_listed(written, cohort):
    for sub in ("01", "02", "03"):
        written(rest(sub))
    found = cohort({"sub-01": 1, "sub-02": 0, "sub-04": 1})
    assert reasons(found) == {
        "sub-03": "not in the participants table",
        "sub-04": "no series",
    }
    assert found.eligibility[-2:] == (
        EligibilityStep("with series", 2, 1, 1),
        EligibilityStep("with usable series", 2, 1, 1),
    )
    assert found.count("encoded", found.people[:1]) == EligibilityStep("encoded", 1, 1, 0)


def test_someone_left_out_by_the_table_is_listed_once(written, cohort):
    for sub in ("01", "02", "03"):
        written(rest(sub))
    found = cohort({"sub-01": 1, "sub-02": 0, "sub-03": "n/a"})
    assert [each.reason for each in found.exclusions] == ["Response is n/a"]


def test_an_unusable_run_is_left_out_with_its_reason_unless_kept(written, cohort):
    written(rest("01"))
    written(rest("02"))
    bad = written(rest("01", run="2"), changes={"usable": False, "reasons": "mean FD 0.9 mm"})
    table = {"sub-01": 1, "sub-02": 0}
    found = cohort(table)
    assert reasons(found) == {"sub-01": f"{bad.timeseries.name}: mean FD 0.9 mm"}
    assert [len(person.runs) for person in found.people] == [1, 1]
    assert [len(person.runs) for person in cohort(table, keep_unusable=True).people] == [2, 1]


def test_two_sessions_of_a_person_need_a_choice(written, cohort):
    for session in ("1", "2"):
        written(rest("01", ses=session))
        written(rest("02", ses=session))
    table = {"sub-01": 1, "sub-02": 0}
    with pytest.raises(UsageError, match=r"sub-01 has sessions ses-1, ses-2.*--session-id"):
        cohort(table)
    keys = [person.key for person in cohort(table, sessions=["2"]).people]
    assert keys == ["sub-01_ses-2", "sub-02_ses-2"]


def test_different_parcel_lists_are_refused_naming_both_files(written, cohort):
    one = written(rest("01"))
    other = written(rest("02"), parcels=("R_V1", "L_V1", "R_MST"))
    with pytest.raises(InputError, match=r"different atlases or parcels") as caught:
        cohort({"sub-01": 1, "sub-02": 0})
    assert str(one.timeseries) in str(caught.value)
    assert str(other.timeseries) in str(caught.value)
    assert caught.value.exit_code == 65


def test_two_versions_of_an_atlas_are_refused(written, cohort):
    written(rest("01"))
    written(rest("02"), digest="11")
    with pytest.raises(InputError, match="different atlases"):
        cohort({"sub-01": 1, "sub-02": 0})


def test_a_class_smaller_than_needed_is_refused_with_the_counts(written, cohort):
    for sub in ("01", "02", "03"):
        written(rest(sub))
    with pytest.raises(InputError, match=r"1 positive and 2 negative.*each outcome needs 2"):
        cohort({"sub-01": 1, "sub-02": 0, "sub-03": 0}, smallest_class=2)


def test_nobody_left_is_refused_with_the_steps(written, cohort, heard):
    written(rest("01"))
    with pytest.raises(InputError, match="with series: 0"):
        cohort({"sub-08": 1, "sub-09": 0})
    assert [(each.step, each.n) for each in heard] == [
        ("with series", 0),
        ("with usable series", 0),
    ]


def test_a_folder_without_any_series_is_a_step_of_nobody_and_an_error(cohort, heard, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"with series: 0.*has no parcel series") as caught:
        cohort({"sub-08": 1, "sub-09": 0})
    assert caught.value.exit_code == 65
    assert heard[0] == EligibilityStep("with series", 0, 0, 0)


def test_where_outcomes_are_optional_everyone_with_series_enters(written, cohort):
    for sub in ("01", "02", "03"):
        written(rest(sub))
    trained = OutcomeCoding("Response", "1", "0")
    found = cohort({"sub-01": 1, "sub-02": "n/a", "sub-09": 0}, smallest_class=0, trained=trained)
    assert [(each.key, each.y) for each in found.people] == [
        ("sub-01", 1),
        ("sub-02", None),
        ("sub-03", None),
    ]
    assert [(each.step, each.n, each.n_positive) for each in found.eligibility] == [
        ("with series", 3, 1),
        ("with usable series", 3, 1),
    ]
    assert found.exclusions == ()


def matrices(root, people, *, ending, scale=0.5, sidecar=None, columns=("a", "b", "c")):
    """Write a matrix a person, its order that of the columns."""
    for who in people:
        path = root / f"sub-{who.split('_')[0]}" / "func" / f"sub-{who}_{ending}_relmat.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            "\t".join([one, *("1" if one == other else str(scale) for other in columns)])
            for one in columns
        ]
        path.write_text("\n".join(["\t".join(["Node", *columns]), *rows]) + "\n")
        if sidecar is not None:
            path.with_suffix(".json").write_text(json.dumps(sidecar))


OURS = "task-rest_space-MNI152NLin6Asym_atlas-A424_stat-pearsoncorrelation_desc-simple"
GIGA = "task-rest_seg-Schaefer_meas-PearsonCorrelation_desc-simple"


@pytest.mark.parametrize("ending", [OURS, OURS.replace("_desc-simple", ""), GIGA])
def test_a_folder_of_matrices_alone_is_read_by_them(cohort, tmp_path, ending):
    told = {"FisherZ": True, "NumberOfVolumesRetained": 90, "MeanFramewiseDisplacement": 0.2}
    matrices(tmp_path / "out", ("01", "02"), ending=ending, sidecar=told)
    found = cohort({"sub-01": 1, "sub-02": 0})
    assert not found.has_series
    assert (found.parcels, found.atlas_label) == (
        ("a", "b", "c"),
        "Schaefer" if "seg" in ending else "A424",
    )
    (run,) = found.people[0].runs
    assert (run.is_matrix, run.fisher_z, run.n_volumes_retained) == (True, True, 90)
    assert run.mean_fd_mm == 0.2
    assert [each.step for each in found.eligibility[-2:]] == [
        "with matrices",
        "with usable matrices",
    ]


def test_matrices_are_not_read_where_there_are_series(written, cohort, tmp_path):
    written(rest("01"))
    written(rest("02"))
    matrices(tmp_path / "out", ("03",), ending=OURS)
    found = cohort({"sub-01": 1, "sub-02": 0, "sub-03": 0})
    assert found.has_series
    assert reasons(found) == {"sub-03": "no files found (selected: all)"}


def test_matrices_of_the_same_parcels_in_another_order_are_taken_and_others_refused(
    cohort, tmp_path
):
    root = tmp_path / "out"
    matrices(root, ("01",), ending=OURS)
    matrices(root, ("02",), ending=OURS, columns=("c", "a", "b"))
    assert cohort({"sub-01": 1, "sub-02": 0}).parcels == ("a", "b", "c")
    matrices(root, ("02",), ending=OURS, columns=("c", "a", "d"))
    with pytest.raises(InputError, match="different atlases or parcels"):
        cohort({"sub-01": 1, "sub-02": 0})


def test_another_measure_than_correlation_is_refused_and_beside_it_left_out(cohort, tmp_path):
    root, table = tmp_path / "out", {"sub-01": 1, "sub-02": 0}
    other = OURS.replace("pearsoncorrelation", "partialcorrelation")
    matrices(root, ("01", "02"), ending=other)
    with pytest.raises(InputError, match=r"are partial-correlation; models need corr"):
        cohort(table)
    matrices(root, ("01", "02"), ending=OURS)
    assert [len(person.runs) for person in cohort(table).people] == [1, 1]


def test_a_matrix_over_all_runs_is_left_out_where_the_runs_are_there(cohort, tmp_path):
    root = tmp_path / "out"
    numbered = OURS.replace("task-rest", "task-rest_run-{}")
    for run in (1, 2):
        matrices(root, ("01",), ending=numbered.format(run))
    matrices(root, ("01", "02"), ending=OURS)
    found = cohort({"sub-01": 1, "sub-02": 0})
    assert [len(person.runs) for person in found.people] == [2, 1]
    assert "combines several runs that exist too" in reasons(found)["sub-01"]


def test_without_a_table_everyone_with_series_is_read(written, cohort):
    written(rest("01"))
    written(rest("02"))
    found = cohort(None, smallest_class=5)
    assert [(person.key, person.y) for person in found.people] == [
        ("sub-01", None),
        ("sub-02", None),
    ]


def test_only_the_participants_asked_for_are_read(written, cohort):
    for sub in ("01", "02", "03"):
        written(rest(sub))
    found = cohort({"sub-01": 1, "sub-02": 0, "sub-03": 0}, participants=["01", "sub-02"])
    assert [person.key for person in found.people] == ["sub-01", "sub-02"]
    assert found.exclusions == ()


def test_coordinates_are_matched_to_parcels_by_name(written, cohort):
    files = written(rest("01"))
    written(rest("02"))
    table = (
        files.output_dir
        / "tpl-MNI152NLin6Asym"
        / ("tpl-MNI152NLin6Asym_atlas-A424_res-02_dseg.tsv")
    )
    table.parent.mkdir()
    table.write_text(
        "index\tname\tnetwork\tx\ty\tz\n1\tL_V1\tleft\t1\t1\t1\n"
        "2\tR_V1\tright\t2\t2\t2\n3\tR_MST\tmst\t3\t3\t3\n"
    )
    found = cohort({"sub-01": 1, "sub-02": 0})
    np.testing.assert_array_equal(found.coordinates_mm[:, 0], [2, 3, 1])


@pytest.mark.slow
def test_the_real_trial_has_49_labelled_people_with_series(shared, tmp_path):
    with tarfile.open(shared / "data" / "stages.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    root = next(tmp_path.rglob("participants.tsv")).parent
    options = CohortOptions(target="sofas_improved_6mo")
    found = read_cohort(
        root / "derivatives" / "parcels",
        read_eligible(root / "participants.tsv", options),
        options,
        Query((), (), (), ()),
        smallest_class=5,
    )
    assert (len(found.people), sum(person.y for person in found.people)) == (49, 24)
    assert (len(found.parcels), found.tr_s) == (419, (2.0,))
    assert len(found.exclusions) == 6


def test_ids_whose_zeros_a_spreadsheet_ate_are_named_and_matched_with_nobody(written, cohort):
    for sub in ("001", "002", "003"):
        written(rest(sub))
    with pytest.raises(InputError, match="No participant is left") as caught:
        cohort({"1": 1, "2": 0, "3": 1})
    said = str(caught.value)
    assert "3 participants of the table (sub-1, sub-2, sub-3) have no files" in said
    assert "3 participants with files (sub-001, sub-002, sub-003) are not in the table" in said
    assert "leading zeros were restored (001 for 1)" in said
    assert (
        "Left out: 3 (sub-001, …): not in the participants table; 3 (sub-1, …): no series." in said
    )


def test_ids_of_which_some_lost_their_zeros_are_warned_of(written, cohort):
    for sub in ("01", "09", "10", "11"):
        written(rest(sub))
    said = []
    found = cohort({"1": 1, "9": 0, "10": 1, "11": 0}, warn=said.append)
    assert [person.key for person in found.people] == ["sub-10", "sub-11"]
    assert "2 of them would match if leading zeros" in said[0]


def test_a_session_that_nobody_has_is_refused_with_those_there_are(written, cohort):
    written(rest("01", ses="01"))
    with pytest.raises(InputError, match=r"selected: ses 1; there is ses-01\)"):
        cohort({"sub-01": 1, "sub-02": 0}, sessions=["1"])


def test_someone_with_another_session_is_told_which(written, cohort):
    written(rest("01", ses="1"))
    written(rest("02", ses="1"))
    written(rest("03", ses="01"))
    found = cohort({"sub-01": 1, "sub-02": 0, "sub-03": 1}, sessions=["1"])
    assert reasons(found)["sub-03"].endswith("(selected: ses 1; there is ses-01)")


def test_a_label_that_looks_like_one_that_is_there_is_answered_with_it(written, cohort):
    written(rest("001"))
    written(rest("002"))
    with pytest.raises(InputError, match=r"selected: sub 1; there is sub-001\)"):
        cohort(None, participants=["1"])
    found = cohort(None, participants=["1", "002"])
    assert reasons(found)["sub-1"].endswith("; there is sub-001")


def test_exclusions_are_counted_by_reason_whatever_the_file_and_the_figure():
    exclusions = [
        *(
            Exclusion(f"sub-{i}", None, "quality", f"sub-{i}_x.tsv: mean FD 0.{i} mm")
            for i in "789"
        ),
        Exclusion("sub-1", None, "table", "y is n/a"),
        Exclusion("sub-2", None, "series", "no series"),
    ]
    assert counted_reasons(exclusions) == (
        "Left out: 3 (sub-7, …): sub-7_x.tsv: mean FD 0.7 mm; 1 (sub-1): y is n/a; 1 (sub-2): no "
        "series."
    )
    assert counted_reasons([]) == ""

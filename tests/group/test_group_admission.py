"""Who enters an analysis, what is printed of it, and what becomes of their files."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parcel_study import write_parcel_study

from fmmtc_bidsapp.bidsio.cohort.outcome import OutcomeCoding
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.group.cohort.admission import announce, read_people
from fmmtc_bidsapp.group.encode.encoder_config import EncoderChoice, coordinates
from fmmtc_bidsapp.group.tasks.compute import check_encoder
from fmmtc_bidsapp.group.tasks.encoding import Encoded, encode
from fmmtc_bidsapp.models.encoders.windows import normalise
from fmmtc_bidsapp.options import CohortOptions, ModelOptions, ProtocolOptions
from fmmtc_bidsapp.plan import GroupPlan, Resources

PATIENTS = CohortOptions(target="Response", where=("type=patient",))


def plan_of(
    bids: Path,
    folder: Path,
    cohort: CohortOptions,
    *,
    series: Path | None = None,
    subset_by: str | None = None,
) -> GroupPlan:
    """Plan a training whose nodes run in this process."""
    plugin = folder / "plugin.yml"
    plugin.write_text("plugin: Linear\n")
    return GroupPlan(
        bids_dir=bids,
        output_dir=folder / "out",
        run_id="1",
        resources=Resources(work_dir=folder / "work", plugin_file=plugin),
        analysis="train",
        label="fmmtc",
        derivatives={} if series is None else {"parcels": series},
        cohort=cohort,
        protocol=ProtocolOptions(subset_by=subset_by),
    )


@pytest.fixture(scope="module")
def ds000208(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real participants table; of the images nobody has any."""
    folder = tmp_path_factory.mktemp("bids")
    with tarfile.open(shared / "data" / "ds000208-skeleton.tar.gz") as tar:
        member = next(each for each in tar if each.name == "ds000208/participants.tsv")
        tar.extract(member, folder, filter="data")
    return folder / "ds000208"


def test_table_2_of_the_paper_is_printed_before_its_missing_series_end_the_run(
    ds000208: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(ds000208, tmp_path, PATIENTS, subset_by="Drug")
    plan.output_dir.mkdir()
    with pytest.raises(InputError, match="with series: 0") as caught:
        read_people(plan, plan.cohort, smallest_class=5)
    assert caught.value.exit_code == 65
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    header = ["People", "all", "positive", "negative", "duloxetine", "placebo", "n/a"]
    patients = ["56", "26", "30", "19", "(8/11)", "37", "(18/19)", "0", "(0/0)"]
    nobody = ["0", "0", "0", "0", "(0/0)", "0", "(0/0)", "0", "(0/0)"]
    assert lines == [
        header,
        ["in", "participants.tsv", "76", "26", "30", *patients[3:7], "20", "(0/0)"],
        ["type", "=", "patient", *patients],
        ["Response", "known", *patients],
        header,
        ["with", "series", *nobody],
        ["with", "usable", "series", *nobody],
    ]


def test_the_column_that_is_the_outcome_is_refused_though_nobody_has_series(
    ds000208: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(ds000208 / "participants.tsv", sep="\t")
    outcome, other = (column for column in table if column.startswith("%"))
    for columns in ((outcome,), ("Age", outcome, other)):
        plan = plan_of(ds000208, tmp_path, replace(PATIENTS, covariates=columns))
        with pytest.raises(UsageError, match=rf"{outcome} has an AUROC of 1\.00") as caught:
            read_people(plan, plan.cohort, smallest_class=5)
        assert caught.value.exit_code == 2


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_parcel_study(tmp_path_factory.mktemp("study") / "bids")
    parcels = pd.DataFrame({"index": range(1, 9), "name": [f"P{i}" for i in range(8)]})
    xyz = np.random.default_rng(0).integers(-60, 60, (8, 3))
    parcels[["x", "y", "z"]] = xyz
    parcels.to_csv(folder / "derivatives/parcels/atlas-Tiny_dseg.tsv", sep="\t", index=False)
    return folder


OPTIONS = CohortOptions(
    target="response", covariates=("age", "site"), group_by="site", stratify_by=("arm",)
)


def encode_study(study: Path, folder: Path, cohort: CohortOptions, **model: object) -> Encoded:
    plan = plan_of(study, folder, cohort, series=study / "derivatives" / "parcels", subset_by="arm")
    options = ModelOptions(**{"window": 40, "token_orders": 1, **model})  # type: ignore[arg-type]
    people = read_people(plan, plan.cohort, smallest_class=2)
    choice = EncoderChoice(
        options,
        0,
        check_encoder(options, 0),
        coordinates(people, options)[0],
        "cpu",
        "float32",
        also_random=True,
    )
    return encode(plan, people, choice, folder)


def test_people_become_examples_with_all_that_is_known_of_them(study: Path, tmp_path: Path) -> None:
    encoded = encode_study(study, tmp_path, OPTIONS, encoder="random")
    examples = encoded.examples
    table = pd.read_csv(study / "participants.tsv", sep="\t")
    assert list(examples.keys) == table["participant_id"].tolist()
    np.testing.assert_array_equal(examples.y, table["response"])
    assert list(examples.arms) == table["arm"].tolist()
    assert list(examples.groups) == table["site"].tolist()
    sites = sorted(set(table["site"]))
    assert examples.covariate_names == ("age", *(f"site={site}" for site in sites))
    np.testing.assert_array_equal(examples.covariates[:, 0], table["age"])
    np.testing.assert_array_equal(
        examples.covariates[:, 1:], table["site"].to_numpy()[:, None] == np.array(sites)
    )
    series = pd.read_csv(
        next((study / "derivatives/parcels/sub-03").rglob("*.tsv")), sep="\t"
    ).to_numpy()
    np.testing.assert_allclose(
        examples.series[2], normalise(series, "scan")[:40].T, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(examples.fc[2], np.corrcoef(series.T), atol=1e-6)
    assert examples.cls.shape == (12, 256)
    assert (examples.cls_random, examples.mean_fd_mm) == (None, None)
    assert examples.coordinates_mm.shape == (8, 3)
    assert encoded.duplicates == ()
    assert [each.name for each in encoded.covariate_levels] == ["age", "site"]


def test_a_scan_under_two_names_is_told(study: Path, tmp_path: Path) -> None:
    copy = write_parcel_study(tmp_path / "bids")
    func = copy / "derivatives" / "parcels"
    one = next((func / "sub-01").rglob("*.tsv"))
    next((func / "sub-05").rglob("*.tsv")).write_bytes(one.read_bytes())
    encoded = encode_study(copy, tmp_path, CohortOptions(target="response"), encoder="none")
    assert [(each.first, each.second) for each in encoded.duplicates] == [("sub-01", "sub-05")]


def test_the_encoder_without_pretraining_is_the_random_one(
    study: Path, tmp_path: Path, shared: Path
) -> None:
    cohort = CohortOptions(target="response")
    weights = str(shared / "reference" / "brainlm-tiny")
    both = encode_study(study, tmp_path, cohort, encoder="brainlm", encoder_weights=weights)
    alone = encode_study(study, tmp_path, cohort, encoder="random")
    assert alone.examples.cls_random is None
    np.testing.assert_array_equal(both.examples.cls_random, alone.examples.cls)
    assert not np.array_equal(both.examples.cls, alone.examples.cls)


def write_matrices(study: Path, folder: Path, fisher_z: bool) -> Path:
    """Keep of everyone's series the matrix alone."""
    out = folder / "matrices"
    for path in sorted((study / "derivatives" / "parcels").rglob("*timeseries.tsv")):
        series = pd.read_csv(path, sep="\t")
        matrix = np.corrcoef(series.to_numpy().T)
        if fisher_z:
            np.fill_diagonal(matrix, np.nan)
            matrix = np.arctanh(matrix)
        name = path.name.replace("stat-mean_timeseries", "stat-pearsoncorrelation_relmat")
        written = out / path.parents[1].name / "func" / name
        written.parent.mkdir(parents=True)
        columns = list(series.columns)
        table = pd.DataFrame(matrix, columns=columns)
        table.insert(0, "Node", columns)
        table.to_csv(written, sep="\t", index=False, na_rep="n/a")
        written.with_suffix(".json").write_text(f'{{"FisherZ": {str(fisher_z).lower()}}}')
    return out


@pytest.mark.parametrize("fisher_z", [False, True])
def test_matrices_alone_give_the_connectivity_of_their_series(
    study: Path, tmp_path: Path, fisher_z: bool
) -> None:
    cohort = CohortOptions(target="response")
    expected = encode_study(study, tmp_path, cohort, encoder="none").examples
    (tmp_path / "again").mkdir()
    plan = plan_of(
        study, tmp_path / "again", cohort, series=write_matrices(study, tmp_path, fisher_z)
    )
    people = read_people(plan, cohort, smallest_class=2)
    choice = EncoderChoice(ModelOptions(encoder="none"), 0, "none", None, "cpu", "float32")
    found = encode(plan, people, choice, tmp_path)
    np.testing.assert_allclose(found.examples.fc, expected.fc, atol=1e-6)
    assert found.examples.cls.shape == (12, 0)
    assert (found.examples.series, found.examples.coordinates_mm) == (None, None)
    assert found.n_volumes == [[None]] * 12


def test_what_is_announced_tells_covariates_and_what_they_do_not_tell(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = write_parcel_study(tmp_path / "bids")
    table = pd.read_csv(copy / "participants.tsv", sep="\t").assign(scanner="A")
    table.to_csv(copy / "participants.tsv", sep="\t", index=False)
    cohort = CohortOptions(target="response", covariates=("age", "arm", "scanner"))
    plan = plan_of(copy, tmp_path, cohort, series=copy / "derivatives" / "parcels")
    announce(plan, read_people(plan, cohort, smallest_class=2), "mind the gap")
    said = capsys.readouterr().out
    assert "Covariates: age (number), arm (drug/placebo), scanner (A)" in said
    assert "WARNING: scanner is A for all participants with a value." in said
    assert "WARNING: mind the gap" in said


@pytest.mark.parametrize("table", ["whole", "absent", "without the outcome"])
def test_people_to_predict_need_no_row_and_no_outcome(
    study: Path, tmp_path: Path, table: str
) -> None:
    bids = tmp_path / "new"
    bids.mkdir()
    rows = pd.read_csv(study / "participants.tsv", sep="\t", dtype=str)[:4]
    if table == "without the outcome":
        rows = rows.drop(columns="response")
    if table != "absent":
        rows.to_csv(bids / "participants.tsv", sep="\t", index=False)
    cohort = CohortOptions(target="response", positive_value="1")
    plan = plan_of(bids, tmp_path, cohort, series=study / "derivatives" / "parcels")
    trained = OutcomeCoding("response", "1", "0")
    people = read_people(plan, cohort, smallest_class=0, trained=trained).people
    known = [int(y) for y in rows["response"]] if table == "whole" else [None] * 4
    assert [person.y for person in people] == [*known, *[None] * 8]

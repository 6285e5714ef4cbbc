"""Work grows with the number of people, not with its square: comparisons are counted, no clock."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from fmmtc_bidsapp.bidsio.cohort import cohort as cohort_module
from fmmtc_bidsapp.bidsio.cohort import eligibility, outcome
from fmmtc_bidsapp.bidsio.cohort.cohort import read_cohort
from fmmtc_bidsapp.bidsio.cohort.distinct_runs import merged_runs, refuse_duplicate_scans
from fmmtc_bidsapp.bidsio.cohort.eligibility import eligibility_columns, read_eligible
from fmmtc_bidsapp.bidsio.files.sidecar import json_names
from fmmtc_bidsapp.bidsio.layout import find_runs as find
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.bidsio.tables import tables
from fmmtc_bidsapp.errors import AppError
from fmmtc_bidsapp.options import CohortOptions
from fmmtc_bidsapp.records import SeriesFile

FEW, TIMES = 100, 8


class Counted(str):
    """Text that counts how often it is compared or looked up."""

    n = 0
    __slots__ = ()

    def __hash__(self):
        Counted.n += 1
        return super().__hash__()

    def __eq__(self, other):
        Counted.n += 1
        return super().__eq__(other)

    def removeprefix(self, prefix):
        return Counted(super().removeprefix(prefix))

    def __lt__(self, other):
        Counted.n += 1
        return super().__lt__(other)


def growth(work):
    """How many times more comparisons eight times the people take."""
    counts = []
    for people in (FEW, FEW * TIMES):
        ready = work(people)
        Counted.n = 0
        with suppress(AppError):
            ready()
        counts.append(Counted.n)
    assert counts[0] > FEW
    return counts[1] / counts[0]


@pytest.fixture(autouse=True)
def _count(monkeypatch):
    for module, name in (
        (tables, "participant_id"),
        (eligibility, "participant_id"),
        (eligibility, "spelled"),
        (outcome, "spelled"),
    ):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda cell, own=own: Counted(own(cell)))


def write(folder, people):
    path = folder / f"participants_{people}.tsv"
    rows = [f"{i:05}\t{i % 2}\tfamily{i}\t{i}.5\n" for i in range(people)]
    path.write_text("participant_id\ty\tfamily\tscore\n" + "".join(rows))
    return path


CASES = {
    "plain": {"target": "y"},
    "everything": {
        "target": "y",
        "group_by": "family",
        "stratify_by": ("family",),
        "covariates": ("score",),
    },
    "a filter that selects nobody": {"target": "y", "where": ("family=nobody",)},
    "a target of many values": {"target": "score"},
}
# Sorting takes a little more than in proportion; the square would be 64.
LIMIT = TIMES * 1.6


@pytest.mark.parametrize("case", CASES)
def test_reading_a_table_grows_with_its_rows(tmp_path, case):
    options = CohortOptions(**CASES[case])
    assert growth(lambda n: lambda: read_eligible(write(tmp_path, n), options)) < LIMIT


def test_arms_labels_and_phenotype_tables_grow_with_their_rows(tmp_path):
    def work(people):
        path = write(tmp_path, people)
        other = tmp_path / "other.tsv"
        other.write_text(path.read_text().replace("y\tfamily\tscore", "a\tb\tc"))
        labels = [f"{i:05}" for i in range(people)]

        def read():
            options = CohortOptions(target="y", covariates=("c",))
            return eligibility_columns(
                read_eligible(
                    path, options, phenotype=[other], subset_by="family", participants=labels
                ).steps
            )

        return read

    assert growth(work) < LIMIT


def test_joining_people_and_files_grows_with_both(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort_module, "_parcels_of", lambda scan: ("a", "b"))
    monkeypatch.setattr(
        cohort_module, "identity", lambda entities: (Counted(f"sub-{entities['sub']}"), None)
    )

    def work(people):
        path = write(tmp_path, people)
        options = CohortOptions(target="y")
        files = [
            SeriesFile(Path(f"{i}_{run}"), {"sub": f"{i:05}", "run": run}, 2.0, None, None, None)
            for i in range(people // 2, people + people // 2)
            for run in "12"
        ]
        monkeypatch.setattr(
            cohort_module, "_find", lambda *a, **k: cohort_module._Found("series", files, [])
        )
        eligible = read_eligible(path, options)
        query = Query((), (), (), ())
        return lambda: read_cohort(tmp_path, eligible, options, query, smallest_class=1)

    assert growth(work) < LIMIT


def test_telling_runs_apart_grows_with_the_files():
    def work(people):
        found = [
            {"sub": Counted(i), "task": Counted("rest"), "run": Counted(run)}
            for i in range(people)
            for run in "12"
        ]
        return lambda: (merged_runs(found), refuse_duplicate_scans(found))

    assert growth(work) < LIMIT


def test_asking_for_many_labels_grows_with_files_and_labels():
    def work(people):
        labels = [Counted(f"{i:05}") for i in range(people)]
        query = Query(labels, (), (), ())
        files = [{"sub": each} for each in labels]
        return lambda: (sum(map(query.admits, files)), str(query))

    assert growth(work) < LIMIT


def test_the_root_of_a_dataset_is_listed_once_for_all_runs(fmriprep, monkeypatch):
    folders: Counter[Path] = Counter()

    def counted(folder: Path) -> tuple[str, ...]:
        folders[folder] += 1
        return json_names(folder)

    root = fmriprep(
        *(
            f"sub-{i}/func/sub-{i}_task-rest_{end}"
            for i in range(1, 5)
            for end in (
                "space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
                "space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
            )
        )
    )
    monkeypatch.setattr(find, "json_names", counted)
    runs, *_ = find.find_bold_runs(
        root,
        Query(),
        spaces=["MNI152NLin6Asym"],
        file_format="auto",
    )
    assert [run.tr_s for run in runs] == [2.0] * 4
    assert folders[root] == 1

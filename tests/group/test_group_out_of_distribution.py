"""Where new people's scans lie among the training's, and what a bundle knows of its own worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange
from fmmtc_bidsapp.group.bundle.validation_summary import evidence_of
from fmmtc_bidsapp.group.output import results
from fmmtc_bidsapp.group.output.out_of_distribution import Position, out_of_distribution, positions
from fmmtc_bidsapp.group.tasks.encoding import Encoded
from fmmtc_bidsapp.learning.evaluate import FittedRun, evaluate_run
from fmmtc_bidsapp.learning.evaluation.distance import connectivity_range
from fmmtc_bidsapp.learning.metrics.predictions import prediction_rows
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Examples, FoldPredictions, Person, SeriesFile

RANGE = TrainingRange(tr_s=(2.0, 2.5), n_volumes=(120, 150), mean_fd_mm=(0.1, 0.3))
N = 40
Y = np.arange(N) % 2


def run(name: str, tr_s: float | None, mean_fd_mm: float | None) -> SeriesFile:
    return SeriesFile(Path(f"{name}.tsv"), {}, tr_s, None, None, None, mean_fd_mm=mean_fd_mm)


def matrices(n: int, spread: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = 0.3 + spread * rng.standard_normal((n, 6, 6))
    fc = np.tanh((z + z.transpose(0, 2, 1)) / 2).astype(np.float32)
    fc[:, range(6), range(6)] = 1
    return fc


def encoded(people: list[Person], n_volumes: list[dict[str, Any]], fc: np.ndarray) -> Encoded:
    examples = Examples(
        keys=tuple(each.key for each in people),
        arrays={
            "cls": np.zeros((len(people), 0)),
            "fc": fc,
        },
        y=np.full(len(people), -1),
        strata=("",) * len(people),
    )
    about = tuple({"n_volumes": each} for each in n_volumes)
    return Encoded(tuple(people), examples, Path("unused"), about, (), ())


@pytest.fixture
def places() -> list[Position]:
    connectivity = connectivity_range(matrices(30, 0.1))
    inside = Person("sub-01", None, None, (run("a", 2.0, 0.2),))
    outside = Person("sub-02", "ses-1", None, (run("b", 3.0, 0.5), run("c", 2.2, None)))
    people = encoded(
        [inside, outside],
        [{"a.tsv": 130}, {"b.tsv": 60, "c.tsv": None}],
        np.concatenate([matrices(1, 0.1, seed=7), matrices(1, 1.0, seed=8)]),
    )
    return positions(people, RANGE, connectivity)


def test_every_measure_of_every_run_has_a_place_and_connectivity_one_a_person(places):
    named = [(each.participant_id, each.run, each.measure) for each in places]
    per_run = ["tr_s", "n_volumes", "mean_fd_mm"]
    assert named == [
        *(("sub-01", "a.tsv", measure) for measure in per_run),
        ("sub-01", None, "connectivity_distance"),
        *(("sub-02", file, measure) for file in ("b.tsv", "c.tsv") for measure in per_run),
        ("sub-02", None, "connectivity_distance"),
    ]
    assert [each.found for each in places[:3]] == [2.0, 130, 0.2]
    assert (places[1].training_low, places[1].training_high) == (120, 150)


def test_only_what_lies_outside_is_told_and_what_is_not_known_is_neither(places):
    assert [each.outside is not None for each in places] == [
        *(False, False, False, False),  # sub-01
        *(True, True, True),  # its first run
        *(False, False, False),  # a run within, of unknown length and motion
        True,  # the connectome
    ]
    told = out_of_distribution(places)
    assert list(told) == ["sub-02_ses-1"]
    assert told["sub-02_ses-1"].startswith("TR 3 s, trained on 2 to 2.5 s; 60 volumes, trained on")
    assert "connectivity" in told["sub-02_ses-1"]


def test_a_cohort_of_matrices_has_no_ranges_and_nothing_is_outside() -> None:
    nothing = TrainingRange(None, None, None)
    person = Person("sub-01", None, None, (run("a", 9.0, 9.0),))
    found = positions(encoded([person], [{"a.tsv": 5}], matrices(1, 0.1)), nothing, None)
    assert [each.measure for each in found] == ["tr_s", "n_volumes", "mean_fd_mm"]
    assert {each.training_high for each in found} == {None}
    assert out_of_distribution(found) == {}


def test_the_table_says_n_a_for_what_is_not_known_and_describes_its_columns(places, tmp_path):
    files = GroupFiles(tmp_path, "new")
    results.write_ranges(files, places)
    text = files.ranges.read_text()
    table = pd.read_csv(files.ranges, sep="\t")
    assert list(table.columns) == list(asdict(places[0]))
    assert "sub-02\tses-1\tc.tsv\tn_volumes\tn/a\t120\t150\tn/a" in text
    described = files.ranges.with_suffix(".json").read_text()
    assert all(f'"{name}"' in described for name in table.columns)


def evidence(*, permuted: bool) -> Any:
    examples = Examples(
        keys=tuple(map(str, range(N))),
        arrays={
            "cls": np.zeros((N, 1)),
            "fc": np.zeros((N, 0, 0), np.float32),
        },
        y=Y,
        strata=tuple(map(str, Y)),
    )
    logit = np.where(Y == 1, 1.0, -1.0)
    predictions = [
        FoldPredictions(
            "fmmtc", fold, logit[fold.test], Calibration("sigmoid", 1.0, 0.0, 0.5), 0.5, 1,
            np.zeros(1), np.zeros(1),
        )
        for fold in outer_folds(examples.strata, 4, 2, seed=0)
    ]  # fmt: skip
    options = EvaluationOptions(bootstrap=20)
    shuffled = {"fmmtc": np.full(19, 0.5)} if permuted else {}
    judged = evaluate_run(
        FittedRun(
            predictions,
            examples,
            options,
            main="fmmtc",
            seed=0,
            permuted=shuffled,
            untested={} if permuted else {"fmmtc": "no shuffles were made"},
        )
    )
    about = {
        "MainModel": "fmmtc", "N": N, "NPositive": 20, "Options": {"threshold": "tuned"},
    }  # fmt: skip
    return evidence_of(judged, prediction_rows(predictions, examples), about)


def test_evidence_counts_the_probabilities_of_either_outcome_once_a_repeat() -> None:
    found = evidence(permuted=True)
    # expit(1) is 0.73 and expit(-1) 0.27: the 15th and the 6th bin of 0.05.
    assert found.positive == tuple(2 * 20 * (i == 14) for i in range(20))
    assert found.negative == tuple(2 * 20 * (i == 5) for i in range(20))
    assert (found.auroc, found.p_adjusted, found.n_permutations) == (1.0, 0.05, 19)
    assert (found.verdict, found.not_tested) == ("evidence of prediction", "")


def test_what_was_not_tested_has_no_p_but_a_reason() -> None:
    found = evidence(permuted=False)
    assert (found.verdict, found.p_adjusted) == ("not tested", None)
    assert found.not_tested == "no shuffles were made"
    # All folds are equal: there is no interval, which is no number and not NaN.
    assert (found.auroc_low, found.auroc_high) == (None, None)

"""Whether training people are known again, and nobody else is taken for one of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fmmtc_bidsapp.group.bundle.known_people import KnownPeople, dataset_name, known_people
from fmmtc_bidsapp.records import Person, SeriesFile


def person(folder: Path, label: str, content: str, session: str | None = None) -> Person:
    path = folder / f"{label}_{session}_timeseries.tsv"
    path.write_text(content)
    run = SeriesFile(path, {}, None, None, None, None)
    return Person(f"sub-{label}", session, None, (run,))


def matrices(n: int, seed: int) -> np.ndarray:
    z = np.random.default_rng(seed).normal(scale=0.3, size=(n, 20, 20))
    return np.tanh(z + z.transpose(0, 2, 1)).astype(np.float32)


@pytest.fixture
def trained(tmp_path: Path) -> KnownPeople:
    people = [person(tmp_path, label, label) for label in ("01", "02", "p3")]
    return known_people(people, matrices(3, 0), None, "a study")


@pytest.mark.parametrize("label", ["01", "1", "001", "P3"])
@pytest.mark.parametrize("name", ["a study", None])
def test_a_label_of_the_same_dataset_is_a_training_person(trained, tmp_path, label, name):
    again = person(tmp_path, label, "another scan", session="ses-2")
    reasons, namesakes = trained.by_table([again], name)
    assert list(reasons) == [f"sub-{label}_ses-2"]
    assert "same label" in reasons[again.key]
    assert str(namesakes) == ""


def test_a_label_of_another_dataset_is_another_person_and_told(trained, tmp_path):
    reasons, namesakes = trained.by_table([person(tmp_path, "01", "other")], "another study")
    assert reasons == {}
    assert "1 of these people have the label of a training person (sub-01)" in str(namesakes)


def test_the_file_of_a_training_person_is_known_under_any_label(trained, tmp_path):
    reasons, _ = trained.by_table([person(tmp_path, "77", "02")], "another study")
    assert reasons == {"sub-77": "the model was trained on this very file"}


def test_others_are_new(trained, tmp_path):
    new = [person(tmp_path, label, f"new {label}") for label in ("10", "4", "1x")]
    assert trained.by_table(new, "a study")[0] == {}
    assert trained.by_scan(new, matrices(3, 1), None) == {}


def test_a_scan_is_known_under_any_label(trained, tmp_path):
    new = [person(tmp_path, label, label) for label in ("10", "11")]
    found = trained.by_scan(new, np.stack([matrices(1, 5)[0], matrices(3, 0)[1]]), None)
    assert list(found) == ["sub-11"]


def test_the_digests_name_nobody_and_are_the_same_when_made_anew(trained, tmp_path):
    people = [person(tmp_path, label, label) for label in ("01", "02", "p3")]
    assert known_people(people, matrices(3, 0), None, "a study") == trained
    text = json.dumps(asdict(trained))
    assert "a study" not in text
    assert set(text) <= set('0123456789abcdef[]{}:, "saltdenumbril')
    other = known_people(people, matrices(3, 1), None, "a study")
    assert not set(other.labels) & set(trained.labels)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"Name": " My  Study"}', "my study"),
        ('{"Name": ""}', None),
        ('{"Name": 3}', None),
        ("{", None),
        (None, None),
    ],
)
def test_a_dataset_is_called_what_its_description_says(tmp_path, content, name):
    if content is not None:
        (tmp_path / "dataset_description.json").write_text(content)
    assert dataset_name(tmp_path) == name

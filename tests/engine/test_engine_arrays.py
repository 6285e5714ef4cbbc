"""Arrays that many nodes read."""

import mmap

import numpy as np
import pytest

from fmmtc_bidsapp.engine import load_shared, save_shared

LARGE = np.random.default_rng(0).normal(size=(400, 1000)).astype(np.float32)
SMALL = np.array([1, 0, 1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "examples.json"


def test_arrays_and_their_description_come_back(path):
    arrays = {"large": LARGE, "small": SMALL, "empty": np.empty((3, 0))}
    save_shared(path, arrays, {"keys": ["a", "b"]})
    found, about = load_shared(path)
    assert about == {"keys": ["a", "b"]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_large_arrays_are_mapped_and_cannot_be_written(path):
    save_shared(path, {"large": LARGE, "small": SMALL}, {})
    found, _ = load_shared(path)
    base = found["large"]
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert isinstance(base, mmap.mmap)
    assert type(found["large"]) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        found["large"][0, 0] = 1


def test_the_description_changes_with_any_array_and_with_nothing_else(path):
    texts = []
    for large in (LARGE, LARGE.copy(), LARGE + 1, LARGE.reshape(1000, 400)):
        save_shared(path, {"large": large}, {})
        texts.append(path.read_text())
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_another_content_replaces_the_files_and_a_reader_keeps_its_own(path):
    save_shared(path, {"large": LARGE}, {})
    before, _ = load_shared(path)
    save_shared(path, {"large": LARGE + 1}, {})
    assert len(list(path.parent.iterdir())) == 2
    np.testing.assert_array_equal(before["large"], LARGE)
    np.testing.assert_array_equal(load_shared(path)[0]["large"], LARGE + 1)

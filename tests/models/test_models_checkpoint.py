"""Tensors that come back from a file as they went in, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fmmtc_bidsapp.errors import ModelFileError, OutputError
from fmmtc_bidsapp.models.checkpoint import load_tensors, save_tensors


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    image = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return {
        "weight": image.contiguous(memory_format=torch.channels_last),
        "mean": torch.tensor([1.5], requires_grad=True),
        "count": torch.tensor(7),
    }


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_tensors_come_back_equal_with_their_type(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, tensors)
    loaded = load_tensors(path, shapes(tensors))
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert loaded["count"].dtype == torch.int64
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_same_tensors_give_the_same_bytes(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    save_tensors(tmp_path / "a", tensors)
    save_tensors(tmp_path / "b", dict(reversed(tensors.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_tensors_than_expected_are_named(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, tensors)
    with pytest.raises(ModelFileError) as caught:
        load_tensors(path, {"weight": (2, 3), "mean": (1,), "bias": (4,)})
    message = str(caught.value)
    assert "missing: bias" in message
    assert "unexpected: count" in message
    assert "misshaped: weight (2, 3, 4, 4) instead of (2, 3)" in message


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, {})
    with pytest.raises(ModelFileError, match="t11 and 8 more"):
        load_tensors(path, {f"t{i}": (1,) for i in range(20)})


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, tensors)
    whole = path.read_bytes()
    for end in range(0, len(whole), 16):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
            load_tensors(path, shapes(tensors))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.safetensors"):
        load_tensors(tmp_path / "none.safetensors", {})


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_tensors(tmp_path / "absent" / "model.safetensors", {"a": torch.zeros(1)})


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, tensors)
    before = path.read_bytes()
    path.with_name("model.safetensors.part").mkdir()
    with pytest.raises(OutputError):
        save_tensors(path, {"a": torch.zeros(1)})
    assert path.read_bytes() == before

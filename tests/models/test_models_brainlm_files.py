"""Checkpoints that are not what they should be end in one clear error."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.models.checkpoint import load_safetensors, save_tensors
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize

QUERY = "vit.encoder.layer.1.attention.self.query.weight"


class Bomb:
    """Unpickling it without care creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def save(folder: Path, content: Any) -> None:
    torch.save(content, folder / "pytorch_model.bin")


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        BrainLM.from_pretrained(folder)
    assert caught.value.exit_code == 65
    return str(caught.value)


def test_every_encoder_tensor_is_the_one_in_the_file(
    folder: Path, weights: dict[str, torch.Tensor]
) -> None:
    loaded = BrainLM.from_pretrained(folder)
    published = [value for name, value in weights.items() if name.startswith("vit.")]
    own = loaded.state_dict()
    assert len(own) == len(published)
    assert all(any(torch.equal(value, each) for each in own.values()) for value in published)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_missing_unexpected_misshaped_and_nan_tensors_are_all_named(
    folder: Path, weights: dict[str, torch.Tensor]
) -> None:
    del weights[QUERY]
    weights["vit.pooler.dense.weight"] = torch.zeros(2)
    weights["vit.layernorm.bias"] = torch.zeros(3)
    weights["vit.layernorm.weight"][0] = torch.nan
    save(folder, weights)
    message = refusal(folder)
    assert f"missing: {QUERY}" in message
    assert "unexpected: vit.pooler.dense.weight" in message
    assert "misshaped: vit.layernorm.bias (3,) instead of (16,)" in message
    assert "not finite: vit.layernorm.weight" in message
    assert "Fetch" in message


def test_no_encoder_tensor_can_be_left_out(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    encoder = {name: value for name, value in weights.items() if name.startswith("vit.")}
    save(folder, encoder)
    BrainLM.from_pretrained(folder)
    for name in encoder:
        save(folder, {other: value for other, value in encoder.items() if other != name})
        assert f"missing: {name}" in refusal(folder)


def test_the_published_decoder_is_passed_over_but_no_other(
    folder: Path, weights: dict[str, torch.Tensor]
) -> None:
    strange = ["decoder.decoder_pred3.weight", "decoder.decoder_layers.0.attention.self.gate.bias"]
    save(folder, weights | {name: torch.zeros(1) for name in strange})
    assert f"unexpected: {', '.join(strange)}" in refusal(folder)


def test_the_reference_file_holds_exactly_the_known_tensors(shared: Path) -> None:
    network = BrainLM.from_pretrained(shared / "reference" / "brainlm-tiny")
    assert network.config.hidden_size == 64


def test_a_pickle_that_would_run_code_is_refused_unrun(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    save(folder, {"vit.layernorm.bias": Bomb(target)})
    message = refusal(folder)
    assert "holds more than tensors" in message
    assert "weights_only" not in message
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"/annex/objects/MD5E-s20--d41d8cd98f00b204e9800998ecf8427e.bin\n",
        b"PK\x03\x04 and nothing more",
        pickle.dumps(["a", "list"], protocol=2),
    ],
)
def test_a_file_of_something_else_is_refused(folder: Path, content: bytes) -> None:
    (folder / "pytorch_model.bin").write_bytes(content)
    assert "pytorch_model.bin" in refusal(folder)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"state_dict": {}}, {1: torch.zeros(2)}])
def test_a_pickle_that_is_no_table_of_tensors_is_refused(folder: Path, content: Any) -> None:
    save(folder, content)
    assert "not a table of tensors" in refusal(folder)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_anywhere_is_refused(
    folder: Path, weights: dict[str, torch.Tensor], zipped: bool
) -> None:
    path = folder / "pytorch_model.bin"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for end in range(0, len(whole), len(whole) // 15):
        path.write_bytes(whole[:end])
        assert "Fetch it again" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin"])
def test_a_missing_file_is_named_with_what_belongs_there(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refusal(folder)
    assert str(folder / name) in message
    assert "config.json and pytorch_model.bin" in message


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\udcff", "[" * 100_000])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("hidden_size", 15, "hidden_size must be even"),
        ("hidden_size", "256", "not a number that fits"),
        ("num_hidden_layers", 0, "above 0"),
        ("num_attention_heads", 3, "multiple of num_attention_heads"),
        ("conv_kernel_size", 4, "must be odd"),
        ("timepoint_patching_size", 5, "multiple of timepoint_patching_size"),
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("num_landmarks", 32, "must be equal"),
    ],
)
def test_a_configuration_of_another_network_is_refused(
    folder: Path, key: str, value: Any, said: str
) -> None:
    edit_config(folder, lambda content: content.update({key: value}))
    assert said in refusal(folder)


def test_a_configuration_without_a_size_is_refused(folder: Path) -> None:
    edit_config(folder, lambda content: content.pop("conv_kernel_size"))
    assert "conv_kernel_size is missing" in refusal(folder)


def test_sizes_of_the_configuration_are_checked_against_the_file(folder: Path) -> None:
    edit_config(folder, lambda content: content.update(intermediate_size=32))
    assert "intermediate.dense.weight (24, 16) instead of (32, 16)" in refusal(folder)


def test_from_json_reads_the_sizes(folder: Path, config: BrainLMSize) -> None:
    assert BrainLMSize.from_json(folder / "config.json") == config


def test_what_save_pretrained_writes_is_the_same_encoder(folder: Path, tmp_path: Path) -> None:
    published = BrainLM.from_pretrained(folder)
    published.save_pretrained(tmp_path / "saved")
    files = {path.name for path in (tmp_path / "saved").iterdir()}
    assert files == {"config.json", "model.safetensors"}
    again = BrainLM.from_pretrained(tmp_path, subfolder="saved")
    assert again.config.size == published.config.size
    found, expected = again.state_dict(), published.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("problem", ["missing", "unexpected", "misshaped"])
def test_a_saved_encoder_with_other_tensors_is_an_error(
    folder: Path, tmp_path: Path, problem: str
) -> None:
    BrainLM.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "model.safetensors"
    tensors = load_safetensors(path)
    if problem == "missing":
        del tensors["layers.1.query.weight"]
    elif problem == "unexpected":
        tensors["pooler.weight"] = torch.zeros(2)
    else:
        tensors["norm.bias"] = torch.zeros(3)
    save_tensors(path, tensors)
    assert f"  {problem}: " in refusal(tmp_path / "saved")


@pytest.mark.parametrize("width", [256, 512])
def test_either_published_width_loads(tmp_path: Path, width: int) -> None:
    size = BrainLMSize(hidden_size=width, num_hidden_layers=1, intermediate_size=8)
    made = BrainLM.from_size(size, torch.Generator().manual_seed(0))
    made.save_pretrained(tmp_path)
    loaded = BrainLM.from_pretrained(tmp_path)
    assert loaded(torch.ones(1, 3, 20), torch.ones(1, 3, 3)).shape == (1, width)


def test_a_program_that_does_not_encode_does_not_import_transformers() -> None:
    code = (
        "import sys, fmmtc_bidsapp.group.run, fmmtc_bidsapp.group.tasks.fit_tasks\n"
        "print({'transformers', 'huggingface_hub', 'pooch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

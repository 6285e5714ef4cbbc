"""BrainLM's tensors from files: as published, or as `save_pretrained` writes them."""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.models.checkpoint import check_tensors, load_safetensors

__all__ = ["WEIGHT_FILES", "read_weights"]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""In the order in which they are looked for."""

_PUBLISHED_NAMES = {
    "cls_token": "vit.embeddings.cls_token",
    "positions": "vit.embeddings.pos_embedding.pe",
    "signal_embedding": "vit.embeddings.signal_embedding_projection",
    "xyz_embedding": "vit.embeddings.xyz_embedding_projection",
    "norm": "vit.layernorm",
}
_PUBLISHED_LAYER_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "taps": "attention.self.conv.weight",
    "merge": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "norm": "output.LayerNorm",
}
_DECODER_NAME = re.compile(
    r"decoder\.("
    r"mask_token|pos_embedding\.pe"
    r"|(decoder_embed|decoder_norm|decoder_pred[12]?|decoder_xyz_projection)\.(weight|bias)"
    r"|decoder_layers\.\d+\.(attention\.self\.conv\.weight"
    r"|(attention\.(self\.(query|key|value)|output\.(dense|LayerNorm))"
    r"|intermediate\.dense|output\.(dense|LayerNorm))\.(weight|bias))"
    r")"
)
"""Tensors of the published file that only the reconstruction of masked patches needs."""

_DAMAGED = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)
"""What torch's reader was seen to raise for thousands of files with wrong or missing bytes."""


def read_weights(folder: Path, own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read the tensors of a network, float32, from a folder; names are ours or the published ones.

    A ModelFileError for a damaged file, and for every tensor that is missing, unexpected, of
    another shape, or not finite. Nothing in the file is executed.
    """
    path = next(
        (each for name in WEIGHT_FILES if (each := folder / name).exists()),
        folder / WEIGHT_FILES[-1],
    )
    read = load_safetensors if path.suffix == ".safetensors" else _read_pickled_tensors
    found = {
        name: tensor for name, tensor in read(path).items() if not _DECODER_NAME.fullmatch(name)
    }
    saved = {name: name if "cls_token" in found else _published(name) for name in own}
    check_tensors(path, found, {saved[name]: tensor.shape for name, tensor in own.items()})
    return {name: found[saved[name]].float() for name in own}


def _published(name: str) -> str:
    """Return the published name of a tensor."""
    module, _, rest = name.partition(".")
    if module == "layers":
        number, part, *tail = rest.split(".")
        return ".".join(["vit.encoder.layer", number, _PUBLISHED_LAYER_NAMES[part], *tail])
    return ".".join(filter(None, [_PUBLISHED_NAMES[module], rest]))


def _refuse_packed(path: Path, packed: io.BytesIO) -> None:
    """Refuse a compressed zip, which PyTorch never writes."""
    try:
        with zipfile.ZipFile(packed) as archive:
            stored = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, *_DAMAGED):
        # PyTorch's own reader will say what is wrong.
        stored = 0
    finally:
        packed.seek(0)
    if stored > packed.getbuffer().nbytes:
        raise ModelFileError(
            f"{path} holds {stored} bytes in {packed.getbuffer().nbytes}: it is compressed, which "
            "PyTorch's files never are. Fetch it again from the publisher."
        )


def _read_pickled_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        packed = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror}). BrainLM's weights are a folder that holds "
            "config.json and pytorch_model.bin: name that folder, or fetch the files into it."
        ) from error
    if zipfile.is_zipfile(packed):
        _refuse_packed(path, packed)
    try:
        content: Any = torch.load(packed, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise ModelFileError(
            f"{path} cannot be read as a file of tensors ({type(error).__name__}): it is damaged, "
            "incomplete, or holds more than tensors. Fetch it again from the publisher."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    ):
        raise ModelFileError(
            f"{path} is not a table of tensors by name; fetch pytorch_model.bin as published."
        )
    return content

"""BrainLM's encoder: a window of parcel series to one feature vector.

Computes what the published code computes at inference (Ortega Caro et al. 2024,
https://openreview.net/forum?id=RwI7ZEfR27): patches of each parcel's series become tokens, a CLS
token goes in front, and the layers attend over all tokens and convolve the values along the order
of the tokens. Nothing is drawn at random: the order of the tokens is an argument.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.models.checkpoint import check_tensors
from fmmtc_bidsapp.models.encoders.brainlm.config import BrainLMConfig
from fmmtc_bidsapp.models.encoders.brainlm.convolution import convolve_tokens

__all__ = ["BrainLM", "BrainLMConfig", "load_brainlm"]

_N_POSITIONS = 5000

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


class _Layer(nn.Module):
    """Attention plus convolution, then an MLP, each normalised after its residual sum."""

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        hidden, heads = config.hidden_size, config.num_attention_heads
        self.n_heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.taps = nn.Parameter(torch.empty(heads, 1, config.conv_kernel_size, 1))
        self.merge = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, config.layer_norm_eps)
        self.expand = nn.Linear(hidden, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, hidden)
        self.norm = nn.LayerNorm(hidden, config.layer_norm_eps)

    def forward(self, tokens: torch.Tensor, n_leading: int) -> torch.Tensor:
        """(batch, token, hidden) -> (batch, n_leading, hidden): the leading tokens' output."""
        leading = tokens[:, :n_leading]
        query = self._by_head(self.query(leading))
        key = self._by_head(self.key(tokens))
        value = self._by_head(self.value(tokens))
        context = functional.scaled_dot_product_attention(query, key, value)
        context = context + convolve_tokens(value, self.taps[:, 0, :, 0], n_leading)
        merged = self.merge(context.transpose(1, 2).flatten(2))
        attended = self.attention_norm(leading + merged)
        expanded = functional.gelu(self.expand(attended))
        output: torch.Tensor = self.norm(attended + self.contract(expanded))
        return output

    def _by_head(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, token, hidden) -> (batch, head, token, dim)."""
        return features.reshape(*features.shape[:2], self.n_heads, -1).transpose(1, 2)


class BrainLM(nn.Module):
    """The frozen encoder; build it with `load_brainlm` or `BrainLM.from_config`.

    It has no dropout at inference, so training and evaluation mode are the same. Its parameters
    take no gradient, its inputs do.

    Parameters
    ----------
    config
        Sizes of the network; its weights are left unset.
    """

    positions: torch.Tensor

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, hidden))
        self.register_buffer("positions", torch.empty(_N_POSITIONS, hidden))
        self.signal_embedding = nn.Linear(config.timepoint_patching_size, hidden)
        self.xyz_embedding = nn.Linear(3, hidden)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(hidden, config.layer_norm_eps)
        self.requires_grad_(False)

    @classmethod
    def from_config(cls, config: BrainLMConfig, generator: torch.Generator) -> BrainLM:
        """Build the encoder with random weights, the paper's "without pre-training".

        As published: weights, convolution taps and the CLS token are normal with SD
        ``initializer_range``, biases 0, normalisations the identity.

        Parameters
        ----------
        generator
            On the CPU; the only source of randomness.
        """
        network = _without_weights(config).to_empty(device="cpu")
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=config.initializer_range, generator=generator)
            else:
                parameter.zero_()
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        network.positions.copy_(_sinusoids(config.hidden_size))
        return network

    def forward(
        self, signal: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Encode windows of parcel series.

        Parameters
        ----------
        signal
            (batch, parcel, time); time is a multiple of the patch size, up to the window.
        xyz
            (batch, parcel, 3) parcel coordinates in mm.
        order
            (batch, kept) tokens to show, in this order; token ``parcel * n_patches + patch`` is
            that patch of that parcel. All tokens, parcel by parcel, by default.

        Returns
        -------
        torch.Tensor
            (batch, hidden) the CLS token after the last normalisation, in float32.
        """
        tokens = self._embed(signal, xyz)
        if order is not None:
            tokens = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, n_leading=tokens.shape[1])
        # The CLS token is all that is read, so the last layer computes nothing else.
        cls: torch.Tensor = self.norm(self.layers[-1](tokens, n_leading=1))
        return cls[:, 0].float()

    def _embed(self, signal: torch.Tensor, xyz: torch.Tensor) -> torch.Tensor:
        """(batch, parcel, time), (batch, parcel, 3) -> (batch, parcel * patch, hidden)."""
        patch, window = self.config.timepoint_patching_size, self.config.num_timepoints_per_voxel
        n_volumes = signal.shape[2]
        if n_volumes % patch or not 0 < n_volumes <= window:
            raise ValueError(
                f"A window of {n_volumes} volumes; needed is a multiple of {patch}, up to {window}."
            )
        # Scanner units lose their small changes in bfloat16, so embedding is always float32.
        with torch.autocast(signal.device.type, enabled=False):
            patches = signal.reshape(*signal.shape[:2], -1, patch)
            place = self.xyz_embedding(xyz)[:, :, None]
            time = self.positions[: n_volumes // patch]
            tokens: torch.Tensor = self.signal_embedding(patches) + place + time
        return tokens.flatten(1, 2)


def load_brainlm(folder: Path) -> BrainLM:
    """Read the published encoder from the folder of ``config.json`` and ``pytorch_model.bin``.

    The decoder in the file is left unread. Nothing in the file is executed.

    Raises
    ------
    ModelFileError
        Where a file is missing or damaged, or the tensors are not exactly those of the encoder
        that ``config.json`` describes.
    """
    network = _without_weights(BrainLMConfig.from_json(folder / "config.json"))
    path = folder / "pytorch_model.bin"
    found = {
        name: tensor
        for name, tensor in _read_pickled_tensors(path).items()
        if not _DECODER_NAME.fullmatch(name)
    }
    own = network.state_dict()
    check_tensors(path, found, {_published(name): tensor.shape for name, tensor in own.items()})
    weights = {name: found[_published(name)].float() for name in own}
    network.load_state_dict(weights, assign=True)
    return network


def _without_weights(config: BrainLMConfig) -> BrainLM:
    # On the meta device torch's own initialisation costs nothing and draws no random number.
    with torch.device("meta"):
        return BrainLM(config)


def _published(name: str) -> str:
    """Translate the name of a tensor of ours into the published one."""
    module, _, rest = name.partition(".")
    if module == "layers":
        number, part, *tail = rest.split(".")
        return ".".join(["vit.encoder.layer", number, _PUBLISHED_LAYER_NAMES[part], *tail])
    return ".".join(filter(None, [_PUBLISHED_NAMES[module], rest]))


def _sinusoids(hidden: int) -> torch.Tensor:
    """Return the (position, hidden) sine and cosine table of doi 10.48550/arXiv.1706.03762."""
    position = torch.arange(_N_POSITIONS)[:, None]
    angle = position * torch.exp(torch.arange(0, hidden, 2) * (-math.log(10_000) / hidden))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def _refuse_packed(path: Path, packed: io.BytesIO) -> None:
    """Refuse a zip that is more than it seems; PyTorch never compresses what it saves."""
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

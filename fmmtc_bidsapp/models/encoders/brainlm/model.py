"""BrainLM's encoder as a transformers model: a window of parcel series to one feature vector.

Computes what the published code computes at inference (Ortega Caro et al. 2024,
https://openreview.net/forum?id=RwI7ZEfR27): patches of each parcel's series become tokens, a CLS
token goes in front, and the layers attend over all tokens and convolve the values along the order
of the tokens. Nothing is drawn at random: the order of the tokens is an argument.

Importing this module imports transformers, which takes seconds; do so where a network is built.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download
from torch import nn
from torch.nn import functional
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

from fmmtc_bidsapp.models.encoders.brainlm.convolution import convolve_tokens
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.brainlm.tensor_files import WEIGHT_FILES, read_weights

__all__ = ["BrainLM", "BrainLMConfig"]

_N_POSITIONS = 5000


class BrainLMConfig(PreTrainedConfig):
    """``config.json`` of a BrainLM encoder: the fields of `BrainLMSize`, with its defaults."""

    model_type = "brainlm_mae"

    def __init__(self, **values: Any) -> None:
        sizes = {each.name: values.pop(each.name, each.default) for each in fields(BrainLMSize)}
        super().__init__(**values)
        # With these values the published code computes what is computed here.
        fixed = {"hidden_act": "gelu", "num_landmarks": 64, "segment_means_seq_len": 64}
        for name, value in {**fixed, **sizes}.items():
            setattr(self, name, values.get(name, value))

    @property
    def size(self) -> BrainLMSize:
        """The sizes alone, checked."""
        return BrainLMSize(**{each.name: getattr(self, each.name) for each in fields(BrainLMSize)})


class _Layer(nn.Module):
    """Attention plus convolution, then an MLP, each normalised after its residual sum."""

    def __init__(self, size: BrainLMSize) -> None:
        super().__init__()
        hidden, heads = size.hidden_size, size.num_attention_heads
        self.n_heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.taps = nn.Parameter(torch.empty(heads, 1, size.conv_kernel_size, 1))
        self.merge = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, size.layer_norm_eps)
        self.expand = nn.Linear(hidden, size.intermediate_size)
        self.contract = nn.Linear(size.intermediate_size, hidden)
        self.norm = nn.LayerNorm(hidden, size.layer_norm_eps)

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


class BrainLM(PreTrainedModel):
    """The frozen encoder; build it with `BrainLM.from_pretrained` or `BrainLM.from_size`.

    It has no dropout at inference, so training and evaluation mode are the same. Its parameters
    take no gradient, its inputs do.
    """

    config_class = BrainLMConfig
    main_input_name = "signal"
    _supports_sdpa = True
    config: BrainLMConfig
    positions: torch.Tensor

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__(config)
        self.size = size = config.size
        hidden = size.hidden_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, hidden))
        self.register_buffer("positions", torch.empty(_N_POSITIONS, hidden))
        self.signal_embedding = nn.Linear(size.timepoint_patching_size, hidden)
        self.xyz_embedding = nn.Linear(3, hidden)
        self.layers = nn.ModuleList(_Layer(size) for _ in range(size.num_hidden_layers))
        self.norm = nn.LayerNorm(hidden, size.layer_norm_eps)
        self.post_init()  # type: ignore[no-untyped-call]
        self.requires_grad_(False)

    @classmethod
    def from_size(cls, size: BrainLMSize, generator: torch.Generator) -> BrainLM:
        """Build the encoder with random weights, the paper's "without pre-training".

        As published: weights, convolution taps and the CLS token are normal with SD
        ``initializer_range``, biases 0, normalisations the identity. `generator` (on the
        CPU) is the only source of randomness.
        """
        network = cls._without_weights(size).to_empty(device="cpu")
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=size.initializer_range, generator=generator)
            else:
                parameter.zero_()
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        network.positions.copy_(_sinusoids(size.hidden_size))
        return network

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        source: str | Path,
        *,
        subfolder: str = "",
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> BrainLM:
        """Load the encoder from a folder, or from ``owner/name`` on the Hugging Face hub.

        Takes the published files (``config.json`` and ``pytorch_model.bin``, without its
        decoder) and what `save_pretrained` writes. ModelFileError if a file is missing or
        damaged, or the tensors are not exactly those that ``config.json`` describes: no
        tensor is ever initialised in place of a missing one, nothing in the files is
        executed, and no code is taken from the hub.
        """
        folder = Path(source)
        if not folder.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
            names = ("config.json", *WEIGHT_FILES)
            folder = Path(
                snapshot_download(
                    str(source),
                    revision=revision,
                    allow_patterns=[str(Path(subfolder, name)) for name in names],
                    local_files_only=local_files_only,
                )
            )
        folder = folder / subfolder
        network = cls._without_weights(BrainLMSize.from_json(folder / "config.json"))
        network.load_state_dict(read_weights(folder, network.state_dict()), assign=True)
        network.name_or_path = str(source)
        network.eval()  # type: ignore[no-untyped-call]
        return network

    if TYPE_CHECKING:

        def to(self, device: torch.device) -> BrainLM:  # type: ignore[override]
            """Move to a device; transformers wraps torch's own, whose type is lost."""

    @classmethod
    def _without_weights(cls, size: BrainLMSize) -> BrainLM:
        # On the meta device torch's own initialisation costs nothing and draws no random number.
        with torch.device("meta"):
            return cls(BrainLMConfig(**asdict(size)))

    def forward(
        self, signal: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Encode windows, (batch, parcel, time), (batch, parcel, 3) in mm -> (batch, hidden).

        Returns the CLS token after the last normalisation, in float32; time is a multiple
        of the patch size. `order` (batch, kept) lists the tokens to use, ``parcel *
        n_patches + patch``; by default all of them, parcel by parcel.
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
        patch, window = self.size.timepoint_patching_size, self.size.num_timepoints_per_voxel
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


def _sinusoids(hidden: int) -> torch.Tensor:
    """Return the (position, hidden) sine and cosine table of doi 10.48550/arXiv.1706.03762."""
    position = torch.arange(_N_POSITIONS)[:, None]
    angle = position * torch.exp(torch.arange(0, hidden, 2) * (-math.log(10_000) / hidden))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)

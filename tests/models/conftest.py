"""A small BrainLM in the published format, built in code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize

HIDDEN, HEADS, MLP, TAPS, PATCH = 16, 2, 24, 5, 4
LINEAR_SHAPES = {
    "attention.self.query": (HIDDEN, HIDDEN),
    "attention.self.key": (HIDDEN, HIDDEN),
    "attention.self.value": (HIDDEN, HIDDEN),
    "attention.output.dense": (HIDDEN, HIDDEN),
    "intermediate.dense": (MLP, HIDDEN),
    "output.dense": (HIDDEN, MLP),
}
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


def layer_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"attention.self.conv.weight": (HEADS, 1, TAPS, 1)}
    for name, shape in LINEAR_SHAPES.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in NORMS:
        shapes |= {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}
    return shapes


def published_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, HIDDEN),
        "vit.embeddings.signal_embedding_projection.weight": (HIDDEN, PATCH),
        "vit.embeddings.signal_embedding_projection.bias": (HIDDEN,),
        "vit.embeddings.xyz_embedding_projection.weight": (HIDDEN, 3),
        "vit.embeddings.xyz_embedding_projection.bias": (HIDDEN,),
        "vit.embeddings.pos_embedding.pe": (5000, HIDDEN),
        "vit.layernorm.weight": (HIDDEN,),
        "vit.layernorm.bias": (HIDDEN,),
        "decoder.mask_token": (1, 1, HIDDEN),
        "decoder.decoder_pred1.weight": (HIDDEN // 2, HIDDEN),
    }
    for layer in range(2):
        prefix = f"vit.encoder.layer.{layer}."
        shapes |= {prefix + name: shape for name, shape in layer_shapes().items()}
    return shapes | {f"decoder.decoder_layers.0.{k}": v for k, v in layer_shapes().items()}


@pytest.fixture
def config() -> BrainLMSize:
    return BrainLMSize(
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=MLP,
        conv_kernel_size=TAPS,
        timepoint_patching_size=PATCH,
        num_timepoints_per_voxel=3 * PATCH,
    )


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: 0.4 * torch.randn(shape, generator=generator)
        for name, shape in published_shapes().items()
    }


@pytest.fixture
def folder(tmp_path: Path, config: BrainLMSize, weights: dict[str, torch.Tensor]) -> Path:
    """Where ``config.json`` and ``pytorch_model.bin`` are, as published."""
    other = {"hidden_act": "gelu", "num_landmarks": 64, "segment_means_seq_len": 64}
    (tmp_path / "config.json").write_text(json.dumps(asdict(config) | other))
    torch.save(weights, tmp_path / "pytorch_model.bin")
    return tmp_path

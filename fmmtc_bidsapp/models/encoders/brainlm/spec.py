"""BrainLM's specification, and that of the same network with random weights."""

from __future__ import annotations

from dataclasses import replace

from fmmtc_bidsapp.models.encoders.spec import EncoderSpec

__all__ = ["BRAINLM", "RANDOM"]

RANDOM = EncoderSpec(
    name="random",
    title="BrainLM's network with random weights",
    n_frames=200,
    width=256,
    normalisation="as --normalisation says",
    padding="as --short-series says",
    pooling="CLS token; mean over windows and --token-orders",
    reads_coordinates=True,
    citation="ortegacaro2024",
)
"""The paper's "without pre-training"."""

BRAINLM = replace(
    RANDOM,
    name="brainlm",
    title="BrainLM",
    # As config.json says: 256 or 512.
    width=None,
    normalisation="as --normalisation says; trained on series of unit variance",
    atlas="A424",
    atlas_digest="8b0c34a08e21faa657f77b16e55430cba22f3e1ecbe334955977154fa96ec023",
    tr_s=0.735,
    weights_licence="CC BY-NC-ND 4.0",
    terms="It asks for the authors to be named, and forbids commercial use and passing on "
    "changed or converted copies.",
    source="https://huggingface.co/vandijklab/brainlm",
    repository="vandijklab/brainlm",
    subfolder="old_13M",
    files=("config.json", "pytorch_model.bin"),
)
"""The pre-trained encoder."""

"""The frozen encoder by the name of its flag."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fmmtc_bidsapp.errors import MissingResourceError
from fmmtc_bidsapp.models.checksums import check_received
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize

if TYPE_CHECKING:
    # Importing it takes seconds, and not every run encodes.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = ["ENCODERS", "build_encoder", "weights_digest"]


def _pretrained(folder: Path | None, seed: int) -> BrainLM:
    if folder is None or not folder.is_dir():
        raise MissingResourceError(
            f"BrainLM's weights are not at {folder}. Their licence (CC BY-NC-ND 4.0) does not let "
            "us ship them: run `fmmtc-tools fetch brainlm` where there is a network, or name a "
            "folder with config.json and pytorch_model.bin of old_13M from "
            "https://huggingface.co/vandijklab/brainlm with --encoder-weights, use --encoder "
            "random, or take --encoder none and models of connectivity, such as --network "
            "resnet-fc."
        )
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

    check_received(folder)
    return BrainLM.from_pretrained(folder)


def _random(folder: Path | None, seed: int) -> BrainLM:
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

    return BrainLM.from_size(BrainLMSize(), torch.Generator().manual_seed(seed))


ENCODERS: Mapping[str, Callable[[Path | None, int], BrainLM]] = {
    "brainlm": _pretrained,
    "random": _random,
}
"""How to build each encoder from a folder of weights and a seed."""


def build_encoder(name: str, folder: Path | None, seed: int) -> BrainLM:
    """Build an encoder.

    Parameters
    ----------
    name
        A key of `ENCODERS`.
    folder
        Folder of the published files, for ``brainlm``.
    seed
        Seed of the weights, for ``random``.

    Raises
    ------
    MissingResourceError
        When weights are needed that are not there.
    ModelFileError
        When they are damaged.
    """
    return ENCODERS[name](folder, seed)


def weights_digest(encoder: BrainLM) -> str:
    """sha256 over the names and values of an encoder's tensors."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()

"""BrainLM's rows of the table of encoders; transformers is imported when one is built."""

from __future__ import annotations

from pathlib import Path

import torch

from fmmtc_bidsapp.errors import MissingResourceError
from fmmtc_bidsapp.models.checksums import check_received
from fmmtc_bidsapp.models.encoders.base import Encoder, EncoderKind
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.brainlm.spec import BRAINLM, RANDOM
from fmmtc_bidsapp.options import ModelOptions

__all__ = ["BRAINLM_KIND", "RANDOM_KIND"]


def _pretrained(folder: Path | None, seed: int, options: ModelOptions) -> Encoder:
    from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

    if folder is None or not folder.is_dir():
        raise MissingResourceError(
            f"BrainLM's weights are not at {folder}. Their licence (CC BY-NC-ND 4.0) does not let "
            "us ship them: run `fmmtc-tools fetch brainlm` where there is a network, or name a "
            "folder with config.json and pytorch_model.bin of old_13M from "
            "https://huggingface.co/vandijklab/brainlm with --encoder-weights, use --encoder "
            "random, or take --encoder none and models of connectivity, such as --network "
            "resnet-fc."
        )
    received = check_received(folder)
    revision = f"of {folder}" if received is None else f"revision {received.revision}"
    return BrainLMEncoder(
        BrainLM.from_pretrained(folder), options, seed, spec=BRAINLM, origin=revision
    )


def _random(folder: Path | None, seed: int, options: ModelOptions) -> Encoder:
    from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

    network = BrainLM.from_size(BrainLMSize(), torch.Generator().manual_seed(seed))
    return BrainLMEncoder(network, options, seed, spec=RANDOM, origin=f"seed {seed}")


BRAINLM_KIND = EncoderKind(BRAINLM, _pretrained)
RANDOM_KIND = EncoderKind(RANDOM, _random)

"""The table of encoders, by the name of ``--encoder``; other packages add to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fmmtc_bidsapp import extensions
from fmmtc_bidsapp.extensions import Registry
from fmmtc_bidsapp.models.encoders.base import Encoder, EncoderKind
from fmmtc_bidsapp.models.encoders.brainlm.kinds import BRAINLM_KIND, RANDOM_KIND
from fmmtc_bidsapp.models.encoders.spec import EncoderSpec
from fmmtc_bidsapp.options import ModelOptions

__all__ = ["ENCODERS", "build_encoder", "describe", "encoder_digest", "encoder_title", "spec_of"]

ENCODERS: Registry[EncoderKind] = Registry(
    extensions.ENCODERS, {"brainlm": BRAINLM_KIND, "random": RANDOM_KIND}, EncoderKind
)
"""Every encoder; others come by the entry point ``fmmtc.encoders``."""


def spec_of(name: str) -> EncoderSpec | None:
    """Return the specification of an encoder; None for ``none``."""
    return ENCODERS[name].spec if name in ENCODERS else None


def encoder_title(name: str) -> str:
    """Return the title of an encoder in tables and reports; ``none`` for none."""
    spec = spec_of(name)
    return name if spec is None else spec.title


def build_encoder(options: ModelOptions, folder: Path | None, seed: int) -> Encoder:
    """Build the encoder of the options, from the folder of its weights or a seed.

    MissingResourceError for absent weights or packages, ModelFileError for damaged weights,
    UsageError for options that do not fit.
    """
    return ENCODERS[options.encoder].build(folder, seed, options)


def encoder_digest(name: str, encoder: Encoder) -> str:
    """Digest of an encoder's tensors and, for one of another package, of its version."""
    extension = ENCODERS.extension(name)
    if extension is None:
        return encoder.digest
    return hashlib.sha256(f"{encoder.digest} {extension.requirement}".encode()).hexdigest()


def describe(encoder: Encoder, digest: str) -> str:
    """Describe what was loaded, in a line."""
    return f"Encoder: {encoder.spec.title}, {encoder.details()}, sha256 {digest}"

"""An encoder of another package: the power of slow fluctuations in each parcel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fmmtc_bidsapp.models.encoders.base import Clips, Encoder, EncoderKind, Encoding
from fmmtc_bidsapp.models.encoders.spec import EncoderSpec
from fmmtc_bidsapp.models.encoders.windows import normalise
from fmmtc_bidsapp.options import ModelOptions

SPEC = EncoderSpec(
    name="slow-power",
    title="Slow power",
    n_frames=200,
    width=None,  # one feature a parcel
    normalisation="as --normalisation says",
    padding="none: any length is taken",
    pooling="one clip a run",
)


def slow_power(window: torch.Tensor) -> torch.Tensor:
    """(batch, parcel, time) -> (batch, parcel): power below a quarter of the highest frequency."""
    power = torch.fft.rfft(window).abs().square() / window.shape[2]
    return power[:, :, 1 : power.shape[2] // 4].mean(dim=2)


class SlowPower(Encoder):
    """A baseline that any learnt encoder should beat."""

    spec = SPEC

    def prepare(self, series, tr_s, scale=None):
        """Scale the run as the options say; it is one clip."""
        return Clips(normalise(series, self.options.normalisation, scale)[None])

    def encode(self, clips, xyz_mm):
        """One vector a clip; a parcel without data has 0."""
        signal = torch.as_tensor(np.nan_to_num(clips.values)).mT
        return Encoding(slow_power(signal).numpy()[:, None])

    def window_features(self, window, there, xyz_mm):
        """The same with gradients, for --explain parcels."""
        return slow_power(window)


def build(folder: Path | None, seed: int, options: ModelOptions) -> Encoder:
    """Nothing is loaded and nothing drawn."""
    return SlowPower(options, seed)


ENCODER = EncoderKind(SPEC, build)

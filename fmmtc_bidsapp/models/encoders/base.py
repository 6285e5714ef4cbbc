"""The base of every encoder of series: three calls and a specification."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.models.encoders.spec import EncoderSpec
from fmmtc_bidsapp.models.encoders.windows import Scale, fit_scale
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats

__all__ = ["Clips", "Encoder", "EncoderKind", "Encoding"]


@dataclass(frozen=True, eq=False)
class Clips:
    """One run as an encoder reads it."""

    values: Floats
    """(clip, frame, parcel), prepared; a parcel without data is NaN throughout."""
    n_patches_dropped: int = 0
    """Patches of a clip that a short run does not fill."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """What an encoder makes of clips."""

    cls: Floats
    """(clip, draw, width); draws are what an encoder repeats at random, one where it does not."""
    patches: Floats | None = None
    """(clip, patch, parcel, width), for encoders that give them."""


class Encoder(ABC):
    """An encoder of series, built for one analysis.

    Parameters
    ----------
    options
        Of the analysis; an encoder that prepares series in its own way reads none of them.
    seed
        Of whatever it draws.

    Examples
    --------
    >>> import numpy as np
    >>> from fmmtc_bidsapp.models.encoders.base import Clips, Encoder, Encoding
    >>> from fmmtc_bidsapp.models.encoders.spec import EncoderSpec
    >>> from fmmtc_bidsapp.options import ModelOptions
    >>> class Spread(Encoder):
    ...     spec = EncoderSpec(
    ...         "spread", "SD of the first 4 parcels", n_frames=10, width=4, normalisation="none",
    ...         padding="none", pooling="none", is_differentiable=False,
    ...     )
    ...     def prepare(self, series, tr_s, scale=None):
    ...         return Clips(series[None])
    ...     def encode(self, clips, xyz_mm):
    ...         return Encoding(clips.values[..., :4].std(axis=1)[:, None])
    >>> encoder = Spread(ModelOptions(), seed=0)
    >>> encoder.encode(encoder.prepare(np.ones((10, 6)), 2.0), None).cls.shape
    (1, 1, 4)
    """

    spec: ClassVar[EncoderSpec]
    network: nn.Module | None = None
    """What holds its weights, where it has any."""
    patch: int = 20
    """Volumes of a patch: short series are cut to whole ones for the models of series too."""

    def __init__(self, options: ModelOptions, seed: int) -> None:
        self.options = options
        self.seed = seed

    def fit(self, series: Sequence[Floats]) -> Scale | None:
        """Learn what `prepare` needs from the (time, parcel) runs of the training people.

        Called where the normalisation is learnt (``--normalisation robust``).
        """
        return fit_scale(series) if self.options.normalisation == "robust" else None

    @abstractmethod
    def prepare(self, series: Floats, tr_s: float | None, scale: Scale | None = None) -> Clips:
        """Cut and scale a run.

        Parameters
        ----------
        series
            (time, parcel); NaN columns are parcels without data.
        tr_s
            Repetition time, where it is known.
        scale
            What `fit` returned.

        Raises
        ------
        InputError
            When the run cannot be encoded: the reason, for the table of exclusions.
        """

    @abstractmethod
    def encode(self, clips: Clips, xyz_mm: Floats | None) -> Encoding:
        """Encode clips; `xyz_mm` is (parcel, 3)."""

    def window_features(
        self, window: torch.Tensor, there: NDArray[np.bool_], xyz_mm: Floats | None
    ) -> torch.Tensor:
        """Encode windows as the models of series see them, by operations with gradients.

        ``--explain parcels`` goes back through it; an encoder that is not differentiable has none.

        Parameters
        ----------
        window
            (batch, parcel, time) as ``--normalisation`` and ``--window`` make it; 0 where missing.
        there
            (parcel, time) what is not missing.
        xyz_mm
            (parcel, 3)

        Returns
        -------
        torch.Tensor
            (batch, width)
        """
        raise UsageError(f"{self.spec.title} is not differentiable, so it has no map of parcels.")

    def attention(self, clips: Clips, xyz_mm: Floats | None) -> Floats | None:
        """(clip, parcel) where it looks; None for an encoder that does not say."""
        return None

    def to(self, device: torch.device) -> Self:
        """Move the weights to a device."""
        if self.network is not None:
            self.network.to(device)
        return self

    @property
    def digest(self) -> str:
        """sha256 over the names and values of its tensors."""
        digest = hashlib.sha256()
        tensors = {} if self.network is None else self.network.state_dict()
        for name, tensor in tensors.items():
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def details(self) -> str:
        """Say what was loaded, such as its width."""
        return f"width {self.spec.width}"


@dataclass(frozen=True)
class EncoderKind:
    """A row of the table of encoders: what ``--encoder`` names."""

    spec: EncoderSpec
    build: Callable[[Path | None, int, ModelOptions], Encoder]
    """From the folder of the weights, the seed and the options; heavy libraries are imported here.
    """

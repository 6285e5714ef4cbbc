"""BrainLM as an encoder: windows of the options, all token orders of the seed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.models.device import autocast
from fmmtc_bidsapp.models.encoders.base import Clips, Encoder, Encoding
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.spec import RANDOM
from fmmtc_bidsapp.models.encoders.brainlm.tokens import token_orders
from fmmtc_bidsapp.models.encoders.spec import EncoderSpec
from fmmtc_bidsapp.models.encoders.windows import (
    Scale,
    fill_short,
    normalise,
    parcels_with_data,
    window_starts,
)
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats

__all__ = ["BrainLMEncoder"]

_ORDERS_AT_ONCE = 4
"""Bounds the memory of encoding, whatever the number of token orders."""


class BrainLMEncoder(Encoder):
    """BrainLM's network, published or random, with the windows and orders of an analysis.

    The token orders are those of a full window and depend on the seed and the number of parcels
    alone, so that people are comparable; a person's missing tokens are left out. UsageError if
    the window does not fit the network.
    """

    network: BrainLM

    def __init__(
        self,
        network: BrainLM,
        options: ModelOptions,
        seed: int,
        *,
        spec: EncoderSpec = RANDOM,
        origin: str = "",
    ) -> None:
        super().__init__(options, seed)
        self.network = network
        self.spec = spec  # type: ignore[misc]
        self.origin = origin
        self.patch = network.size.timepoint_patching_size
        longest = network.size.num_timepoints_per_voxel
        if options.window % self.patch or options.window > longest:
            raise UsageError(
                f"--window is {options.window}; this encoder takes multiples of {self.patch} up to "
                f"{longest}."
            )

    def prepare(self, series: Floats, tr_s: float | None, scale: Scale | None = None) -> Clips:
        """Normalise the run, fill or cut it, and cut it into windows; `tr_s` is not read."""
        options = self.options
        signal = normalise(series, options.normalisation, scale)
        parcels_with_data(signal)
        filled = fill_short(signal, options, self.patch)
        length = min(len(filled), options.window)
        starts = window_starts(len(filled), options.window)
        windows = np.stack([filled[at : at + length] for at in starts])
        return Clips(windows, (options.window - length) // self.patch)

    def encode(self, clips: Clips, xyz_mm: Floats | None) -> Encoding:
        """Encode each window in each order, in float32: errors of rounding would stay for good."""
        has_data = ~np.asarray(np.isnan(clips.values).any(axis=(0, 1)))
        shown = np.broadcast_to(has_data[:, None], (len(has_data), clips.values.shape[1]))
        orders = self._orders(shown, self.options.token_orders)
        # The network wants numbers everywhere; tokens of parcels without data are not shown to it.
        windows = np.where(has_data, clips.values, 0.0)
        return Encoding(np.stack([self._encode_window(each, xyz_mm, orders) for each in windows]))

    def window_features(
        self, window: torch.Tensor, there: NDArray[np.bool_], xyz_mm: Floats | None
    ) -> torch.Tensor:
        """(batch, parcel, time) -> (batch, hidden), in the first order."""
        n = len(window)
        order = self._orders(there, 1).to(window.device)
        cls: torch.Tensor = self.network(
            window, self._xyz(xyz_mm, window.device).expand(n, -1, -1), order.expand(n, -1)
        )
        return cls

    def details(self) -> str:
        """Return revision or seed, width and layers."""
        size = self.network.size
        size_text = f"width {size.hidden_size}, {size.num_hidden_layers} layers"
        return f"{self.origin}, {size_text}" if self.origin else size_text

    def _orders(self, there: NDArray[np.bool_], n_orders: int) -> torch.Tensor:
        """(parcel, time) -> (order, kept): orders of a full window, without what is not there.

        So two people have the tokens they share in the same order, whatever else one of them lacks.
        """
        n_parcels, n_volumes = there.shape
        n_full, n_patches = self.options.window // self.patch, n_volumes // self.patch
        generator = torch.Generator().manual_seed(self.seed)
        orders = token_orders(n_parcels * n_full, n_orders, generator)
        parcel, patch = orders // n_full, orders % n_full
        has_patch = torch.zeros(n_parcels, n_full, dtype=torch.bool)
        whole = there[:, : n_patches * self.patch].reshape(n_parcels, n_patches, self.patch)
        has_patch[:, :n_patches] = torch.as_tensor(whole.all(axis=2))
        kept: torch.Tensor = (parcel * n_patches + patch)[has_patch[parcel, patch]]
        return kept.view(n_orders, -1)

    @torch.inference_mode()
    def _encode_window(self, window: Floats, xyz_mm: Floats | None, orders: torch.Tensor) -> Floats:
        """(time, parcel) -> (order, hidden)."""
        device = self.network.cls_token.device
        signal = torch.as_tensor(window.T, dtype=torch.float32, device=device)
        xyz = self._xyz(xyz_mm, device)
        n_calls = -(-len(orders) // _ORDERS_AT_ONCE)
        encoded = []
        with autocast(device, torch.float32):
            for order in torch.tensor_split(orders.to(device), n_calls):
                n = len(order)
                cls = self.network(signal.expand(n, -1, -1), xyz.expand(n, -1, -1), order)
                encoded.append(cls.double().cpu().numpy())
        return np.concatenate(encoded)

    def _xyz(self, xyz_mm: Floats | None, device: torch.device) -> torch.Tensor:
        """(parcel, 3) -> (1, parcel, 3)."""
        xyz: torch.Tensor = torch.as_tensor(xyz_mm, dtype=torch.float32, device=device)
        return xyz.unsqueeze(0)

"""LSTM on the series (Table 3 of the paper)."""

from __future__ import annotations

import torch
from torch import nn

from fmmtc_bidsapp.models.networks.single_stream import SingleStream, seeded

__all__ = ["LstmEncoder", "build_lstm"]

_HIDDEN = 32


class LstmEncoder(nn.Module):
    """One layer of LSTM over the volumes, and the mean of its output over all of them.

    The mean, not the last output: after 200 volumes that does not depend on the first, and a
    padded short series ends in zeros.
    """

    def __init__(self, n_parcels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_parcels, hidden, batch_first=True)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Return (batch, hidden) of (batch, time, parcel), always in float32.

        Processors without AVX-512 have no LSTM in bfloat16, and it is the cheapest of all
        networks.
        """
        with torch.autocast(series.device.type, enabled=False):
            states: torch.Tensor = self.lstm(series.float())[0]
        return states.mean(dim=1)


def build_lstm(n_parcels: int, seed: int, hidden: int = _HIDDEN) -> SingleStream:
    """Build an LSTM with random weights of a seed, on the CPU.

    The paper gives no numbers. One layer of 32 units with its outputs averaged is after the
    first LSTM of resting-state series (Dvornek et al. 2017, doi 10.1007/978-3-319-67389-9_42).
    """
    with seeded(seed):
        return SingleStream(LstmEncoder(n_parcels, hidden), nn.Linear(hidden, 1))

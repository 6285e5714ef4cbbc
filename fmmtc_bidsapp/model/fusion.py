"""How the features of the series and those of the connectivity meet (Table 1 of the paper)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

__all__ = ["FUSIONS", "Concat", "Fusion"]


class Fusion(nn.Module, ABC):
    """Two feature vectors of one width to one vector of ``out_width``.

    Parameters
    ----------
    width
        Features of each of the two inputs.
    """

    out_width: int

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_width = width

    @abstractmethod
    def forward(self, series: torch.Tensor, connectivity: torch.Tensor) -> torch.Tensor:
        """(batch, width), (batch, width) -> (batch, out_width)."""


class Concat(Fusion):
    """One after the other, the paper's choice."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.out_width = 2 * width

    def forward(self, series: torch.Tensor, connectivity: torch.Tensor) -> torch.Tensor:
        """(batch, width), (batch, width) -> (batch, 2 * width)."""
        return torch.cat([series, connectivity], dim=1)


FUSIONS: dict[str, type[Fusion]] = {"concat": Concat}

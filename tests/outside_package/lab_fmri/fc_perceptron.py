"""A perceptron on connectivity: one hidden layer on the edges."""

from typing import Any

import torch
from torch import nn

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.networks import NetworkKind, Stream
from fmmtc_bidsapp.models.networks.single_stream import SingleStream, seeded
from fmmtc_bidsapp.records import Examples


class Edges(nn.Module):
    """(batch, parcel, parcel) -> (batch, edge), the upper triangle."""

    def forward(self, fc: torch.Tensor) -> torch.Tensor:
        """Take each edge once."""
        rows, columns = torch.triu_indices(*fc.shape[1:], offset=1)
        return fc[:, rows, columns]


def sizes(examples: Examples, setup: Setup) -> dict[str, Any]:
    """What `build` must know; a bundle keeps it as JSON."""
    return {"n_parcels": examples.fc.shape[1], "width": 16}


def build(sizes: dict[str, Any], seed: int) -> nn.Module:
    """Build the network with random weights of a seed."""
    n_edges = sizes["n_parcels"] * (sizes["n_parcels"] - 1) // 2
    with seeded(seed):
        hidden = nn.Sequential(Edges(), nn.Linear(n_edges, sizes["width"]), nn.ReLU())
        return SingleStream(encoder=hidden, head=nn.Linear(sizes["width"], 1))


NETWORK = NetworkKind(
    title="Perceptron on FC",
    streams=(Stream.of("connectivity"),),
    sizes=sizes,
    build=build,
)

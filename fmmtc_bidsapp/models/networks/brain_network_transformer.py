"""Brain Network Transformer on the connectivity (Kan et al. 2022, arXiv 2210.06681).

Parcels are tokens, and the features of a parcel are its row of the matrix. Transformer layers mix
the parcels; the readout gathers them into clusters around fixed orthonormal centres; a perceptron
reads the clusters. The authors' code differs from their equations in the readout (it puts an
autoencoder of all parcels at once before it, some 11.6 million weights at 424 parcels, and squares
the projections): here it is the equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from fmmtc_bidsapp.models.networks.single_stream import SingleStream, seeded

__all__ = [
    "PUBLISHED_SIZE",
    "BrainNetworkEncoder",
    "BrainNetworkSize",
    "OrthonormalReadout",
    "build_brain_network_transformer",
]


@dataclass(frozen=True)
class BrainNetworkSize:
    """Sizes of the network."""

    n_layers: int
    n_heads: int
    feedforward: int
    """Hidden units of a layer's perceptron."""
    n_clusters: int
    cluster_features: int
    """Features that a cluster is reduced to before all clusters are read together."""
    perceptron: tuple[int, ...]
    """Hidden units of the perceptron that reads the clusters, layer by layer."""
    dropout: float
    """Share dropped in the transformer layers."""


PUBLISHED_SIZE = BrainNetworkSize(
    n_layers=2,
    n_heads=4,
    feedforward=1024,
    n_clusters=100,
    cluster_features=8,
    perceptron=(256, 32),
    dropout=0.1,
)
"""The authors' configuration (github.com/Wayfear/BrainNetworkTransformer, dd81e57)."""


class OrthonormalReadout(nn.Module):
    """Soft clusters of parcels around fixed orthonormal centres, at most as many as features.

    Parcel i belongs to cluster k with the weight ``softmax_k(<z_i, e_k>)``, and a cluster is
    the sum of all parcels with their weights.
    """

    centres: torch.Tensor

    def __init__(self, n_features: int, n_clusters: int) -> None:
        super().__init__()
        # A random rotation, as the paper's Gram-Schmidt of random vectors is.
        centres = nn.init.orthogonal_(torch.empty(n_clusters, n_features))
        self.register_buffer("centres", centres)

    def assignments(self, parcels: torch.Tensor) -> torch.Tensor:
        """(batch, parcel, feature) -> (batch, parcel, cluster), summing to 1 over clusters."""
        return (parcels @ self.centres.mT).softmax(dim=2)

    def forward(self, parcels: torch.Tensor) -> torch.Tensor:
        """(batch, parcel, feature) -> (batch, cluster, feature)."""
        return self.assignments(parcels).mT @ parcels


class BrainNetworkEncoder(nn.Module):
    """Transformer layers, readout, and the hidden layers of the perceptron.

    Heads must divide the features. Where they do not divide the number of parcels, every row
    gets up to ``n_heads - 1`` zeros at its end. There are never more clusters than features, as
    no more centres can be orthonormal.
    """

    def __init__(self, n_parcels: int, size: BrainNetworkSize) -> None:
        super().__init__()
        self.n_zeros = -n_parcels % size.n_heads
        width = n_parcels + self.n_zeros
        n_clusters = min(size.n_clusters, width)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, size.n_heads, size.feedforward, size.dropout, batch_first=True
                )
                for _ in range(size.n_layers)
            )
        )
        self.readout = OrthonormalReadout(width, n_clusters)
        self.reduction = nn.Sequential(nn.Linear(width, size.cluster_features), nn.LeakyReLU())
        widths = (n_clusters * size.cluster_features, *size.perceptron)
        self.perceptron = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(n_in, n_out), nn.LeakyReLU())
                for n_in, n_out in pairwise(widths)
            )
        )

    def forward(self, fc: torch.Tensor) -> torch.Tensor:
        """(batch, parcel, parcel) -> (batch, last of the perceptron)."""
        clusters = self.readout(self.layers(functional.pad(fc, (0, self.n_zeros))))
        features: torch.Tensor = self.perceptron(self.reduction(clusters).flatten(1))
        return features


def build_brain_network_transformer(
    n_parcels: int, seed: int, size: BrainNetworkSize = PUBLISHED_SIZE
) -> SingleStream:
    """Build a Brain Network Transformer with random weights of a seed, on the CPU."""
    with seeded(seed):
        encoder = BrainNetworkEncoder(n_parcels, size)
        return SingleStream(encoder, nn.Linear(size.perceptron[-1], 1))

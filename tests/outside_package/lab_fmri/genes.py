"""A modality that this program does not know, and a network that reads it beside the others."""

from typing import Any

import pandas as pd
import torch
from torch import nn

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.networks import NetworkKind, Stream
from fmmtc_bidsapp.modalities.modality import Dataset, Modality
from fmmtc_bidsapp.modalities.preparation import ScaledColumns
from fmmtc_bidsapp.models.networks.fusion import FUSIONS
from fmmtc_bidsapp.models.networks.multi_stream import MultiStream
from fmmtc_bidsapp.models.networks.single_stream import seeded
from fmmtc_bidsapp.records import Examples, ModalityValues


def read(dataset: Dataset) -> ModalityValues:
    """Read phenotype/genes.tsv, a row per participant; who has none is left out."""
    table = pd.read_csv(dataset.bids_dir / "phenotype" / "genes.tsv", sep="\t", na_values="n/a")
    table = table.set_index("participant_id")
    return ModalityValues(
        arrays={
            person.key: table.loc[person.participant_id].to_numpy()
            for person in dataset.people
            if person.participant_id in table.index
        },
        names=tuple(table.columns),
    )


GENES = Modality(
    name="genes",
    title="gene expression",
    axes=("gene",),
    meaning="expression of a gene, in standard deviations of the laboratory",
    preparation=ScaledColumns,
    read=read,
    missing="leave out",
)


class Flat(nn.Module):
    """(batch, ...) -> (batch, width), by one linear layer."""

    def __init__(self, n_values: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_values, width)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Read every value."""
        return torch.tanh(self.layer(values.flatten(1)))


def sizes(examples: Examples, setup: Setup) -> dict[str, Any]:
    """Count the values of each stream."""
    n_values = [each.values(examples)[0].size for each in NETWORK.streams]
    return {"n_values": n_values, "width": 8, "fusion": setup.model.fusion}


def build(sizes: dict[str, Any], seed: int) -> nn.Module:
    """Build one encoder a stream, and let them meet as --fusion says."""
    width = sizes["width"]
    with seeded(seed):
        encoders = [Flat(n, width) for n in sizes["n_values"]]
        fusion = FUSIONS[sizes["fusion"]](width, n_streams=len(encoders))
        return MultiStream(encoders, fusion, nn.Linear(fusion.out_width, 1))


NETWORK = NetworkKind(
    title="Series, FC and genes",
    streams=(Stream.of("series"), Stream.of("connectivity"), Stream.of(GENES)),
    sizes=sizes,
    build=build,
)

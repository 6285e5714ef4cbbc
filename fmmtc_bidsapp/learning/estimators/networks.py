"""The table of networks: inputs, sizes and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import nn

from fmmtc_bidsapp import extensions
from fmmtc_bidsapp.errors import MissingResourceError
from fmmtc_bidsapp.learning.estimators.inputs import Inputs
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.modalities.modality import Modality
from fmmtc_bidsapp.modalities.preparation import (
    BareWindows,
    CentredSeries,
    FilledEdges,
    Preparation,
    ScaledFeatures,
)
from fmmtc_bidsapp.modalities.table import MODALITIES, modality_of
from fmmtc_bidsapp.models.declared import Declared
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.brainlm.tokens import token_orders
from fmmtc_bidsapp.models.networks.brain_network_transformer import (
    BrainNetworkSize,
    build_brain_network_transformer,
)
from fmmtc_bidsapp.models.networks.brainlm_heads import (
    TunedBrainLM,
    build_frozen_brainlm,
    build_tuned_brainlm,
)
from fmmtc_bidsapp.models.networks.fmmtc import build_fmmtc
from fmmtc_bidsapp.models.networks.fusion import FUSIONS
from fmmtc_bidsapp.models.networks.recurrent import build_lstm
from fmmtc_bidsapp.models.networks.resnet import ResNetSize
from fmmtc_bidsapp.models.networks.resnet_streams import (
    build_connectivity_resnet,
    build_series_resnet,
)
from fmmtc_bidsapp.records import Examples

if TYPE_CHECKING:
    # Importing it takes seconds.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = ["NETWORKS", "NetworkKind", "Stream"]

Sizes = Mapping[str, Any]


@dataclass(frozen=True)
class Stream:
    """One input of a network."""

    source: str
    """Key of `Examples.arrays`."""
    preparation: type[Preparation]

    @classmethod
    def of(cls, modality: Modality | str) -> Stream:
        """Return the stream of a modality, or of its name, with the modality's own preparation."""
        own = MODALITIES[modality] if isinstance(modality, str) else modality
        return cls(own.sources[0], own.preparation)

    @property
    def modality(self) -> str:
        """Name of the modality."""
        return modality_of(self.source)

    def values(self, examples: Examples) -> NDArray[Any]:
        """(person, ...), not prepared."""
        values: NDArray[Any] = examples.arrays[self.source]
        return values

    @property
    def prefix(self) -> str:
        """Prefix of the names of learnt arrays, so that no two modalities share one."""
        return "" if self.modality in MODALITIES.own else f"{self.source}."

    def declared(self) -> dict[str, Declared]:
        """Declare what is learnt; axes other than parcels are the modality's own."""
        return {
            f"{self.prefix}{name}": replace(
                each, axes=tuple(self._axis(axis) for axis in each.axes)
            )
            for name, each in self.preparation.declared.items()
        }

    def _axis(self, axis: str | int) -> str | int:
        is_shared = isinstance(axis, int) or axis in ("parcel", "edge")
        return axis if is_shared else f"{self.prefix}{axis}"

    def arrays(self, learnt: Preparation) -> dict[str, NDArray[Any]]:
        """Return what was learnt, by name."""
        return {f"{self.prefix}{name}": each for name, each in learnt.arrays().items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> Preparation:
        """Rebuild from `arrays`, and whatever else the mapping holds."""
        start = len(self.prefix)
        return self.preparation.restore(
            {name[start:]: each for name, each in arrays.items() if name.startswith(self.prefix)}
        )


@dataclass(frozen=True)
class NetworkKind:
    """A row of the table of networks.

    A network has ``features(*inputs)`` -> (batch, width), a ``head`` with a bias that reads them,
    and their composition as ``forward``. One of several streams also has ``encoders``, one a
    stream, and a ``fusion``; `fmmtc_bidsapp.models.networks.multi_stream.MultiStream` and
    `fmmtc_bidsapp.models.networks.single_stream.SingleStream` have all of it.
    """

    streams: tuple[Stream, ...]
    """Its inputs, in the order in which they are passed."""
    sizes: Callable[[Examples, Setup], dict[str, Any]]
    """What `build` must know of the people and the options, ready for JSON."""
    build: Callable[[Sizes, int], nn.Module]
    """(sizes, seed) -> network on the CPU"""
    batchnorm: tuple[str, int] | None = None
    """The part that has BatchNorm, and which of the inputs it reads."""
    begin: Callable[[Any, Examples, Inputs, Setup], None] | None = None
    """Prepares the built network with the training people, before the first step."""
    slow: str | None = None
    """A pre-trained part, tuned at a fiftieth of the learning rate."""
    title: str = ""
    """As a reader calls it; the name where it is empty."""

    @property
    def tunes_encoder(self) -> bool:
        """Whether training starts from the weights of a pre-trained encoder."""
        return self.slow == "encoder"


_CLS = Stream("cls", ScaledFeatures)
_RANDOM = Stream("cls_random", ScaledFeatures)
_FC = Stream("fc", FilledEdges)
_SERIES = Stream("series", CentredSeries)
_WINDOWS = Stream("series", BareWindows)


def _fmmtc(cls: Stream, fusion: str | None = None) -> NetworkKind:
    def sizes(examples: Examples, setup: Setup) -> dict[str, Any]:
        return {
            "hidden": cls.values(examples).shape[1],
            "fusion": fusion or setup.model.fusion,
            "resnet": asdict(setup.resnet),
            "standardised": True,
        }

    return NetworkKind((cls, _FC), sizes, _build_fmmtc, batchnorm=("fc_encoder", 1))


def _build_fmmtc(sizes: Sizes, seed: int) -> nn.Module:
    return build_fmmtc(
        sizes["hidden"],
        sizes["fusion"],
        seed,
        _resnet_size(sizes),
        # A bundle that does not say was trained before there was a choice.
        standardised=sizes.get("standardised", False),
    )


def _resnet(stream: Stream, build: Callable[[int, ResNetSize], nn.Module]) -> NetworkKind:
    return NetworkKind(
        (stream,),
        lambda examples, setup: {"resnet": asdict(setup.resnet)},
        lambda sizes, seed: build(seed, _resnet_size(sizes)),
        batchnorm=("encoder", 0),
    )


def _resnet_size(sizes: Sizes) -> ResNetSize:
    return ResNetSize(**{name: tuple(each) for name, each in sizes["resnet"].items()})


def _frozen(cls: Stream) -> NetworkKind:
    return NetworkKind(
        (cls,),
        lambda examples, setup: {"hidden": cls.values(examples).shape[1]},
        lambda sizes, seed: build_frozen_brainlm(sizes["hidden"], seed),
    )


def _build_bnt(sizes: Sizes, seed: int) -> nn.Module:
    own = sizes["bnt"] | {"perceptron": tuple(sizes["bnt"]["perceptron"])}
    return build_brain_network_transformer(sizes["n_parcels"], seed, BrainNetworkSize(**own))


def _tuned_sizes(examples: Examples, setup: Setup) -> dict[str, Any]:
    return _brainlm_sizes(examples, _encoder(setup).size)


def _brainlm_sizes(examples: Examples, size: BrainLMSize) -> dict[str, Any]:
    _, n_parcels, n_volumes = _WINDOWS.values(examples).shape
    return {
        "n_parcels": n_parcels,
        "n_tokens": n_parcels * (n_volumes // size.timepoint_patching_size),
        "brainlm": asdict(size),
    }


def _build_tuned(sizes: Sizes, seed: int) -> nn.Module:
    # Here: it takes seconds to import.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

    generator = torch.Generator().manual_seed(seed)
    encoder = BrainLM.from_size(BrainLMSize(**sizes["brainlm"]), generator)
    order = token_orders(sizes["n_tokens"], 1, generator)[0]
    return build_tuned_brainlm(encoder, torch.zeros(sizes["n_parcels"], 3), order, seed)


def _begin_tuned(network: TunedBrainLM, examples: Examples, inputs: Inputs, setup: Setup) -> None:
    """Start from the weights of the encoder, and standardise its features over these people."""
    network.encoder.load_state_dict(_encoder(setup).state_dict())
    _begin_untrained(network, examples, inputs, setup)


def _untrained_sizes(examples: Examples, setup: Setup) -> dict[str, Any]:
    return _brainlm_sizes(examples, setup.brainlm)


def _begin_untrained(
    network: TunedBrainLM, examples: Examples, inputs: Inputs, setup: Setup
) -> None:
    """Keep the random weights, and standardise the features over these people."""
    network.xyz.copy_(torch.as_tensor(examples.coordinates_mm))
    with torch.no_grad():
        network.standardise(torch.cat([network.encode(*each) for each in inputs.batches(1)]))


def _encoder(setup: Setup) -> BrainLM:
    if setup.encoder is None:
        raise MissingResourceError(
            "brainlm-tuned starts from BrainLM's weights, which were not given; name their folder "
            "with --encoder-weights, or leave brainlm-tuned out."
        )
    return setup.encoder


_OWN: Mapping[str, NetworkKind] = {
    "fmmtc": _fmmtc(_CLS),
    "fmmtc-untrained": _fmmtc(_RANDOM),
    **{f"fmmtc-{fusion}": _fmmtc(_CLS, fusion) for fusion in FUSIONS},
    "brainlm": _frozen(_CLS),
    "brainlm-untrained": _frozen(_RANDOM),
    "brainlm-tuned": NetworkKind(
        (_WINDOWS,), _tuned_sizes, _build_tuned, begin=_begin_tuned, slow="encoder"
    ),
    "brainlm-scratch": NetworkKind(
        (_WINDOWS,), _untrained_sizes, _build_tuned, begin=_begin_untrained
    ),
    "lstm": NetworkKind(
        (_SERIES,),
        lambda examples, setup: {"n_parcels": _SERIES.values(examples).shape[1]},
        lambda sizes, seed: build_lstm(sizes["n_parcels"], seed),
    ),
    "resnet-ts": _resnet(_SERIES, build_series_resnet),
    "resnet-fc": _resnet(_FC, build_connectivity_resnet),
    "bnt": NetworkKind(
        (_FC,),
        lambda examples, setup: {
            "n_parcels": examples.fc.shape[1],
            "bnt": asdict(setup.bnt),
        },
        _build_bnt,
    ),
}

NETWORKS = extensions.Registry(extensions.NETWORKS, _OWN, NetworkKind)
"""Every network that can be trained, by the name of its flag."""

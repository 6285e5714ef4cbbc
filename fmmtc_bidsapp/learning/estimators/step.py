"""One step of training: computed as it is written, or recorded once and replayed by a GPU.

A step of these networks is some hundreds of small operations, and a GPU waits longer for the host
to name them than it computes. A CUDA graph names them all at once.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fmmtc_bidsapp.learning.estimators.inputs import Batch
from fmmtc_bidsapp.models.device import autocast

__all__ = ["Recording", "Replayed", "Step", "adamw", "training_step"]

_WARM_UPS = 3
"""Steps as written before one is recorded, so that libraries have chosen their ways by then."""

Step = Callable[[Batch, torch.Tensor], torch.Tensor]
"""(inputs, outcomes) -> mean loss; changes the weights."""


class Recording(Protocol):
    """Ways to take steps on a device that records them."""

    def warm_up(self, step: Step, batch: Batch, y: torch.Tensor) -> torch.Tensor:
        """Take a step as it is written."""

    def record(
        self, step: Step, batch: Batch, y: torch.Tensor
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        """Record a step on these very tensors without taking it, -> (loss, replay)."""


@dataclass(frozen=True)
class _Recorded:
    tensors: Sequence[torch.Tensor]
    loss: torch.Tensor
    replay: Callable[[], None]


class Replayed:
    """Steps that are recorded once for each shape of batch, and replayed from then on.

    What cannot be recorded, for want of memory for one, is taken as it is written, with a warning.

    Parameters
    ----------
    step
        Does the same operations for all batches of one shape, and waits for nothing.
    recording
        How the device records.
    """

    def __init__(self, step: Step, recording: Recording) -> None:
        self._step = step
        self._recording = recording
        self._warm: Counter[tuple[torch.Size, ...]] = Counter()
        self._recorded: dict[tuple[torch.Size, ...], _Recorded | None] = {}

    def __call__(self, batch: Batch, y: torch.Tensor) -> torch.Tensor:
        """Take a step; the loss is good until the next."""
        tensors = (*batch, y)
        shapes = tuple(each.shape for each in tensors)
        if self._warm[shapes] < _WARM_UPS:
            self._warm[shapes] += 1
            return self._recording.warm_up(self._step, batch, y)
        if shapes not in self._recorded:
            self._recorded[shapes] = self._record(tensors)
        recorded = self._recorded[shapes]
        if recorded is None:
            return self._recording.warm_up(self._step, batch, y)
        for own, new in zip(recorded.tensors, tensors, strict=True):
            own.copy_(new)
        recorded.replay()
        return recorded.loss

    def _record(self, tensors: Sequence[torch.Tensor]) -> _Recorded | None:
        own = [each.clone() for each in tensors]
        try:
            loss, replay = self._recording.record(self._step, tuple(own[:-1]), own[-1])
        except RuntimeError as error:
            warnings.warn(
                f"The device cannot record a training step ({error}); training goes on, slower.",
                stacklevel=2,
            )
            return None
        return _Recorded(own, loss, replay)


class _CudaGraphs:
    """CUDA's own recording of a stream."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, step: Step, batch: Batch, y: torch.Tensor) -> torch.Tensor:
        """Take a step on the stream that is recorded later, since some libraries choose by it."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = step(batch, y)
        current.wait_stream(self._stream)
        return loss

    def record(
        self, step: Step, batch: Batch, y: torch.Tensor
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        """Record a step."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            loss = step(batch, y)
        return loss, graph.replay


def training_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, dtype: torch.dtype
) -> Step:
    """Return what takes a step of the network: replayed on a GPU, as written elsewhere.

    Parameters
    ----------
    network
        In training mode whenever a step is taken.
    optimizer
        Of `adamw`.
    device, dtype
        Where and in what type of number.
    """

    def step(batch: Batch, y: torch.Tensor) -> torch.Tensor:
        with autocast(device, dtype):
            logits = network(*batch)
        loss = binary_cross_entropy_with_logits(logits, y)
        torch.autograd.backward(loss)
        optimizer.step()
        # At the end, so that a recording holds its gradients from their first to their last use.
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return Replayed(step, _CudaGraphs(device)) if device.type == "cuda" else step


def adamw(rates: Mapping[float, Sequence[nn.Parameter]], device: torch.device) -> torch.optim.AdamW:
    """Return AdamW with the parameters of each learning rate, ready to be recorded on a GPU."""
    on_gpu = device.type == "cuda"
    groups: list[dict[str, Any]] = [
        # A recording keeps numbers for good; what is to change must be a tensor.
        {"params": each, "lr": torch.tensor(rate, device=device) if on_gpu else rate}
        for rate, each in rates.items()
    ]
    return torch.optim.AdamW(groups, capturable=on_gpu)

"""Where the attention of BrainLM's CLS token goes, through all layers: attention rollout.

An approximation twice over: the convolution beside the attention is left out, and so is everything
that the values and the MLPs do. And it knows nothing of any outcome: it shows where the encoder
looks, not what a prediction rests on.
"""

from __future__ import annotations

from typing import Any

import torch

from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = ["attention_rollout"]


@torch.no_grad()
def attention_rollout(
    encoder: BrainLM, signal: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> torch.Tensor:
    """Follow the CLS token's attention back to the parcels.

    Each layer counts as half its attention, averaged over heads, and half the identity, for the
    residual sum around it; layers are multiplied. Only the row of the CLS token is kept, so of the
    attention no more than one (token, token) matrix of one head exists at a time.

    Parameters
    ----------
    encoder
        On the device of the others.
    signal
        (parcel, time) one window, without NaN.
    xyz
        (parcel, 3) parcel coordinates in mm.
    order
        (kept,) tokens as they are shown, as in `BrainLM.forward`.

    Returns
    -------
    torch.Tensor
        (parcel,) float32; with what stays at the CLS token it sums to 1. NaN for a parcel of which
        no token is shown.

    References
    ----------
    Abnar & Zuidema (2020), doi:10.18653/v1/2020.acl-main.385.
    """
    inputs = _layer_inputs(encoder, signal, xyz, order)
    weight = torch.zeros(len(order) + 1, device=signal.device)
    weight[0] = 1
    for layer, tokens in zip(reversed(encoder.layers), reversed(inputs), strict=True):
        weight = (weight + _attended(layer, tokens, weight)) / 2
    parcel = order // (signal.shape[1] // encoder.config.timepoint_patching_size)
    total = torch.zeros(len(signal), device=signal.device).index_add_(0, parcel, weight[1:])
    shown = torch.zeros(len(signal), dtype=torch.bool, device=signal.device)
    shown[parcel] = True
    return torch.where(shown, total, torch.nan)


def _layer_inputs(
    encoder: BrainLM, signal: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> list[torch.Tensor]:
    """Run the encoder and note what each layer reads, (token, hidden)."""
    inputs: list[torch.Tensor] = []

    def note(layer: Any, read: tuple[torch.Tensor, ...]) -> None:
        inputs.append(read[0][0])

    hooks = [each.register_forward_pre_hook(note) for each in encoder.layers]
    try:
        encoder(signal[None], xyz[None], order[None])
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


def _attended(layer: Any, tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply a row by the attention of a layer, (token,) -> (token,), mean over heads."""
    heads = (layer.n_heads, -1)
    query, key = (each(tokens).unflatten(1, heads) for each in (layer.query, layer.key))
    # Rows of no weight are not looked up: in the last layer all but that of the CLS token.
    asking = weight.nonzero().squeeze(1)
    total = torch.zeros_like(weight)
    for head in range(layer.n_heads):
        scores = query[asking, head] @ key[:, head].T / query.shape[2] ** 0.5
        total += weight[asking] @ scores.softmax(dim=1)
    mean: torch.Tensor = total / layer.n_heads
    return mean

"""Attention rollout of a cohort's first windows."""

from __future__ import annotations

import numpy as np
import torch

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.routes import encoding_order, patch_of
from fmmtc_bidsapp.model.brainlm import BrainLM
from fmmtc_bidsapp.model.rollout import attention_rollout
from fmmtc_bidsapp.records import Examples, Floats

__all__ = ["rollout_maps"]


def rollout_maps(
    examples: Examples, encoder: BrainLM, *, seed: int, device: torch.device
) -> Floats:
    """Follow the frozen encoder's attention in everybody; no model and no outcome has a part in it.

    Parameters
    ----------
    examples : Examples
        The cohort, with series and coordinates.
    encoder : BrainLM
        On `device`.
    seed : int
        Seed of the run, with which token orders were drawn; the first of them is taken.
    device : torch.device
        Where to compute, in float32.

    Returns
    -------
    array
        (person, parcel) as `fmmtc_bidsapp.model.rollout.attention_rollout`, for
        `fmmtc_bidsapp.learning.maps.summarise_rollout`.

    Raises
    ------
    InputError
        Without series or coordinates.
    """
    if examples.series is None or examples.coordinates_mm is None:
        raise InputError("Attention rollout needs the parcel series and the parcels' coordinates.")
    xyz = torch.as_tensor(examples.coordinates_mm, dtype=torch.float32, device=device)
    maps = []
    for window in examples.series:
        patches = window.reshape(len(window), -1, patch_of(encoder))
        there = torch.as_tensor(~np.isnan(patches).any(axis=2).ravel())
        order = encoding_order(len(there), seed)
        shown = order[there[order]].to(device)
        signal = torch.as_tensor(np.nan_to_num(window), dtype=torch.float32, device=device)
        maps.append(attention_rollout(encoder, signal, xyz, shown).double().cpu().numpy())
    return np.array(maps)

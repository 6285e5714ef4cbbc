"""The compute device and its precision."""

from __future__ import annotations

import re

import torch

from fmmtc_bidsapp.errors import UsageError

__all__ = ["autocast", "make_deterministic", "resolve_device", "resolve_precision"]

_BFLOAT16_CAPABILITY = (8, 0)
"""CUDA compute capability (Ampere) from which bfloat16 runs on tensor cores."""


def resolve_device(name: str) -> torch.device:
    """Return the device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; UsageError if absent."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device is {name!r}; allowed are auto, cpu, cuda and cuda:N.")
    n_cuda = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if n_cuda else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= n_cuda:
        raise UsageError(
            f"--device is {name}, but PyTorch {torch.__version__} sees {n_cuda} CUDA devices here. "
            "Use --device cpu or auto; in a container, pass the GPU through (docker --gpus all, "
            "apptainer --nv)."
        )
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type of ``auto``, ``float32`` or ``bfloat16``.

    ``auto`` is bfloat16 where the processor multiplies matrices in it (CUDA from Ampere on,
    CPUs with AMX), float32 elsewhere.
    """
    if name == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def make_deterministic(device: torch.device) -> None:
    """Make CUDA compute the same bytes for the same seed, and true float32.

    An operation without such a form warns.
    """
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which networks on the device compute in this type of number."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))

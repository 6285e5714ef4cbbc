"""Read tensors and check them against what is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fmmtc_bidsapp.errors import ModelFileError, OutputError

__all__ = ["check_tensors", "load_safetensors", "load_tensors", "save_tensors"]

_NAMES_SHOWN = 12


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all; the same tensors give the same bytes.

    Without metadata, whose keys safetensors writes in random order: a JSON file holds it.
    OutputError if the place cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path} cannot be written ({error}); choose a folder with free space that you may "
            "write to."
        ) from error


def load_tensors(path: Path, expected: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """Read a safetensors file of exactly the expected shapes by name, else ModelFileError."""
    found = load_safetensors(path)
    check_tensors(path, found, expected)
    return found


def load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file, whatever tensors it holds."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{path} cannot be read as safetensors ({error}); copy, fetch or train it again."
        ) from error


def check_tensors(
    path: Path, found: Mapping[str, torch.Tensor], expected: Mapping[str, Sequence[int]]
) -> None:
    """ModelFileError that lists all tensors missing, unexpected, misshaped or not finite."""
    shared = [name for name in expected if name in found]
    alike = [name for name in shared if tuple(found[name].shape) == tuple(expected[name])]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshaped": [
            f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name])}"
            for name in shared
            if tuple(found[name].shape) != tuple(expected[name])
        ],
        # Of these alone: a few bytes can stand for a tensor larger than any memory.
        "not finite": [name for name in alike if not bool(torch.isfinite(found[name]).all())],
    }
    lines = [f"  {problem}: {_listed(names)}" for problem, names in problems.items() if names]
    if lines:
        raise ModelFileError(
            "\n".join(
                [
                    f"{path} does not hold the tensors of its configuration:",
                    *lines,
                    "Fetch or copy the file again, together with the configuration beside it.",
                ]
            )
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

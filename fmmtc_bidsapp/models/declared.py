"""Names, types and shapes of the arrays of a fitted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from fmmtc_bidsapp.errors import ModelFileError

__all__ = [
    "Declared",
    "check_tensors_declared",
    "declared_network",
    "flags",
    "floats",
    "under",
    "wholes",
]

_KINDS: Mapping[str, tuple[torch.dtype, ...]] = {
    "real numbers": (torch.float32, torch.float64),
    "whole numbers": (torch.int32, torch.int64),
    "true or false": (torch.bool,),
}


@dataclass(frozen=True)
class Declared:
    """Required type and shape of one array."""

    kind: str
    """A key of `_KINDS`."""
    axes: tuple[str | int, ...]
    """Length of each axis, or its name: axes of one name have one length."""
    optional: bool = False


def floats(*axes: str | int, optional: bool = False) -> Declared:
    """Declare an array of real numbers."""
    return Declared("real numbers", axes, optional)


def wholes(*axes: str | int) -> Declared:
    """Declare an array of whole numbers."""
    return Declared("whole numbers", axes)


def flags(*axes: str | int) -> Declared:
    """Declare an array of true and false."""
    return Declared("true or false", axes)


def under(prefix: str, declared: Mapping[str, Declared]) -> dict[str, Declared]:
    """Put a prefix before the names of arrays."""
    return {f"{prefix}{name}": each for name, each in declared.items()}


class _Kind(Protocol):
    """The part of a row of `NETWORKS` that is needed here."""

    @property
    def build(self) -> Callable[[Mapping[str, Any], int], torch.nn.Module]:
        """(sizes, seed) -> network."""


def declared_network(kind: _Kind, fitted: Mapping[str, Any], n_values: int) -> dict[str, Declared]:
    """Return the tensors of a network (a row of `NETWORKS`) without allocating them.

    ModelFileError if there is no network of these sizes, or it has more than the `n_values`
    stored.
    """
    sizes = {name: each for name, each in fitted.items() if name != "train_loss"}
    brainlm = sizes.get("brainlm")
    try:
        if brainlm is None:
            with torch.device("meta"):
                built = kind.build(sizes, 0)
        else:
            # It draws an order of tokens, which cannot be left out.
            _require_values(brainlm, sizes["n_tokens"], n_values)
            built = kind.build(sizes, 0)
    except (KeyError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        raise ModelFileError(
            f"There is no network of the sizes that network.fitted gives ({error!r}). Train the "
            "model again."
        ) from error
    return {
        name: Declared(_kind(each), tuple(each.shape)) for name, each in built.state_dict().items()
    }


def _require_values(brainlm: Mapping[str, int], n_tokens: int, n_values: int) -> None:
    """Refuse an encoder whose layers alone are larger than all stored values."""
    hidden, layers = brainlm["hidden_size"], brainlm["num_hidden_layers"]
    n_weights = 2 * hidden * layers * (2 * hidden + brainlm["intermediate_size"])
    if max(n_weights, n_tokens) > n_values:
        raise ValueError(f"{n_weights} weights and {n_tokens} tokens, {n_values} numbers stored")


def _kind(tensor: torch.Tensor) -> str:
    return next(kind for kind, dtypes in _KINDS.items() if tensor.dtype in dtypes)


def check_tensors_declared(
    found: Mapping[str, torch.Tensor],
    declared: Mapping[str, Declared],
    lengths: Mapping[str, int],
) -> None:
    """ModelFileError that lists all tensors missing, unknown, or of another type or shape.

    `lengths` are of known axes, by name; others follow from the first tensor with that axis.
    """
    known = {axis: (length, "") for axis, length in lengths.items()}
    problems = [f"{name} is unknown" for name in found if name not in declared]
    for name, each in declared.items():
        if name not in found:
            problems += [] if each.optional else [f"{name} is missing"]
            continue
        problem = _problem(name, found[name], each, known)
        problems += [f"{name} {problem}"] if problem else []
    if problems:
        raise ModelFileError(
            f"The tensors are not those of such a model: {'; '.join(problems[:12])}. Copy the "
            "whole bundle again, or train again."
        )


def _problem(
    name: str, tensor: torch.Tensor, declared: Declared, known: dict[str, tuple[int, str]]
) -> str:
    if tensor.dtype not in _KINDS[declared.kind]:
        return f"holds {tensor.dtype}, not {declared.kind}"
    shape = tuple(tensor.shape)
    if len(shape) != len(declared.axes):
        return f"has shape {shape}, not {len(declared.axes)} axes"
    for axis, length in zip(declared.axes, shape, strict=True):
        needed, by = (axis, "") if isinstance(axis, int) else known.setdefault(axis, (length, name))
        if length != needed:
            source = f" in {by}" if by else ""
            return f"has shape {shape}, where {axis} is {needed}{source}"
    return ""

"""The sizes of a BrainLM network, as its published ``config.json`` gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.errors import ModelFileError

__all__ = ["BrainLMSize"]

_LARGEST = 16_384
"""More than in any model of its kind; a network of any size could be asked for otherwise."""


@dataclass(frozen=True)
class BrainLMSize:
    """Sizes of the encoder; names are those of ``config.json``, defaults the published model's."""

    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    conv_kernel_size: int = 65
    timepoint_patching_size: int = 20
    """Volumes in one token."""
    num_timepoints_per_voxel: int = 200
    """Volumes in the window the encoder was trained with."""
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    """SD of random weights."""

    def __post_init__(self) -> None:
        if min(getattr(self, each.name) for each in fields(self)) <= 0:
            raise ModelFileError(f"Every size of BrainLM must be above 0; found {self}.")
        if max(getattr(self, each.name) for each in fields(self)) > _LARGEST:
            raise ModelFileError(f"No size of BrainLM is above {_LARGEST}; found {self}.")
        rules = {
            "hidden_size must be even": self.hidden_size % 2 == 0,
            "hidden_size must be a multiple of num_attention_heads": (
                self.hidden_size % self.num_attention_heads == 0
            ),
            "conv_kernel_size must be odd": self.conv_kernel_size % 2 == 1,
            "num_timepoints_per_voxel must be a multiple of timepoint_patching_size": (
                self.num_timepoints_per_voxel % self.timepoint_patching_size == 0
            ),
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ModelFileError(f"Not a BrainLM configuration: {'; '.join(broken)}. Found {self}.")

    @classmethod
    def from_json(cls, path: Path) -> BrainLMSize:
        """Read ``config.json``; ModelFileError if it is not of the published network.

        That is no JSON object, lacks a size, or describes other arithmetic.
        """
        content = _read_object(path)
        problems = [*_wrong_values(content), *_other_arithmetic(content)]
        if problems:
            raise ModelFileError(
                f"{path} does not describe the published BrainLM encoder: {'; '.join(problems)}. "
                "Fetch config.json and pytorch_model.bin again, both from one folder of the hub."
            )
        return cls(**{each.name: content[each.name] for each in fields(cls)})


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror}). BrainLM's weights are a folder that holds "
            "config.json and pytorch_model.bin: name that folder, or fetch the files into it."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not JSON ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} holds no JSON object; fetch it again.")
    return content


def _wrong_values(content: dict[str, Any]) -> list[str]:
    problems = []
    for each in fields(BrainLMSize):
        allowed = (int, float) if isinstance(each.default, float) else (int,)
        if each.name not in content:
            problems.append(f"{each.name} is missing")
        elif type(content[each.name]) not in allowed:
            problems.append(f"{each.name} is {content[each.name]!r}, not a number that fits")
    return problems


def _other_arithmetic(content: dict[str, Any]) -> list[str]:
    problems = []
    if content.get("hidden_act") != "gelu":
        problems.append(f"hidden_act is {content.get('hidden_act')!r}, not 'gelu'")
    landmarks, segment = content.get("num_landmarks"), content.get("segment_means_seq_len")
    if landmarks is None or landmarks != segment:
        # Equal values make the published code run full attention instead of Nystrom's.
        problems.append(
            f"num_landmarks ({landmarks}) and segment_means_seq_len ({segment}) must be equal"
        )
    return problems

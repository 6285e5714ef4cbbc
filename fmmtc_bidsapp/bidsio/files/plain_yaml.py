"""Read YAML with plain values only: no code, no references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_plain_yaml"]

_MOST_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """The safe loader without references, which can expand a few lines to billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            name = self.peek_event().anchor  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"*{name} is a reference; write the values instead")
        return super().compose_node(parent, index)


def read_plain_yaml(path: Path) -> Any:
    """Read YAML of at most 1 MB; yaml.YAMLError if damaged, ValueError if no text or too large."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes; at most {_MOST_BYTES} are read")
    # A subclass of the safe loader.
    return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)  # noqa: S506

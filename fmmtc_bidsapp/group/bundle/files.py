"""Names and formats of the files of a bundle, and their JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.visible import visible_json

__all__ = [
    "CALIBRATION_FILE",
    "CARD_FILE",
    "CONFIG_FILE",
    "DESCRIPTION_FILE",
    "FILES_OF_FORMAT",
    "FORMAT",
    "MODEL_PREFIX",
    "PEOPLE_FILE",
    "PREPROCESSING_FILE",
    "RANGE_PREFIX",
    "READ_FORMATS",
    "TENSORS_FILE",
    "read_object",
    "render",
    "text_digest",
]


FORMAT = 3
"""Increased when a program of another format could misread a bundle."""


READ_FORMATS = (2, FORMAT)
"""Formats that are read. Format 2 lacks the negative value of the outcome, the training people and
the ranges of the covariates."""


TENSORS_FILE = "model.safetensors"


CONFIG_FILE = "config.json"


PREPROCESSING_FILE = "preprocessing.json"


CALIBRATION_FILE = "calibration.json"


PEOPLE_FILE = "people.json"


DESCRIPTION_FILE = "description.json"


CARD_FILE = "MODEL_CARD.md"


FILES_OF_FORMAT = {
    2: (TENSORS_FILE, PREPROCESSING_FILE, CALIBRATION_FILE),
    3: (TENSORS_FILE, PREPROCESSING_FILE, CALIBRATION_FILE, PEOPLE_FILE),
}
"""Files whose digests the configuration holds, by format."""


MODEL_PREFIX, RANGE_PREFIX = "model.", "connectivity."
"""Prefixes of the names of tensors."""


def render(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file of a bundle."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return visible_json(text) + "\n"


def text_digest(text: str) -> str:
    """Return the sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; ModelFileError if the file is missing, damaged or no object."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        # Half a character, which JSON can hold, has no digest.
        json.dumps(content, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{path} cannot be read ({error}); --model needs a whole models/<label> folder."
        ) from error
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path} is not a JSON object; copy the whole bundle again.")
    return dict(content)

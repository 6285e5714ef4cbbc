"""A fitted model as files in the folder of its node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.group.bundle.files import DESCRIPTION_FILE, TENSORS_FILE, read_object
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel, restore_model
from fmmtc_bidsapp.models.checkpoint import load_tensors, save_tensors

__all__ = ["fitted_files", "fitted_paths", "load_fitted", "save_bundle_model"]


def save_bundle_model(folder: Path, model: FittedModel) -> tuple[Path, Path]:
    """Write the tensors and description of a fitted model into a folder; return both paths."""
    tensors, description = folder / TENSORS_FILE, folder / DESCRIPTION_FILE
    save_tensors(tensors, model.tensors())
    description.write_text(json.dumps(model.description()), encoding="utf-8")
    return tensors, description


def fitted_files(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the path of the tensors and the description that `save_bundle_model` wrote."""
    return folder / TENSORS_FILE, read_object(folder / DESCRIPTION_FILE)


def fitted_paths(folder: Path) -> tuple[Path, Path]:
    """Return the paths of tensors and description that `save_bundle_model` wrote."""
    return folder / TENSORS_FILE, folder / DESCRIPTION_FILE


def load_fitted(tensors: Path, description: Path, setup: Setup) -> FittedModel:
    """Read a model that `save_bundle_model` wrote."""
    described = read_object(description)
    return restore_model(load_tensors(tensors, described["tensors"]), described, setup)

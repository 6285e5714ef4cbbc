"""The written tables of one group analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.data.outcome_words import outcome_words
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table

__all__ = ["MAIN_MODEL", "MAIN_NAME", "Analysis", "per_person", "read_analysis"]

MAIN_MODEL, MAIN_NAME = "fmmtc", "FMM_TC"


@dataclass(frozen=True, eq=False)
class Analysis:
    """The written tables of one label."""

    files: GroupFiles
    about: Mapping[str, Any]
    """Sidecar of the metrics, or of the predictions where nothing was judged."""
    predictions: pd.DataFrame
    """Of the main model, a row per repeat and person; outcomes as the texts ``0`` and ``1``."""
    people: pd.DataFrame
    """A row per person, see `per_person`."""
    metrics: pd.DataFrame
    learning: pd.DataFrame
    comparison: pd.DataFrame
    arms: pd.DataFrame

    @property
    def trained(self) -> bool:
        """Whether people were predicted by models that never saw them; else one was applied."""
        return bool(self.predictions["fold"].notna().any())

    @property
    def kind(self) -> str:
        """``train``, ``compare`` or ``apply``."""
        if not self.trained:
            return "apply"
        return str(self.about.get("Analysis", "train"))

    @property
    def main(self) -> str:
        """Key of the main model, whose predictions were written."""
        return str(self.about.get("MainModel", MAIN_MODEL))

    @property
    def main_name(self) -> str:
        """Its readable name."""
        return self.model_names[self.main]

    @property
    def model_names(self) -> dict[str, str]:
        """Readable names of the models that were judged, the main model first."""
        names: dict[str, str] = dict(self.about.get("ModelNames", {}))
        first = {self.main: names.pop(self.main, MAIN_NAME)}
        present = {} if self.metrics.empty else {m: m for m in self.metrics["model"].unique()}
        return first | {model: names.get(model, model) for model in present if model != self.main}

    @property
    def outcome_names(self) -> dict[str, str]:
        """Readable names of the outcomes ``1`` and ``0``."""
        return outcome_words(self.about)

    @property
    def has_outcome(self) -> bool:
        """Whether the outcome of anybody is known."""
        return bool(self.predictions["y_true"].notna().any())

    @property
    def own_learning(self) -> pd.DataFrame:
        """Losses of the first training of the main model; without rows where it has no epochs."""
        learning = self.learning
        if learning.empty or "model" not in learning:
            return learning
        return learning[(learning["model"] == self.main) & (learning["seed"] == 0)]


def read_analysis(files: GroupFiles) -> Analysis:
    """Read the tables of one label; those not written are empty, predictions are required."""
    predictions = read_table(files.predictions)
    if predictions.empty:
        raise InputError(
            f"{files.predictions} is missing or empty; a report needs predictions. "
            f"Run the group level with --label {files.label} first."
        )
    about = read_json(files.metrics.with_suffix(".json")) or read_json(
        files.predictions.with_suffix(".json")
    )
    # As text they are groups with names; a column with unknown outcomes is read as 0.0 and 1.0.
    classes = {0: "0", 1: "1"}
    predictions = predictions.assign(
        y_true=predictions["y_true"].map(classes), y_pred=predictions["y_pred"].map(classes)
    )
    return Analysis(
        files,
        about,
        predictions,
        per_person(predictions),
        read_table(files.metrics),
        read_table(files.learning),
        read_table(files.comparison),
        read_table(files.arms),
    )


_PERSON = ["participant_id", "session_id"]
_ROUNDING = 1e-12


def per_person(predictions: pd.DataFrame) -> pd.DataFrame:
    """Reduce ``_predictions.tsv`` to one row per participant.

    Probability and threshold are means over repeats; ``y_pred`` is positive where the mean
    probability reaches the mean threshold, None without a probability.
    """
    means = ("probability", "probability_low", "probability_high", "threshold")
    how = {
        column: "mean" if column in means else "first"
        for column in predictions.columns
        if column not in _PERSON
    }
    people = predictions.groupby(_PERSON, sort=False, dropna=False).agg(how).reset_index()
    # As near as a mean of equal numbers can miss them.
    reached = people["probability"] >= people["threshold"] - _ROUNDING
    called = reached.map({True: "1", False: "0"})
    return people.assign(y_pred=called.where(people["probability"].notna(), None))

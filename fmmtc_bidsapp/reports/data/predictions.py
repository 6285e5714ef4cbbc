"""Predictions, one row per participant."""

from __future__ import annotations

import pandas as pd

__all__ = ["per_person"]

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

"""Predictions, one row per participant."""

from __future__ import annotations

import pandas as pd

__all__ = ["per_person"]

_PERSON = ["participant_id", "session_id"]
_ROUNDING = 1e-12


def per_person(predictions: pd.DataFrame) -> pd.DataFrame:
    """Reduce the predictions to one row per person, and call each by one rule.

    Probability and threshold are means over repeats. A person is called positive where the mean
    probability reaches the mean threshold; with one repeat that is the call of the table.

    Parameters
    ----------
    predictions
        Rows of ``_predictions.tsv``, one per person and repeat.

    Returns
    -------
    pandas.DataFrame
        In the order of first appearance; ``y_pred`` is the call, None without a probability.
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

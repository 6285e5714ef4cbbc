"""Rows of a comparison table: model, participants, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fmmtc_bidsapp.learning.evaluation.compare import COMPARED, compare
from fmmtc_bidsapp.learning.evaluation.performance import metric_rows
from fmmtc_bidsapp.learning.metrics.intervals import Draws
from fmmtc_bidsapp.learning.metrics.predictions import tested_on
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST
from fmmtc_bidsapp.learning.paper.random_baseline import RANDOM
from fmmtc_bidsapp.learning.paper.tables import TABLE_4, Domain, PaperRow
from fmmtc_bidsapp.records import (
    ComparisonRow,
    Difference,
    FoldPredictions,
    Ints,
    MetricRow,
)

__all__ = ["OPTIMISTIC", "TableRow", "comparison_rows", "domain_rows", "table_rows"]

OPTIMISTIC = "optimistic: epoch chosen on the test fold"
"""Printed beside such a figure everywhere."""

_ONE_FIT = "one training; bootstrap interval, given this fit"
_SAME_PEOPLE = (
    "mean and SD over {} trainings tested on the same participants; bootstrap interval over "
    "participants, given these fits"
)
_GUESSES = "interval: 2.5 and 97.5 % of the draws"


_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class TableRow:
    """A line of a table before its evaluation."""

    paper: PaperRow
    folds: tuple[FoldPredictions, ...] = ()
    """Predictions of one model; empty where the line has no figures."""
    main: tuple[FoldPredictions, ...] = ()
    """Those of the main model on the same people, which it is compared with; empty for none."""
    n_folds: int = 0
    """Folds that there should be predictions of."""
    selection: str = "nested"
    train_on: str | None = None
    test_on: str | None = None


def table_rows(
    rows: Sequence[PaperRow],
    predictions: Sequence[FoldPredictions],
    published: Sequence[FoldPredictions],
    main: str,
) -> list[TableRow]:
    """Join lines of tables with cross-validated predictions of everybody.

    `published` are of the networks with another choice of the epoch; such a line follows that
    of its model. The others are compared with `main`.
    """
    ours = _of(predictions, main)
    n_folds = len({(each.fold.repeat, each.fold.fold) for each in predictions})
    lines: list[TableRow] = []
    for row in rows:
        # Where the model of a line "with pre-training" is the one "without", the line has none.
        own = _of(predictions, row.model) if row.possible else ()
        lines.append(TableRow(row, own, ours if row.model != main else (), n_folds))
        for selection in dict.fromkeys(each.selection for each in published):
            other = tuple(each for each in _of(published, row.model) if each.selection == selection)
            if other and row.possible:
                lines.append(TableRow(row, other, n_folds=n_folds, selection=selection))
    return lines


def domain_rows(
    domains: Sequence[Domain],
    predictions: Sequence[FoldPredictions],
    titles: dict[str, str],
    main: str,
) -> list[TableRow]:
    """Join the cells of Table 4 with predictions on `folds_to_fit` of them.

    `titles` name each planned model, in order; the others are compared with `main`.
    """
    lines: list[TableRow] = []
    for domain in domains:
        cell = {(each.repeat, each.fold): each for each in domain.folds}
        inside = [
            tested_on(each, cell[place])
            for each in predictions
            if (place := (each.fold.repeat, each.fold.fold)) in cell
        ]
        ours = _of(inside, main)
        for name, title in titles.items():
            row = PaperRow(
                TABLE_4, len(lines) + 1, name, title, domain.note, possible=bool(domain.folds)
            )
            line = TableRow(
                row,
                _of(inside, name),
                ours if name != main else (),
                len(domain.folds),
                train_on=domain.train_on,
                test_on=domain.test_on,
            )
            lines.append(line)
    return lines


def comparison_rows(
    lines: Sequence[TableRow], random: Sequence[MetricRow], y: Ints, draws: Draws
) -> list[ComparisonRow]:
    """Evaluate every line by the metrics of the paper; NaN with the reason without predictions."""
    return [row for line in lines for row in _rows_of(line, random, y, draws)]


def _rows_of(
    line: TableRow, random: Sequence[MetricRow], y: Ints, draws: Draws
) -> list[ComparisonRow]:
    figures = _figures(line, random, y, draws)
    differences = {each.metric: each for each in _differences(line, y)}
    note = "; ".join(filter(None, (line.paper.note, *_notes(line, y)))) or None
    return [
        _row(line, metric, figures.get(metric), differences.get(metric), note)
        for metric in COMPARED
    ]


def _figures(
    line: TableRow, random: Sequence[MetricRow], y: Ints, draws: Draws
) -> dict[str, MetricRow]:
    if line.paper.model == RANDOM:
        return {each.metric: each for each in random}
    if not line.folds:
        return {}
    rows = metric_rows(line.folds, y, draws, COMPARED)
    if _tests_the_same_people(line):
        rows = [replace(row, mean_low=_NAN, mean_high=_NAN) for row in rows]
    return {each.metric: each for each in rows}


def _differences(line: TableRow, y: Ints) -> list[Difference]:
    if not line.folds or not line.main:
        return []
    found = compare([*line.main, *line.folds], y, line.main[0].model)
    if _tests_the_same_people(line):
        return [replace(each, low=_NAN, high=_NAN, p=_NAN) for each in found]
    return found


def _tests_the_same_people(line: TableRow) -> bool:
    """Whether every training is tested on the same people, whom the folds' SD ignores."""
    first, *others = line.folds
    return bool(others) and all(np.array_equal(first.fold.test, o.fold.test) for o in others)


def _notes(line: TableRow, y: Ints) -> list[str]:
    if line.paper.model == RANDOM:
        return [_GUESSES]
    if not line.paper.possible:
        return []
    lost = line.n_folds - len(line.folds)
    notes = [OPTIMISTIC] if line.selection == BEST_ON_TEST else []
    if not line.folds:
        return [*notes, "failed on every fold: see the table at the end of the run"]
    if lost:
        notes.append(f"failed on {lost} of {line.n_folds} folds, which are left out")
    if line.n_folds == 1:
        notes.append(_ONE_FIT)
    elif _tests_the_same_people(line):
        notes.append(_SAME_PEOPLE.format(len(line.folds)))
    if all(len(np.unique(y[each.fold.test])) < 2 for each in line.folds):
        notes.append("all tested participants have the same outcome")
    return notes


def _row(
    line: TableRow,
    metric: str,
    figures: MetricRow | None,
    difference: Difference | None,
    note: str | None,
) -> ComparisonRow:
    return ComparisonRow(
        table=line.paper.table,
        row=line.paper.row,
        model=line.paper.model,
        title=line.paper.title,
        selection=line.selection,
        train_on=line.train_on,
        test_on=line.test_on,
        metric=metric,
        mean=_NAN if figures is None else figures.mean,
        mean_low=_NAN if figures is None else figures.mean_low,
        mean_high=_NAN if figures is None else figures.mean_high,
        fold_sd=_NAN if figures is None else figures.fold_sd,
        pooled=_NAN if figures is None else figures.pooled,
        pooled_low=_NAN if figures is None else figures.pooled_low,
        pooled_high=_NAN if figures is None else figures.pooled_high,
        difference=_NAN if difference is None else difference.difference,
        difference_low=_NAN if difference is None else difference.low,
        difference_high=_NAN if difference is None else difference.high,
        difference_p=_NAN if difference is None else difference.p,
        difference_p_holm=_NAN,
        note=note,
    )


def _of(predictions: Sequence[FoldPredictions], model: str) -> tuple[FoldPredictions, ...]:
    return tuple(each for each in predictions if each.model == model)

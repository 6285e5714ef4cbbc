"""All results of one run, from its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fmmtc_bidsapp.learning.estimators.models import MODELS, title_of
from fmmtc_bidsapp.learning.evaluation.added_value import brain_scores
from fmmtc_bidsapp.learning.evaluation.compare import holm
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.evaluation.subgroups import evaluate_arms
from fmmtc_bidsapp.learning.evaluation.verdicts import (
    added_values,
    permutation_tests,
    verdict_sentence,
    with_people,
)
from fmmtc_bidsapp.learning.metrics.intervals import Draws, draw_people
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST, LAST_EPOCH, optimism_rows
from fmmtc_bidsapp.learning.paper.comparison_table import comparison_rows, domain_rows, table_rows
from fmmtc_bidsapp.learning.paper.random_baseline import RANDOM, random_rows
from fmmtc_bidsapp.learning.paper.tables import TABLE_4, Domain, PaperRow
from fmmtc_bidsapp.learning.seeds import BOOTSTRAP, derive_seed
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import (
    ComparisonRow,
    Duplicate,
    Evaluation,
    Examples,
    Floats,
    Fold,
    FoldPredictions,
    Ints,
    PermutationTest,
)

__all__ = ["DomainFits", "FittedRun", "evaluate_run", "model_titles"]

_NO_ARMS = "needs --subset-by: a column of arms or drugs"
_SHOWN = {"nested": (), LAST_EPOCH: (LAST_EPOCH,), BEST_ON_TEST: (LAST_EPOCH, BEST_ON_TEST)}
"""Selections of the published protocol in the comparison table, by ``--selection``."""


@dataclass(frozen=True, eq=False)
class DomainFits:
    """Table 4 before it is evaluated."""

    domains: tuple[Domain, ...]
    models: tuple[str, ...]
    """Planned in every cell."""
    predictions: tuple[FoldPredictions, ...]


@dataclass(frozen=True, eq=False)
class FittedRun:
    """Everything that a run has fitted, before it is evaluated."""

    predictions: Sequence[FoldPredictions]
    """Every fold of every repeat of every model; the trainings of one model are merged."""
    examples: Examples
    options: EvaluationOptions
    main: str
    """The model that stands first and that the others are compared with."""
    seed: int
    encoder: str = "brainlm"
    """``--encoder``, for the titles of models that read it."""
    permuted: Mapping[str, Floats] = field(default_factory=dict)
    """By tested model, (permutation,) headline AUROC on shuffled outcomes."""
    exchanged: Mapping[str, Floats] = field(default_factory=dict)
    """By tested model, (permutation, person) scores of `carry_back`; without them no step beyond
    the first is tested."""
    folds: Sequence[Fold] = ()
    """All planned folds; a model that lacks one is not tested. Without them, those of
    `predictions`."""
    untested: Mapping[str, str] = field(default_factory=dict)
    """By model without shuffles, the reason."""
    published: Sequence[Mapping[str, FoldPredictions]] = ()
    """Of `publish_together`, one per network and fold."""
    trainings: Sequence[FoldPredictions] = ()
    """`predictions` before they were merged; `published` is compared with the first training."""
    selection: str = "nested"
    """``--selection``: which of `published` is shown."""
    rows: Sequence[PaperRow] = ()
    """Lines of the paper's tables; models in none of them get a line of their own."""
    across: DomainFits | None = None
    """Table 4."""
    duplicates: Sequence[Duplicate] = ()

    @property
    def planned(self) -> Sequence[Fold]:
        """All planned folds."""
        return self.folds or self.fitted_folds

    @property
    def fitted_folds(self) -> list[Fold]:
        """Folds with predictions, each once."""
        folds = (each.fold for each in self.predictions)
        return list({(each.repeat, each.fold): each for each in folds}.values())

    def draws(self, arm: Ints | None = None) -> Draws:
        """Return the bootstrap draws of all comparisons, within arms if given."""
        rng = np.random.default_rng(derive_seed(self.seed, BOOTSTRAP))
        return draw_people(self.examples.y, self.options.bootstrap, rng, arm)


def evaluate_run(run: FittedRun) -> Evaluation:
    """Evaluate the models of one run: performance, tests, arms, and the tables of the paper."""
    examples, y = run.examples, run.examples.y
    guesses = random_rows(run.fitted_folds, y, run.seed)
    evaluated = evaluate(run.predictions, y, run.options, run.seed)
    observed = {each.model: each.mean for each in evaluated.metrics if each.metric == "auroc"}
    tests = _tests(run, observed)
    arms, differences = (
        ((), ())
        if examples.arms is None
        else evaluate_arms(run.predictions, y, examples.arms, run.options.bootstrap, run.seed)
    )
    lines = table_rows(
        [*run.rows, *_other_rows(run)],
        run.predictions,
        [each[name] for each in run.published for name in _SHOWN[run.selection] if name in each],
        run.main,
    )
    optimism = optimism_rows(run.trainings or run.predictions, run.published, y)
    if run.selection != BEST_ON_TEST:
        nan = float("nan")
        optimism = tuple(replace(row, best_on_test=nan, gap=nan) for row in optimism)
    return replace(
        evaluated,
        tests=tests,
        verdict=verdict_sentence(tests, y, evaluated.expected_half_width),
        metrics=(*evaluated.metrics, *guesses),
        comparison=_adjusted_for_all(
            *comparison_rows(lines, guesses, y, run.draws()), *_across_arms(run)
        ),
        arms=arms,
        arm_differences=differences,
        selection=run.selection,
        optimism=optimism,
        duplicates=tuple(run.duplicates),
    )


def _tests(run: FittedRun, observed: Mapping[str, float]) -> tuple[PermutationTest, ...]:
    """Test every model that was fitted on every fold."""
    by_model: dict[str, list[FoldPredictions]] = {name: [] for name in observed}
    for each in run.predictions:
        by_model[each.model].append(each)
    n_planned = len(run.planned)
    broken = {
        name: f"it could be fitted on {len(own)} of {n_planned} folds only"
        for name, own in by_model.items()
        if len(own) < n_planned
    }
    scores = {
        name: np.vstack([brain_scores(by_model[name], len(run.examples.y)), brains])
        for name, brains in run.exchanged.items()
        if name in by_model and name not in broken
    }
    tests = permutation_tests(
        observed,
        run.permuted,
        added_values(scores, run.examples, run.planned),
        {**run.untested, **broken},
    )
    return tuple(
        with_people(each, [own.fold for own in by_model[each.model]], n_planned) for each in tests
    )


def _adjusted_for_all(*rows: ComparisonRow) -> tuple[ComparisonRow, ...]:
    """Adjust the p of every difference for all of them; a line in two tables is one test."""
    tests = {_test_of(row): row.difference_p for row in rows if not np.isnan(row.difference_p)}
    adjusted = dict(zip(tests, holm(np.array(list(tests.values()))).tolist(), strict=True))
    return tuple(
        row
        if np.isnan(row.difference_p)
        else replace(row, difference_p_holm=adjusted[_test_of(row)])
        for row in rows
    )


def _test_of(row: ComparisonRow) -> tuple[str | None, ...]:
    return row.model, row.selection, row.train_on, row.test_on, row.metric


def model_titles(encoder: str, also: Sequence[str] = ()) -> dict[str, str]:
    """Return the title of every model, of those in `also`, and of the random baseline."""
    titles = {name: title_of(name, encoder) for name in (*MODELS, *also)}
    return titles | {RANDOM: "Random (1,000 draws)"}


def _other_rows(run: FittedRun) -> list[PaperRow]:
    """Return a line for every model that has none, the main one first."""
    listed = {each.model for each in run.rows}
    models = dict.fromkeys([run.main, *(each.model for each in run.predictions)])
    return [
        PaperRow(None, None, name, title_of(name, run.encoder))
        for name in models
        if name not in listed
    ]


def _across_arms(run: FittedRun) -> list[ComparisonRow]:
    """Evaluate Table 4, or say what it needs."""
    y, main, encoder = run.examples.y, run.main, run.encoder
    if run.across is None or run.examples.arms is None:
        without = [PaperRow(TABLE_4, 1, main, title_of(main, encoder), _NO_ARMS, possible=False)]
        lines = table_rows(without, (), (), main) if run.rows else []
        return comparison_rows(lines, (), y, run.draws())
    titles = {name: title_of(name, encoder) for name in run.across.models}
    lines = domain_rows(run.across.domains, run.across.predictions, titles, main)
    # People are drawn within their arm, so that no arm of a draw is empty.
    arm = np.unique(np.asarray(run.examples.arms), return_inverse=True)[1]
    return comparison_rows(lines, (), y, run.draws(arm))

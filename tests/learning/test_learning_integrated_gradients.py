"""Integrated gradients on functions whose integral is known."""

from __future__ import annotations

import pytest
import torch

from fmmtc_bidsapp.learning.explanation.integrated_gradients import Term, integrate, relative


def term(function, x, baseline, at_once=8, **most):
    return Term(function, (torch.tensor([x]),), (torch.tensor([baseline]),), at_once, **most)


def test_of_a_line_attributions_are_the_weight_times_the_way_from_the_baseline():
    weights = torch.tensor([2.0, -1.0, 0.5])
    found = integrate([term(lambda x: x @ weights, [1.0, 2.0, 3.0], [0.5, 0.0, 3.0])])
    torch.testing.assert_close(found.attributions[0], torch.tensor([[1.0, -2.0, 0.0]]))
    assert found.steps == 16
    assert abs(found.error) < 1e-6
    assert found.difference == pytest.approx(-1.0)


def test_of_a_product_both_factors_get_half():
    found = integrate([term(lambda x: x[:, 0] * x[:, 1], [2.0, 3.0], [0.0, 0.0])])
    torch.testing.assert_close(found.attributions[0], torch.tensor([[3.0, 3.0]]))


def test_steps_are_doubled_until_a_kinked_function_adds_up_or_1024_do_not():
    def kinked(x):
        return torch.relu(x[:, 0] - 0.3) * 10

    found = integrate([term(kinked, [1.0], [0.0])])
    assert relative(found.error, found.difference) <= 0.01
    assert 16 < found.steps <= 1024
    narrow = integrate([term(lambda x: torch.sigmoid(1e5 * (x[:, 0] - 0.501)), [1.0], [0.0])])
    assert narrow.steps == 1024
    assert relative(narrow.error, narrow.difference) > 0.01


def test_a_term_that_may_take_fewer_steps_ends_there_while_the_others_go_on():
    def narrow(x):
        return torch.sigmoid(1e5 * (x[:, 0] - 0.501))

    dear = term(narrow, [1.0], [0.0], most_steps=256)
    assert integrate([dear]).steps == 256
    assert integrate([dear, term(narrow, [1.0], [0.0])]).steps == 1024


def test_of_two_terms_only_that_which_misses_something_takes_more_steps():
    calls = {"smooth": 0, "kinked": 0}

    def counted(name, function):
        def call(x):
            calls[name] += len(x)
            return function(x)

        return call

    smooth = counted("smooth", lambda x: x[:, 0] ** 2)
    kinked = counted("kinked", lambda x: torch.relu(x[:, 0] - 0.3) * 10)
    found = integrate([term(smooth, [1.0], [0.0]), term(kinked, [1.0], [0.0])])
    assert found.difference == pytest.approx(8.0, abs=1e-5)
    assert calls["smooth"] < 20 < calls["kinked"]


@pytest.mark.parametrize(("error", "difference", "expected"), [(0, 2, 0), (1, -4, 0.25)])
def test_what_is_missed_is_relative(error, difference, expected):
    assert relative(error, difference) == expected
    assert relative(1e-9, 0.0) == float("inf")


def test_what_says_the_same_at_both_ends_has_not_converged_and_costs_no_more_steps():
    found = integrate([term(lambda x: 0 * x.sum(dim=1), [1.0], [0.0])])
    assert found.steps == 16
    assert relative(found.error, found.difference) == float("inf")

"""Two frozen models on runs that neither has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mc_pipelines.estimator.backtest import backtest
from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.promotion import passed, promotion_checks
from mc_pipelines.estimator.shadow import served_by, shadow
from mc_pipelines.estimator.training import train
from mc_pipelines.foundation.errors import InputError
from mc_pipelines_tests.estimator.synthetic import FIRST, make_history

MADE = FIRST + 20 * DAY


@pytest.fixture(scope="module")
def history():
    return make_history(days=26, runs_a_day=40)


@pytest.fixture(scope="module")
def good(history):
    return train(history.finished_before(MADE))


@pytest.fixture(scope="module")
def bad(history):
    """A model that was taught that size does not matter: its sizes were shuffled."""
    seen = history.finished_before(MADE)
    numbers = np.random.default_rng(4).permutation(seen.numbers)
    return train(replace(seen, numbers=numbers))


def test_the_worse_model_is_found_beyond_doubt_and_the_same_one_is_the_same(history, good, bad):
    report = shadow(good, bad, history)
    assert report.challenger_wape > 1.2 * report.champion_wape
    assert report.low > 0.1
    assert 5.0 < report.days < 7.0
    same = shadow(good, good, history)
    assert (same.low, same.high) == (0.0, 0.0)


def test_only_runs_after_both_models_count_and_their_outcome_teaches_nothing(history, good):
    fresh = history.take(history.submitted > MADE)
    assert shadow(good, good, history).runs <= len(fresh)
    before = served_by(good, fresh)
    np.testing.assert_array_equal(served_by(good, replace(fresh, runtime=fresh.runtime * 9)), before)
    np.testing.assert_array_equal(served_by(good, fresh), before)


def test_without_fresh_runs_it_says_so(history, good):
    with pytest.raises(InputError, match="after both models"):
        shadow(good, good, history.finished_before(MADE - DAY))


def test_a_worse_challenger_or_a_short_shadow_blocks_promotion(history, good, bad):
    judged = backtest(history)
    blocked = {
        check.name: check.passed
        for check in promotion_checks(judged, judged, imbalance=0.0, shadow=shadow(good, bad, history))
    }
    assert not blocked["shadow-wape"]
    assert not blocked["shadow"], "six days are fewer than seven"
    longer = replace(shadow(good, good, history), days=7.0)
    assert passed(promotion_checks(judged, judged, imbalance=0.0, shadow=longer))
    assert passed(promotion_checks(judged, None, imbalance=0.0, shadow=None))
    assert not passed(promotion_checks(judged, None, imbalance=1e-6, shadow=None))

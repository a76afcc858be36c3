"""The backtest from daily sums equals refitting every origin from its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.estimator_backtest import make_runs, refit
from mc_pipelines.estimator.sufficient import Rules, backtest_closed_form, runs_of
from mc_pipelines.foundation.errors import InputError
from mc_pipelines_tests.estimator.synthetic import make_history

DAYS, WORKFLOWS = 40, 12
ORIGINS = np.arange(15, 40)
RULES = Rules(training_days=10)


@pytest.fixture(scope="module")
def runs():
    return make_runs(6000, workflows=WORKFLOWS, days=DAYS, columns=3, seed=2)


@pytest.fixture(scope="module")
def scored(runs):
    return backtest_closed_form(runs, days=DAYS, workflows=WORKFLOWS, origins=ORIGINS, rules=RULES)


@pytest.mark.parametrize("grouped", [False, True])
def test_every_origin_equals_a_refit_from_its_rows(runs, scored, grouped):
    shape = np.full(len(runs.target), np.nan)
    for place, origin in enumerate(ORIGINS.tolist()):
        found = refit(runs, shape, origin, workflows=WORKFLOWS, rules=RULES, grouped=grouped)
        np.testing.assert_allclose(scored.fits.slopes[place], found.slopes, atol=1e-6)
        np.testing.assert_allclose(scored.fits.base[place], found.base, atol=1e-6)
        np.testing.assert_allclose(scored.level[place], found.level, rtol=1e-6)
        np.testing.assert_allclose(scored.predicted[found.rows], found.predicted, rtol=1e-6)


def test_what_finishes_after_an_origin_does_not_matter(runs, scored):
    origin = 25
    late = runs.finished_day >= origin
    other = runs.target.copy()
    other[late] = np.random.default_rng(0).permutation(other[late])
    again = backtest_closed_form(
        replace(runs, target=other), days=DAYS, workflows=WORKFLOWS, origins=ORIGINS, rules=RULES
    )
    asked = (runs.submitted_day <= origin) & np.isfinite(scored.predicted)
    assert asked.any()
    np.testing.assert_array_equal(again.predicted[asked], scored.predicted[asked])


def test_it_predicts_well_and_balances(scored):
    assert scored.wape < 0.4
    assert np.nanmax(np.abs(scored.drift)) < 0.1


def test_what_is_wrong_is_refused_by_name(runs):
    with pytest.raises(InputError, match="target"):
        replace(runs, target=-runs.target)
    with pytest.raises(InputError, match="feature"):
        replace(runs, features=np.full_like(runs.features, np.nan))
    with pytest.raises(InputError, match="submitted"):
        replace(runs, finished_day=runs.submitted_day - 1)
    with pytest.raises(InputError, match="consecutive"):
        backtest_closed_form(runs, days=DAYS, workflows=WORKFLOWS, origins=np.array([3, 5]))


def test_a_history_becomes_runs_on_what_was_asked_for():
    history = make_history(days=20)
    found, days = runs_of(history)
    assert days in {20, 21}
    assert found.features.shape == (len(history), 2)
    scored = backtest_closed_form(found, days=days, workflows=4, origins=np.arange(7, days))
    later = found.submitted_day >= 7
    assert np.isfinite(scored.predicted[later]).all()
    assert scored.wape < 0.35

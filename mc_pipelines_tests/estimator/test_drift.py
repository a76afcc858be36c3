"""Drift: one definition, and no verdict without support."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.estimator.drift import State, bootstrap_interval, drift_of_workflow, drift_table, judge, runs_needed
from mc_pipelines.estimator.history import DAY


def sample(*, count=2000, days=40, ratio=1.0, scatter=0.3, seed=5):
    generator = np.random.default_rng(seed)
    actual = generator.gamma(4, 25, count)
    predicted = actual * ratio * generator.lognormal(-(scatter**2) / 2, scatter, count)
    return predicted, actual, generator.integers(0, days, count) * DAY


def test_equals_a_five_line_sum_of_a_data_frame():
    predicted, actual, finished = sample()
    workflow = np.random.default_rng(1).integers(0, 3, len(actual))
    frame = pl.DataFrame({"w": workflow, "p": predicted, "a": actual})
    plain = dict(frame.group_by("w").agg(pl.col("p").sum() / pl.col("a").sum() - 1).iter_rows())
    for row in drift_table(("w0", "w1", "w2"), workflow, predicted, actual, finished):
        assert row.drift == pytest.approx(plain[int(row.workflow[1])], abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "state"), [(1.0, State.OK), (1.3, State.DRIFT), (0.7, State.DRIFT), (1.05, State.UNDETERMINED)]
)
def test_three_states(ratio, state):
    predicted, actual, finished = sample(ratio=ratio)
    assert drift_of_workflow("w", predicted, actual, finished).state is state


def test_no_verdict_from_few_runs_or_few_days_however_good_the_figure():
    _, actual, finished = sample(count=9)
    assert drift_of_workflow("w", actual, actual, finished).state is State.UNDETERMINED
    _, actual, _ = sample(count=500)
    one_day = np.zeros(500, dtype=np.int64)
    row = drift_of_workflow("w", actual, actual, one_day)
    assert row.state is State.UNDETERMINED
    assert row.low == -math.inf


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        predicted, actual, finished = sample(count=300, days=15, seed=seed)
        low, high = bootstrap_interval(predicted, actual, finished // DAY, seed=seed)
        hits += low <= 0.0 <= high
    assert 0.90 <= hits / 200 <= 0.995


def test_days_that_err_together_widen_the_interval():
    generator = np.random.default_rng(3)
    day = np.repeat(np.arange(20), 50)
    actual = np.full(1000, 10.0)
    shared = actual * np.repeat(generator.lognormal(0, 0.3, 20), 50)
    own = actual * generator.lognormal(0, 0.3, 1000)
    together = bootstrap_interval(shared, actual, day, seed=1)
    apart = bootstrap_interval(own, actual, day, seed=1)
    assert together[1] - together[0] > 3 * (apart[1] - apart[0])


def test_runs_needed_is_the_formula():
    actual = np.array([100.0, 100.0, 100.0, 100.0])
    predicted = np.array([110.0, 90.0, 110.0, 90.0])
    assert runs_needed(predicted, actual) == math.ceil((1.959963984540054 * 0.1 / 0.05) ** 2)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_ok_only_inside_and_drift_only_outside(one, two):
    low, high = min(one, two), max(one, two)
    state = judge(low, high, runs=1000, days=90)
    assert (state is State.OK) == (low >= -0.05 and high <= 0.05)
    assert (state is State.DRIFT) == (low > 0.05 or high < -0.05)

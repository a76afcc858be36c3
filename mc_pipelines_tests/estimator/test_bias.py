"""The tracker bounds the accumulated error, and recovers from a shift."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.estimator.bias import BiasTracker, gain_of_half_life


def test_the_accumulated_error_stays_bounded_through_a_clamp_and_a_heavy_tail():
    generator = np.random.default_rng(8)
    tracker, gain = BiasTracker(), gain_of_half_life(20)
    actuals = generator.gamma(0.5, 2.0, 5000)
    served = []
    for actual in actuals:
        value = min(max(1.4 * tracker.factor, 0.5), 1.5)
        served.append(value)
        tracker.update(value, actual, gain)
    assert abs(sum(served[500:]) / actuals[500:].sum() - 1) < 0.03


def test_back_inside_five_percent_within_sixty_runs_of_a_restart():
    generator = np.random.default_rng(9)
    tracker, gain = BiasTracker(), gain_of_half_life(60)
    for actual in generator.gamma(16, 1 / 16, 400):
        tracker.update(tracker.factor, actual, gain)
    tracker.restart()
    for actual in 1.5 * generator.gamma(16, 1 / 16, 60):
        tracker.update(tracker.factor, actual, gain)
    assert abs(tracker.factor / 1.5 - 1) < 0.05


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), max_size=60), st.floats(0.001, 0.5))
def test_the_factor_stays_within_its_limits(runs, gain):
    tracker = BiasTracker()
    for served, actual in runs:
        tracker.update(served, actual, gain)
    assert 0.2 - 1e-9 <= tracker.factor <= 5.0 + 1e-9


def test_what_is_no_number_teaches_nothing():
    tracker = BiasTracker()
    for served, actual in ((0.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf), (-1.0, 1.0)):
        tracker.update(served, actual, 0.1)
    assert tracker.runs == 0

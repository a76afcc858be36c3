"""The replay knows nothing of the future, and v1 equals its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mc_pipelines.estimator.guardrail import Reason
from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.replay import replay
from mc_pipelines.estimator.v1 import trailing_means
from mc_pipelines_tests.estimator.synthetic import FIRST, make_history, with_runtime

ORIGIN = FIRST + 12 * DAY


@pytest.fixture(scope="module")
def history():
    return make_history()


@pytest.fixture(scope="module")
def made(history):
    return replay(history)[0]


def columns(made, rows):
    return [getattr(made, name)[rows] for name in ("v1", "v2", "served", "confidence", "low", "high")]


def test_what_finishes_after_the_origin_cannot_matter(history, made):
    """Permute the runtimes of all that finishes later: predictions up to the origin are bit-identical."""
    late = history.finished > ORIGIN
    runtime = history.runtime.copy()
    runtime[late] = (
        np.random.default_rng(1).permutation(runtime[late]) + (ORIGIN - history.submitted[late]).clip(0) / 1e6
    )
    other = replay(with_runtime(history, runtime))[0]
    before = history.submitted <= ORIGIN
    for one, two in zip(columns(made, before), columns(other, before), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (columns(made, ~before)[1] != columns(other, ~before)[1]).any()


def test_deleting_later_rows_changes_nothing(history, made):
    kept = history.submitted <= ORIGIN
    other = replay(history.take(kept))[0]
    for one, two in zip(columns(made, kept), columns(other, slice(None)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_replay_is_reproducible(history, made):
    for one, two in zip(columns(made, slice(None)), columns(replay(history)[0], slice(None)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_v1_is_the_trailing_mean_by_definition(history, made):
    plain = np.empty(len(history))
    for index in range(0, len(history), 37):
        midnight = history.submitted[index] // DAY * DAY
        seen = (history.finished < midnight) & (history.finished >= midnight - 30 * DAY)
        own = seen & (history.workflow == history.workflow[index])
        used = own if own.any() else seen
        plain[index] = history.runtime[used].mean() * history.resources[index] if used.any() else np.nan
        np.testing.assert_allclose(made.v1[index], plain[index], rtol=1e-12)
    np.testing.assert_allclose(trailing_means(history), made.v1, rtol=1e-9)


def test_flag_off_serves_v1_bit_for_bit(history, made):
    off = replay(history, enabled=False)[0]
    np.testing.assert_array_equal(off.served, off.v1)
    np.testing.assert_array_equal(off.v1, made.v1)
    assert not off.from_v2.any()
    assert all(Reason.FLAG_OFF in reasons for reasons in off.reasons[500:])


def test_v2_learns_the_shape_and_is_served(history, made):
    judged = history.submitted > FIRST + 7 * DAY
    error = {name: np.abs(getattr(made, name) - history.resource_seconds)[judged].sum() for name in ("served", "v1")}
    assert error["served"] < 0.8 * error["v1"]
    assert made.from_v2[judged].mean() > 0.95


def test_served_is_v1_or_within_half_of_it(made):
    predicted = np.isfinite(made.v1)
    ratio = made.served[predicted] / made.v1[predicted]
    assert ((ratio >= 0.5 - 1e-12) & (ratio <= 1.5 + 1e-12)).all()
    fallback = predicted & ~made.from_v2
    np.testing.assert_array_equal(made.served[fallback], made.v1[fallback])


def test_a_run_counts_once_however_often_it_is_observed(history):
    _, estimator = replay(history)
    run_id = next(iter(estimator.pending))
    assert estimator.observe(run_id, finished=FIRST + 21 * DAY, runtime=10.0)
    state = estimator.workflows[history.workflow_names[history.workflow[list(history.run_ids).index(run_id)]]]
    before = (state.finished, [tracker.log_factor for tracker in state.trackers])
    assert not estimator.observe(run_id, finished=FIRST + 21 * DAY, runtime=99.0)
    assert not estimator.observe("never-predicted", finished=FIRST + 21 * DAY, runtime=99.0)
    assert before == (state.finished, [tracker.log_factor for tracker in state.trackers])


def test_missing_features_fall_back_and_do_not_spoil_the_rest(history):
    numbers = history.numbers.copy()
    rows = np.arange(1000, len(history), 50)
    numbers[rows] = np.nan
    made = replay(replace(history, numbers=numbers))[0]
    assert not made.from_v2[rows].any()
    np.testing.assert_array_equal(made.served[rows], made.v1[rows])
    assert all(Reason.FEATURE_MISSING in made.reasons[row] for row in rows)
    assert np.isfinite(made.served[1000:]).all()

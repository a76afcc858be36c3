"""The early warning keeps quiet where nothing changes, bursts included, and speaks soon where something does."""

from __future__ import annotations

import math

import numpy as np

from mc_pipelines.estimator.setting import DEFAULT_SETTING
from mc_pipelines.estimator.shift import ShiftDetector

RUNS = 60_000


def detector():
    return ShiftDetector(DEFAULT_SETTING.shift_allowance, DEFAULT_SETTING.shift_threshold)


def alarms_of(residuals):
    found = detector()
    return [index for index, value in enumerate(residuals) if found.update(1.0, math.exp(value))]


def test_without_change_the_average_run_length_is_that_of_siegmund():
    generator = np.random.default_rng(31)
    expected = RUNS / (math.exp(DEFAULT_SETTING.shift_threshold + 1.166) - DEFAULT_SETTING.shift_threshold - 2.166)
    for residuals in (generator.normal(0, 0.3, RUNS), generator.laplace(0, 0.3, RUNS)):
        assert len(alarms_of(residuals)) <= 3 * expected  # mean and deviation are learnt, which costs some


def test_runs_that_err_together_are_no_change():
    generator = np.random.default_rng(32)
    bursts = np.repeat(generator.normal(0, 0.25, RUNS // 6), 6) + generator.normal(0, 0.2, RUNS)
    assert len(alarms_of(bursts)) <= RUNS / 1000


def test_half_as_dear_again_is_found_within_thirty_runs():
    generator = np.random.default_rng(33)
    late = 0
    for _ in range(100):
        steady, dearer = generator.normal(0, 0.3, 200), generator.normal(math.log(1.5), 0.3, 30)
        late += not any(index >= 200 for index in alarms_of([*steady, *dearer]))
    assert late <= 5

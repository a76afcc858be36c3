"""Conformal intervals against crepes, and coverage under a change."""

from __future__ import annotations

import math

import numpy as np

from mc_pipelines.estimator.conformal import AdaptiveGroup, ScoreWindow, conformal_quantile, score_of


def test_equals_crepes_in_every_mondrian_group():
    from crepes import ConformalRegressor

    generator = np.random.default_rng(2)
    groups = generator.integers(0, 3, 600)
    residual = generator.normal(0, 0.2 + 0.3 * groups)
    reference = ConformalRegressor().fit(residuals=residual, bins=groups)
    for group in range(3):
        interval = reference.predict_int(np.array([0.0]), bins=np.array([group]), confidence=0.9)
        ours = conformal_quantile(sorted(np.abs(residual[groups == group]).tolist()), 0.9)
        assert math.isclose(float(interval[0, 1]), ours, rel_tol=1e-12)


def test_too_few_scores_promise_nothing():
    assert conformal_quantile([0.1] * 8, 0.9) == math.inf
    assert conformal_quantile([0.1] * 9, 0.9) == 0.1


def test_adaptive_level_keeps_coverage_while_the_scatter_grows():
    generator = np.random.default_rng(4)
    window = ScoreWindow(300)
    group = AdaptiveGroup(window, 0.9, 0.9)
    covered = []
    for index in range(4000):
        actual = math.exp(generator.normal(0, 0.2 + index / 4000))
        width = group.half_width(group, group_size=20)
        score = score_of(1.0, actual)
        if math.isfinite(width):
            covered.append(score <= width)
            group.adapt(covered=covered[-1], rate=0.01)
        window.add(score)
    assert 0.885 <= np.mean(covered) <= 0.915
    assert len(window.ordered) == len(window.latest) == 300
    assert window.ordered == sorted(window.latest)

"""Poisson with profiled levels equals the textbook, and balances."""

from __future__ import annotations

import numpy as np
import pytest

from mc_pipelines.estimator.poisson import fit_own_slopes, fit_poisson, shrink_levels
from mc_pipelines.foundation.errors import InputError


@pytest.fixture(scope="module")
def sample():
    generator = np.random.default_rng(11)
    count, groups = 600, 6
    features = generator.normal(size=(count, 3))
    workflow = generator.integers(0, groups, count)
    offset = np.log(generator.integers(1, 9, count).astype(float))
    mean = np.exp(offset + 1.0 + 0.4 * workflow + features @ [0.5, -0.3, 0.1])
    return features, generator.gamma(1.5, mean / 1.5), offset, workflow, groups


def test_equals_statsmodels_glm(sample):
    import statsmodels.api as sm

    features, target, offset, workflow, groups = sample
    fit = fit_poisson(*sample)
    design = np.column_stack([features, np.eye(groups)[workflow]])
    reference = sm.GLM(target, design, family=sm.families.Poisson(), offset=offset).fit(tol=1e-12, maxiter=100)
    assert fit.converged
    np.testing.assert_allclose(fit.slopes, reference.params[:3], atol=1e-6)
    np.testing.assert_allclose(fit.levels, reference.params[3:], atol=1e-6)


def test_equals_scikit_learn(sample):
    from sklearn.linear_model import PoissonRegressor

    features, target, offset, workflow, groups = sample
    design = np.column_stack([features, np.eye(groups)[workflow]])
    exposure = np.exp(offset)
    reference = PoissonRegressor(alpha=0.0, fit_intercept=False, tol=1e-12, max_iter=2000, solver="newton-cholesky")
    reference.fit(design, target / exposure, sample_weight=exposure)
    fit = fit_poisson(*sample)
    np.testing.assert_allclose(fit.slopes, reference.coef_[:3], atol=1e-6)
    np.testing.assert_allclose(fit.levels, reference.coef_[3:], atol=1e-6)


def test_balance_predicted_equals_actual_inside_every_workflow(sample):
    features, target, offset, workflow, groups = sample
    fit = fit_poisson(*sample)
    fitted = np.exp(offset + fit.levels[workflow] + features @ fit.slopes)
    drift = np.bincount(workflow, fitted, groups) / np.bincount(workflow, target, groups) - 1
    assert np.abs(drift).max() < 1e-9


def test_a_warm_start_reaches_the_same_place_in_fewer_steps(sample):
    cold = fit_poisson(*sample)
    warm = fit_poisson(*sample, start=cold.slopes)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.slopes, cold.slopes, atol=1e-9)


def test_collinear_features_and_empty_workflows_do_not_break_it(sample):
    features, target, offset, workflow, groups = sample
    twice = np.column_stack([features, features[:, 0]])
    fit = fit_poisson(twice, target, offset, workflow, groups + 2)
    assert np.isneginf(fit.levels[groups:]).all()
    single = fit_poisson(features, target, offset, workflow, groups)
    np.testing.assert_allclose(twice @ fit.slopes, features @ single.slopes, atol=1e-5)


def test_a_target_that_is_no_amount_is_refused(sample):
    features, target, offset, workflow, groups = sample
    for bad in (-1.0, np.nan, np.inf):
        wrong = target.copy()
        wrong[3] = bad
        with pytest.raises(InputError):
            fit_poisson(features, wrong, offset, workflow, groups)


def test_few_dear_runs_are_not_dragged_to_the_family_by_orders_of_magnitude():
    levels = np.array([9.1, 4.8, 4.2, 5.0, -np.inf])
    noise = np.array([0.9 / 34, 0.3 / 5000, 0.3 / 900, 0.3 / 400, np.inf])
    shrunk, family, overall = shrink_levels(levels, noise, np.array([0, 0, 0, 0, 1]), 2)
    assert abs(shrunk[0] - 9.1) < 0.05
    assert shrunk[4] == family[1]
    assert min(levels[:4]) < overall < max(levels[:4])


def test_own_slopes_equal_statsmodels_for_each_workflow_without_a_prior(sample):
    import statsmodels.api as sm

    features, target, offset, workflow, groups = sample
    shared = fit_poisson(*sample).slopes
    own = fit_own_slopes(*sample, shared=shared, own_runs=1e-9, tolerance=1e-10)
    for group in range(groups):
        rows = workflow == group
        design = sm.add_constant(features[rows])
        reference = sm.GLM(target[rows], design, family=sm.families.Poisson(), offset=offset[rows])
        found = reference.fit(tol=1e-12, maxiter=100).params
        np.testing.assert_allclose(own[group], found[1:], atol=1e-6)


def test_own_slopes_are_held_at_the_shared_ones_and_a_warm_start_changes_nothing(sample):
    shared = fit_poisson(*sample).slopes
    held = fit_own_slopes(*sample, shared=shared, own_runs=1e9)
    np.testing.assert_allclose(held, np.tile(shared, (sample[4], 1)), atol=1e-5)
    cold = fit_own_slopes(*sample, shared=shared, tolerance=1e-10)
    warm = fit_own_slopes(*sample, shared=shared, start=cold + 0.05, tolerance=1e-10)
    np.testing.assert_allclose(warm, cold, atol=1e-8)


def test_own_slopes_stand_where_their_penalised_score_is_zero_and_survive_a_workflow_without_runs(sample):
    from scipy.optimize import minimize

    features, target, offset, workflow, groups = sample
    shared = fit_poisson(*sample).slopes
    own = fit_own_slopes(features, target, offset, workflow, groups + 1, shared=shared, tolerance=1e-10)
    np.testing.assert_array_equal(own[groups], shared)
    fitted = np.exp(offset + features @ shared)
    totals = np.bincount(workflow, target, groups)
    scale = totals / np.bincount(workflow, fitted, groups)
    mean = fitted * scale[workflow]
    pooled = np.zeros((3, 3))
    for group in range(groups):
        rows = workflow == group
        centred = features[rows] - (mean[rows] @ features[rows]) / totals[group]
        pooled += (centred * mean[rows, None]).T @ centred
    pooled = pooled / totals.sum() + 1e-3 * np.eye(3)
    for group in range(groups):
        rows = workflow == group
        prior = 30.0 * totals[group] / rows.sum() * pooled

        def loss(slopes, rows=rows, prior=prior, total=totals[group]):
            pull = target[rows] @ (features[rows] @ slopes)
            expected = np.exp(offset[rows] + features[rows] @ slopes).sum()
            away = slopes - shared
            return -(pull - total * np.log(expected) - 0.5 * away @ prior @ away) / total

        reference = minimize(loss, shared, method="BFGS", options={"gtol": 1e-10}).x
        np.testing.assert_allclose(own[group], reference, atol=1e-5)

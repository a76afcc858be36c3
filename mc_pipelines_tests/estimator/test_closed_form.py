"""Shared and own slopes equal the textbook's ridge, and lose nothing of the spend."""

from __future__ import annotations

import numpy as np
import pytest

from mc_pipelines.estimator.closed_form import fit_closed_form
from mc_pipelines.foundation.errors import InputError


@pytest.fixture(scope="module")
def sample():
    generator = np.random.default_rng(5)
    count, groups = 800, 5
    features = generator.normal(size=(count, 3))
    workflow = generator.integers(0, groups, count)
    offset = np.log(generator.integers(1, 9, count).astype(float))
    slopes = generator.normal(0.3, 0.4, (groups, 3))
    mean = offset + 1.0 + 0.4 * workflow + (features * slopes[workflow]).sum(axis=1)
    return features, np.exp(mean + generator.normal(0, 0.3, count)), offset, workflow, groups


def test_shared_slopes_equal_least_squares_with_a_dummy_for_each_workflow(sample):
    features, target, offset, workflow, groups = sample
    fit = fit_closed_form(*sample, ridge=0.0)
    design = np.column_stack([features, np.eye(groups)[workflow]])
    reference = np.linalg.lstsq(design, np.log(target) - offset, rcond=None)[0]
    np.testing.assert_allclose(fit.slopes, reference[:3], atol=1e-9)


def test_own_slopes_equal_scikit_learn_without_a_prior_and_the_shared_ones_with_an_endless_one(sample):
    from sklearn.linear_model import LinearRegression

    features, target, offset, workflow, groups = sample
    free = fit_closed_form(*sample, ridge=0.0, own_runs=1e-9)
    held = fit_closed_form(*sample, ridge=0.0, own_runs=1e12)
    for group in range(groups):
        rows = workflow == group
        reference = LinearRegression().fit(features[rows], np.log(target[rows]) - offset[rows])
        np.testing.assert_allclose(free.own_slopes[group], reference.coef_, atol=1e-6)
        np.testing.assert_allclose(held.own_slopes[group], held.slopes, atol=1e-6)


def test_the_exponential_of_a_log_fit_loses_nothing(sample):
    features, target, offset, workflow, groups = sample
    fit = fit_closed_form(*sample)
    for levels, slopes in ((fit.levels, np.tile(fit.slopes, (groups, 1))), (fit.own_levels, fit.own_slopes)):
        fitted = np.exp(offset + levels[workflow] + (features * slopes[workflow]).sum(axis=1))
        drift = np.bincount(workflow, fitted, groups) / np.bincount(workflow, target, groups) - 1
        assert np.abs(drift).max() < 1e-9


def test_a_workflow_without_runs_takes_the_shared_slopes(sample):
    features, target, offset, workflow, groups = sample
    fit = fit_closed_form(features, target, offset, workflow, groups + 1)
    np.testing.assert_allclose(fit.own_slopes[groups], fit.slopes, atol=1e-12)
    assert np.isneginf(fit.own_levels[groups])


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_target_that_is_no_amount_is_refused(sample, bad):
    features, target, *rest = sample
    wrong = target.copy()
    wrong[7] = bad
    with pytest.raises(InputError, match="target"):
        fit_closed_form(features, wrong, *rest)

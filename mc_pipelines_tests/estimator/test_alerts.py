"""Injected shifts are named with the right workflow and the right cause, and recovered from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mc_pipelines.estimator.alerts import Cause, split_all
from mc_pipelines.estimator.backtest import backtest
from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.replay import replay
from mc_pipelines_tests.estimator.synthetic import FIRST, make_history, with_runtime

SHIFT = FIRST + 20 * DAY


@pytest.fixture(scope="module")
def shifted():
    """Four workflows, 30 days; at day 20: 0 runs x1.5, 1 gets inputs x3, 2 stays, 3 is new. Price +20 % on all of 2."""
    history = make_history(days=30, runs_a_day=30)
    late = history.submitted >= SHIFT
    numbers, runtime = history.numbers.copy(), history.runtime.copy()
    runtime[late & (history.workflow == 0)] *= 1.5
    grown = late & (history.workflow == 1)
    numbers[grown] *= 3.0
    runtime[grown] *= 3.0**0.8
    price = np.where(late & (history.workflow == 2), history.price * 1.2, history.price)
    history = replace(with_runtime(history, runtime), numbers=numbers, price=price)
    return history.take(late | (history.workflow != 3))


@pytest.fixture(scope="module")
def replayed(shifted):
    return replay(shifted)


def reference_of(history):
    """One frozen model, fitted before the shift, for all runs."""
    from mc_pipelines.estimator.model import TrainingRows, fit_model
    from mc_pipelines.estimator.setting import DEFAULT_SETTING

    features = np.log1p(history.numbers)
    before = history.finished < SHIFT
    model = fit_model(
        TrainingRows(features[before], history.resource_seconds[before], history.resources[before],
                     history.workflow[before], history.finished[before]),
        as_of=SHIFT, workflow_names=history.workflow_names, family_of_workflow=history.family_of_workflow,
        feature_names=history.number_names, setting=DEFAULT_SETTING,
    )  # fmt: skip
    names = history.workflow_names
    return np.array(
        [
            model.predict(model.level(names[w], history.family_of_workflow[w]), model.standardise(row), 1.0)[0]
            for w, row in zip(history.workflow, features.tolist(), strict=True)
        ]
    )


def test_each_shift_is_named_with_its_cause(shifted):
    splits = {
        split.workflow: split
        for split in split_all(
            shifted, reference_of(shifted), before=shifted.finished < SHIFT, after=shifted.finished >= SHIFT
        )
    }
    assert splits["family0/task0"].causes == (Cause.MODEL,)
    assert splits["family0/task0"].ratios[Cause.MODEL] == pytest.approx(1.5, rel=0.08)
    assert splits["family1/task1"].causes == (Cause.MIX,)
    assert splits["family0/task2"].causes == (Cause.PRICE,)
    assert splits["family0/task2"].ratios[Cause.PRICE] == pytest.approx(1.2, rel=1e-6)
    assert splits["family1/task3"].causes == (Cause.NEW,)


def test_the_parts_add_up_to_the_change(shifted):
    for split in split_all(
        shifted, reference_of(shifted), before=shifted.finished < SHIFT, after=shifted.finished >= SHIFT
    ):
        assert split.price + split.volume + split.mix + split.model == pytest.approx(
            split.after - split.before, rel=1e-9
        )


def test_the_early_warning_names_the_workflow_within_thirty_runs_and_nothing_else(shifted, replayed):
    newcomer = "family1/task3"
    alarms = [alarm for alarm in replayed[0].alarms if alarm[0] >= SHIFT and alarm[1] != newcomer]
    assert {workflow for _, workflow, _ in alarms} == {"family0/task0"}
    at, _, since = alarms[0]
    index = shifted.workflow_names.index("family0/task0")
    runs = ((shifted.workflow == index) & (shifted.submitted >= SHIFT) & (shifted.finished <= at)).sum()
    assert runs <= 30
    assert since > 0


def test_back_inside_five_percent_within_sixty_runs(shifted, replayed):
    made = replayed[0]
    index = shifted.workflow_names.index("family0/task0")
    rows = np.flatnonzero((shifted.workflow == index) & (shifted.submitted >= SHIFT))
    after = rows[60:]
    for source in (made.v2, made.served):
        assert abs(source[after].sum() / shifted.resource_seconds[after].sum() - 1) < 0.05


def test_a_price_shift_moves_no_prediction(shifted, replayed):
    plain = replace(shifted, price=np.full(len(shifted), 0.05747))
    np.testing.assert_array_equal(replay(plain)[0].served, replayed[0].served)


def test_steady_workflows_raise_few_alarms():
    made, _ = replay(make_history(days=40, runs_a_day=50, seed=21))
    assert len(made.alarms) <= 4


def test_the_backtest_names_what_moved_the_last_week_and_a_price_is_no_model_drift():
    history = make_history(days=45, runs_a_day=30)
    cut = int(history.finished.max()) - 7 * DAY
    late = history.submitted >= cut
    runtime = np.where(late & (history.workflow == 0), history.runtime * 1.5, history.runtime)
    price = np.where(late & (history.workflow == 2), history.price * 1.3, history.price)
    shifted = replace(with_runtime(history, runtime), price=price)
    found = {split.workflow: split.causes for split in backtest(shifted).changes}
    assert found["family0/task0"] == (Cause.MODEL,)
    assert found["family0/task2"] == (Cause.PRICE,)
    assert set(found) == {"family0/task0", "family0/task2"}

"""An account bounds what served and paid owe each other, and leaves noise alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.estimator.choice import CandidateLoss, blend_weights
from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.repayment import Balance, repayment_share
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Account

ACCOUNTS = DEFAULT_SETTING.accounts
MINUTE = DAY // 1440


def share(balances, at, *, in_flight=0.0, usual=1.0):
    return repayment_share(
        balances, ACCOUNTS, in_flight=in_flight, usual=usual, at=at,
        least=DEFAULT_SETTING.least_repayment, largest=DEFAULT_SETTING.largest_repayment,
    )  # fmt: skip


def serve(actuals, *, cap, repay):
    """Serve a constant model under a cap that cuts off part of it."""
    balances, total = [Balance(), Balance()], 0.0
    for index, actual in enumerate(actuals):
        at = DAY + index * 10 * MINUTE
        served = min(cap, 1.0 + (share(balances, at) if repay else 0.0))
        for balance, account in zip(balances, ACCOUNTS, strict=True):
            balance.add(served, actual, at=at, half_life_days=account.half_life_days)
        total += served
    return total / actuals.sum() - 1


def test_a_model_that_is_too_low_by_a_fifth_is_made_up_for_where_the_clamp_leaves_room():
    actuals = 1.25 * np.random.default_rng(3).gamma(2.0, 0.5, 4000)
    assert serve(actuals, cap=1.5, repay=False) < -0.15
    assert abs(serve(actuals, cap=1.5, repay=True)) < 0.04


def test_what_no_clamp_allows_is_not_reached():
    actuals = np.full(500, 3.0)
    assert serve(actuals, cap=1.5, repay=True) < -0.45


def test_noise_inside_the_slack_moves_nothing():
    balance = Balance()
    for index in range(200):
        balance.add(1.0, 1.0 + 0.01 * (-1) ** index, at=DAY + index * MINUTE, half_life_days=2.0)
    account = Account(2.0, 0.1, 0.015)
    assert balance.beyond_slack(0.0, at=DAY + 200 * MINUTE, account=account) == 0.0


def test_what_is_in_flight_is_not_asked_twice():
    balances = [Balance(owed=10.0, spend=100.0, at=DAY) for _ in ACCOUNTS]
    alone = share(balances, DAY)
    assert 0.0 < share(balances, DAY, in_flight=5.0) < alone
    assert share(balances, DAY, in_flight=10.0) == 0.0


def test_an_old_error_is_forgiven():
    balances = [Balance(owed=50.0, spend=100.0, at=DAY) for _ in ACCOUNTS]
    assert share(balances, 1000 * DAY) < 0.001


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 10 * DAY)), max_size=30),
    st.floats(-1e6, 1e6),
)
def test_the_share_stays_within_its_bounds_whatever_comes(runs, in_flight):
    balances = [Balance() for _ in ACCOUNTS]
    for served, actual, at in runs:
        for balance in balances:
            balance.add(served, actual, at=1 + at, half_life_days=2.0)
    found = share(balances, 11 * DAY, in_flight=in_flight)
    assert DEFAULT_SETTING.least_repayment <= found <= DEFAULT_SETTING.largest_repayment


def test_the_better_candidate_gets_the_weight_and_equals_share():
    good, bad, same = CandidateLoss(10.0, 100.0, 50), CandidateLoss(14.0, 100.0, 50), CandidateLoss(10.0, 100.0, 50)
    weights = blend_weights([good, bad, same], sharpness=30.0, minimum_runs=1)
    assert abs(sum(weights) - 1.0) < 1e-12
    assert weights[0] == weights[2] > 0.49
    assert weights[1] < 1e-4
    assert blend_weights([CandidateLoss(), CandidateLoss()], sharpness=30.0, minimum_runs=1) == [1.0, 0.0]

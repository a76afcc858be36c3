"""Drift of what was served: frozen predictions against what their executions cost, whoever served."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from mc_pipelines.estimator.drift import State
from mc_pipelines.estimator.history import DAY, moment_of
from mc_pipelines.estimator.ledger import ledger_drift, read_predictions
from mc_pipelines.estimator.pricing import Price
from mc_pipelines.estimator.records import freeze_estimate
from mc_pipelines.estimator.serving import EstimatorService
from mc_pipelines_tests.estimator.synthetic import FIRST, make_history


def test_equals_a_plain_sum_of_every_window_and_ignores_what_was_not_predicted():
    history = make_history(days=40, runs_a_day=10)
    predicted = {
        name: (1.2 * cost, 0.9 * cost, float("nan"))
        for name, cost in zip(history.run_ids[::2].tolist(), history.cost[::2].tolist(), strict=True)
    }
    found = {(one.window_days, one.source): one for one in ledger_drift(history, predicted)}
    assert len(found) == 9
    for days in (7, 28, 90):
        inside = history.finished > history.finished.max() - days * DAY
        told = np.array([name in predicted for name in history.run_ids])
        served = found[days, "served"].rows
        assert sum(row.runs for row in served) == (inside & told).sum()
        assert sum(row.spend_usd for row in served) == pytest.approx(history.cost[inside & told].sum())
        assert all(row.drift == pytest.approx(0.2) and row.state is State.DRIFT for row in served)
        assert all(row.drift == pytest.approx(-0.1) for row in found[days, "v1"].rows)
        assert found[days, "v2"].rows == ()


def test_all_attempts_of_an_execution_are_what_it_cost():
    history = make_history(days=20, runs_a_day=5)
    twice = history.take(np.concatenate([np.arange(len(history)), np.arange(len(history))]))
    predicted = {
        name: (cost, cost, cost) for name, cost in zip(history.run_ids.tolist(), history.cost.tolist(), strict=True)
    }
    (served, *_) = (one for one in ledger_drift(twice, predicted) if one.window_days == 90)
    assert all(row.drift == pytest.approx(-0.5) for row in served.rows)
    assert sum(row.runs for row in served.rows) == len(history)


@pytest.mark.database
def test_the_ledger_gives_back_what_it_froze_in_usd(database):
    history = make_history(days=10, runs_a_day=5)
    service = EstimatorService(None, {"p": Price("p", "USD", Decimal("0.05"))})
    at = moment_of(FIRST + 9 * DAY)
    unknown = service.estimate({}, "family0/task0", run_id="unknown", at=at, price_id="p")
    known = replace(unknown, run_id="known", cost=Decimal("1.5"), v1=Decimal("1.5"))
    with database.app.begin() as connection:
        for one in (unknown, known, replace(known, run_id="euro", currency="EUR")):
            freeze_estimate(connection, one, tenant="acme")
        found = read_predictions(connection, history)
    assert list(found) == ["known"]
    assert found["known"][:2] == (1.5, 1.5)
    assert np.isnan(found["known"][2])

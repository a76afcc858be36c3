"""Where the estimator's commands get their model, runs and people from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mc_pipelines.cli.output import print_json, print_table


def open_service(data: Path | None, prices: Path | None, at: str | None) -> tuple[Any, Any]:
    """Return a service that learnt from a trace, or the champion's, and the moment asked about."""
    from mc_pipelines.estimator.prices import DEFAULT_PRICE, read_prices
    from mc_pipelines.estimator.serving import EstimatorService
    from mc_pipelines.foundation.clock import SystemClock, parse_utc

    table = {DEFAULT_PRICE.price_id: DEFAULT_PRICE} | (read_prices(prices) if prices is not None else {})
    if data is not None:
        from mc_pipelines.estimator.history import moment_of
        from mc_pipelines.estimator.readers import history_from_trace
        from mc_pipelines.estimator.training import train

        artefact = train(history_from_trace(data))
        model = artefact.estimator.model
        last = moment_of(model.as_of) if model is not None else SystemClock().now()
        return EstimatorService(artefact, table), parse_utc(at, field="at") if at else last
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator.registry import load_champion, read_v1

    context = open_context()
    now = parse_utc(at, field="at") if at else context.clock.now()
    with context.database.begin() as connection:
        champion, unreadable = load_champion(connection, context.object_store, at=context.clock.now())
        v1 = read_v1(connection, day=int(now.timestamp()) // 86_400)
    return EstimatorService(champion, table, v1=v1, unreadable=unreadable), now


def read_history(context: Any, data: Path | None) -> Any:
    """Return the last 95 days of execution facts, or a trace."""
    from datetime import timedelta

    from mc_pipelines.estimator.readers import history_from_facts, history_from_trace
    from mc_pipelines.executions.facts import days_with_facts, scan_facts
    from mc_pipelines.foundation.errors import NotFoundError

    if data is not None:
        return history_from_trace(data)
    days = days_with_facts(context.object_store)
    if not days:
        raise NotFoundError(
            "There are no execution facts", field="facts", mend="`mc executions ingest`, or give --data"
        )
    return history_from_facts(
        scan_facts(context.object_store, first_day=days[-1] - timedelta(days=95), last_day=days[-1])
    )


def screened(history: Any, training_days: list[int], own_runs: list[float]) -> list[dict[str, Any]]:
    """Return a backtest of the closed form for every setting, the one with the least WAPE first."""
    import time
    from itertools import product

    import numpy as np

    from mc_pipelines.estimator.backtest import WARM_UP_DAYS, WINDOW_DAYS
    from mc_pipelines.estimator.drift import TOP
    from mc_pipelines.estimator.sufficient import Rules, backtest_closed_form, runs_of
    from mc_pipelines.foundation.errors import InputError

    runs, days = runs_of(history)
    origins = np.arange(max(WARM_UP_DAYS, days - WINDOW_DAYS), days)
    if not len(origins):
        raise InputError("Too few days to judge", field="data", value=days, mend=f"give more than {WARM_UP_DAYS} days")
    count = len(history.workflow_names)
    judged = runs.submitted_day >= origins[0]
    top = np.argsort(-np.bincount(runs.workflow[judged], runs.target[judged], count))[:TOP]
    rows = []
    for window, held in product(training_days, own_runs):
        began = time.perf_counter()
        rules = Rules(training_days=window, own_runs=held)
        found = backtest_closed_form(runs, days=days, workflows=count, origins=origins, rules=rules)
        drift = float(np.nanmax(np.abs(found.drift[top])))
        seconds = time.perf_counter() - began
        rows.append({"training_days": window, "own_runs": held, "wape": found.wape, "drift": drift, "seconds": seconds})
    return sorted(rows, key=lambda row: row["wape"])


def parse_features(given: list[str] | None) -> dict[str, Any]:
    """Return NAME=VALUE options as a mapping; numbers as floats.

    Raises:
        InputError: an option has no name or no sign.
    """
    from mc_pipelines.foundation.errors import InputError

    found: dict[str, Any] = {}
    for entry in given or []:
        name, sign, value = entry.partition("=")
        if not sign or not name:
            raise InputError("Not NAME=NUMBER", field="feature", value=entry, mend="write it such as num_images=4")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def say(value: dict[str, Any], json: bool) -> None:
    """Print a result."""
    if json:
        print_json(value)
    else:
        print_table(("field", "value"), value.items())

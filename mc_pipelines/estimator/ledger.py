"""Drift of what was served: the frozen predictions of the ledger against what their executions cost.

A replay says how the present setting would have done; this says what people were told, by whichever model served
then, flag and fallbacks included. It is the drift of the promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from mc_pipelines.estimator.drift import Drift, State, drift_table
from mc_pipelines.estimator.history import DAY, Floats, History, moment_of
from mc_pipelines.estimator.records import prediction

WINDOWS = (7, 28, 90)
"""Days; the last is the one of the promise."""
SOURCES = ("served", "v1", "v2")
_CURRENCY = "USD"
_LONGEST_RUN_DAYS = 30


@dataclass(frozen=True, slots=True)
class Ledgered:
    """Verdicts on what was served, over one window."""

    window_days: int
    source: str
    rows: tuple[Drift, ...]

    def count(self, state: State) -> int:
        """Return how many workflows are in a state."""
        return sum(row.state is state for row in self.rows)


def read_predictions(connection: Connection, history: History) -> dict[str, tuple[float, float, float]]:
    """Return what was served, v1 and v2 in USD of each run that finished in the last window; NaN where there is none.

    Args:
        connection: the transaction.
        history: the runs; only their span is looked at.
    """
    since = moment_of(int(history.finished.max(initial=0)) - (WINDOWS[-1] + _LONGEST_RUN_DAYS) * DAY)
    columns = (prediction.c.run_id, prediction.c.cost, prediction.c.v1, prediction.c.v2)
    query = select(*columns).where(
        prediction.c.submitted_at >= since, prediction.c.currency == _CURRENCY, prediction.c.cost.is_not(None)
    )
    return {
        row.run_id: (float(row.cost), _number(row.v1), _number(row.v2))
        for row in connection.execute(query.execution_options(yield_per=10_000))
    }


def ledger_drift(history: History, predictions: Mapping[str, tuple[float, float, float]]) -> tuple[Ledgered, ...]:
    """Return the verdicts per window and source on the executions that have a prediction, dearest workflows first.

    All attempts of an execution are what it cost; it finished with its last. Where a source made no prediction for a
    run, that run is in none of its sums: what nobody predicted has no drift.

    Args:
        history: what the runs cost, by execution id.
        predictions: of :func:`read_predictions`.
    """
    names, first, index = np.unique(history.run_ids.astype(str), return_index=True, return_inverse=True)
    actual: Floats = np.bincount(index, history.cost, len(names)).astype(np.float64)
    finished = np.zeros(len(names), dtype=np.int64)
    np.maximum.at(finished, index, history.finished)
    workflow = history.workflow[first]
    nothing = (np.nan,) * len(SOURCES)
    known = np.array([predictions.get(name, nothing) for name in names.tolist()]).reshape(len(names), len(SOURCES))
    end = int(finished.max(initial=0))
    found = []
    for days in WINDOWS:
        inside = finished > end - days * DAY
        for column, source in enumerate(SOURCES):
            rows = np.flatnonzero(inside & np.isfinite(known[:, column]))
            table = drift_table(
                history.workflow_names, workflow[rows], known[rows, column], actual[rows], finished[rows]
            )
            found.append(Ledgered(days, source, tuple(table)))
    return tuple(found)


def _number(value: object) -> float:
    return float("nan") if value is None else float(str(value))

"""The 90-day rolling-origin backtest: what was served, with what was known, against what it cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from mc_pipelines.estimator.alerts import Alarm, Split, recent_changes
from mc_pipelines.estimator.drift import TOLERANCE, TOP, Drift, State, drift_ratio, drift_table, wape
from mc_pipelines.estimator.evaluation import Calibration, Windows, calibration, coverage, weekly_windows
from mc_pipelines.estimator.history import DAY, Floats, History, microseconds, moment_of
from mc_pipelines.estimator.replay import Replay, replay
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Setting
from mc_pipelines.foundation.errors import InputError

WINDOW_DAYS = 90
WARM_UP_DAYS = 7
"""Days before the window of a history that is shorter than the window."""
SOURCES = ("served", "v1", "v2")


@dataclass(frozen=True, slots=True)
class SourceScore:
    """How one source of estimates did over all runs of the window."""

    drift: float
    wape: float
    windows: Windows


@dataclass(frozen=True, eq=False)
class Backtest:
    """The report of one backtest."""

    source: str
    constructed: bool
    start: datetime
    end: datetime
    runs: int
    unpredicted: int
    """Runs of the window for which nothing at all was known; in no sum."""
    spend_usd: float
    workflows: tuple[Drift, ...]
    """Top ten by actual spend in the window, as served."""
    workflows_v1: tuple[Drift, ...]
    workflows_v2: tuple[Drift, ...]
    scores: dict[str, SourceScore]
    v2_share: float
    clamp_share: float
    """Of the runs that were served v2."""
    coverage90: float
    coverage_by_workflow: dict[str, float]
    calibration: Calibration
    reasons: dict[str, int]
    candidates: dict[str, int]
    alarms: tuple[Alarm, ...]
    changes: tuple[Split, ...]
    """Why spend moved in the last week: price, volume, mix or behaviour."""
    excluded: dict[str, int]
    ignored_columns: dict[str, tuple[str, ...]]
    seconds: float
    daily: dict[str, list[float]]
    """USD of each UTC day of the window: actual, served, v1, v2."""
    sample: tuple[tuple[float, float], ...]
    """(served, actual) USD of up to 2,000 runs, for the scatter plot."""

    def summary(self) -> dict[str, Any]:
        """Return the JSON that `mc estimator backtest --json` prints."""
        keys = ("workflow", "spend_usd", "runs", "drift", "low", "high", "state")
        return {
            "workflows": [{key: _finite(getattr(row, key)) for key in keys} for row in self.workflows],
            **{
                source: {"drift": _finite(self.scores[source].drift), "wape": _finite(self.scores[source].wape)}
                for source in SOURCES
            },
            "v2_share": _finite(self.v2_share),
            "clamp_share": _finite(self.clamp_share),
            "coverage90": _finite(self.coverage90),
            "windows_within_5pct": _finite(self.scores["served"].windows.share),
            "seconds": round(self.seconds, 3),
        }

    def document(self) -> dict[str, Any]:
        """Return everything, as JSON; the report file and the registry keep this."""
        return _jsonable(asdict(self))  # type: ignore[no-any-return]

    def count(self, state: State) -> int:
        """Return how many of the top ten have a verdict."""
        return sum(row.state is state for row in self.workflows)


WINDOW = timedelta(days=95)
"""Ninety days to judge, after some to learn from."""
_FEWEST_DAYS = 30


def window_of(days: Sequence[date]) -> tuple[date, date]:
    """Return the newest window that can be judged: its last day ends 95 days of which 30 have facts.

    A few new executions after a long silence are no window to judge; without any such window, the newest
    day's window is returned, and the backtest says what it lacks.

    Args:
        days: the days that have facts, in order.

    Raises:
        InputError: there are none.
    """
    if not days:
        raise InputError("There are no execution facts", field="facts", mend="`mc executions ingest` loads some")
    for place in range(len(days) - 1, -1, -1):
        last = days[place]
        if sum(last - WINDOW <= day <= last for day in days[: place + 1]) >= _FEWEST_DAYS:
            return last - WINDOW, last
    return days[-1] - WINDOW, days[-1]


def backtest(
    history: History,
    *,
    train_until: datetime | None = None,
    window_days: int = WINDOW_DAYS,
    setting: Setting = DEFAULT_SETTING,
    enabled: bool = True,
) -> Backtest:
    """Replay a history and report on the runs that finished in the window.

    The window is the last ``window_days``; of a shorter history all after a warm-up of a week; with
    ``train_until`` all after that moment. The origin moves on every day: the model is refitted at
    midnight, the state of a workflow with every run that finishes.

    Args:
        history: the runs.
        train_until: where the window starts.
        window_days: its length.
        setting: the knobs.
        enabled: the flag estimator_v2; off shows what v1 alone would have done.

    Raises:
        InputError: no run finished in the window.
    """
    began = time.perf_counter()
    made, estimator = replay(history, setting=setting, enabled=enabled)
    start, end = _window(history, train_until, window_days)
    in_window = history.finished >= start
    predicted = np.isfinite(made.served) & np.isfinite(made.v1)
    rows = in_window & predicted
    if not rows.any():
        raise InputError(
            "No run to judge: none finished in the window with anything known before it",
            field="train-until",
            value=moment_of(start).isoformat(),
            mend="give a longer trace or an earlier moment",
        )
    judged = _Judged(history, made, rows, start)
    served = made.from_v2[rows]
    covered, inside = coverage(made.low[rows], made.high[rows], history.resource_seconds[rows])
    tables = {source: judged.table(source) for source in SOURCES}
    names = history.workflow_names
    return Backtest(
        source=history.source,
        constructed=history.constructed,
        start=moment_of(start),
        end=moment_of(end),
        runs=int(rows.sum()),
        unpredicted=int((in_window & ~predicted).sum()),
        spend_usd=float(judged.actual.sum()),
        workflows=tables["served"],
        workflows_v1=tables["v1"],
        workflows_v2=tables["v2"],
        scores={source: judged.score(source) for source in SOURCES},
        v2_share=float(served.mean()),
        clamp_share=float(made.clamped[rows][served].mean()) if served.any() else 0.0,
        coverage90=covered,
        coverage_by_workflow={
            row.workflow: float(inside[judged.workflow == names.index(row.workflow)].mean()) for row in tables["served"]
        },
        calibration=calibration(
            judged.workflow,
            history.finished[rows],
            start,
            made.confidence[rows],
            judged.predicted("v2"),
            judged.actual,
            tolerance=setting.confidence_tolerance,
        ),
        reasons=dict(Counter(str(reason) for index in np.flatnonzero(rows) for reason in made.reasons[index])),
        candidates={
            candidate.name: int((made.chosen[rows] == index).sum())
            for index, candidate in enumerate(setting.candidates)
        },
        alarms=tuple(Alarm(moment_of(at), workflow, since) for at, workflow, since in estimator.alarms if at >= start),
        changes=recent_changes(history, made.features, estimator.asked_names, setting),
        excluded=history.excluded,
        ignored_columns=history.ignored_columns,
        seconds=time.perf_counter() - began,
        daily=judged.daily(),
        sample=judged.sample(),
    )


@dataclass(frozen=True, eq=False)
class _Judged:
    """The rows of the window, in USD."""

    history: History
    made: Replay
    rows: Any
    start: int

    @property
    def workflow(self) -> Any:
        return self.history.workflow[self.rows]

    @property
    def finished(self) -> Any:
        return self.history.finished[self.rows]

    @property
    def actual(self) -> Floats:
        return np.asarray(self.history.cost[self.rows])

    def predicted(self, source: str) -> Floats:
        """USD by one source, at the price that applied to the run: price changes are no model drift."""
        seconds: Floats = getattr(self.made, source)
        return np.asarray((seconds * self.history.price / 3600.0)[self.rows])

    def table(self, source: str) -> tuple[Drift, ...]:
        return tuple(
            drift_table(
                self.history.workflow_names, self.workflow, self.predicted(source), self.actual, self.finished, top=TOP
            )
        )

    def score(self, source: str) -> SourceScore:
        predicted = self.predicted(source)
        return SourceScore(
            drift_ratio(predicted, self.actual),
            wape(predicted, self.actual),
            weekly_windows(self.workflow, self.finished, self.start, predicted, self.actual, tolerance=TOLERANCE),
        )

    def daily(self) -> dict[str, list[float]]:
        day = (self.finished - self.start) // DAY
        return {"actual": np.bincount(day, self.actual).tolist()} | {
            source: np.bincount(day, self.predicted(source)).tolist() for source in SOURCES
        }

    def sample(self) -> tuple[tuple[float, float], ...]:
        served, actual = self.predicted("served"), self.actual
        step = max(1, len(actual) // 2000)
        return tuple(zip(served[::step].tolist(), actual[::step].tolist(), strict=True))


def _window(history: History, train_until: datetime | None, window_days: int) -> tuple[int, int]:
    first, last = int(history.submitted.min()), int(history.submitted.max())
    end = max(last, int(history.finished.max()))
    if train_until is not None:
        return microseconds(train_until), end
    if last - first > window_days * DAY:
        return last - window_days * DAY, end
    return first + WARM_UP_DAYS * DAY, end


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: both become null."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return str(value) if isinstance(value, State) else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return _finite(value)

"""What a model may look at, and when each column is known.

Every column carries a mark: ``submit`` (known when the run is published), ``ready`` (known when its
inputs are staged, before it starts) or ``post-hoc`` (measured by running). A model of moment ``ready``
may use ``submit`` and ``ready`` columns; nothing ever uses a ``post-hoc`` one, and a column without a
mark is not used either: silence is not permission.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.executions.fact_schema import Known
from mc_pipelines.foundation.errors import InputError

MINIMUM_RUNS_TO_JUDGE_LEAKAGE = 50
LEAKAGE_RANK_CORRELATION = 0.999
"""A column that orders the runs as their runtimes do is a runtime under another name."""

_ORDER = {Known.SUBMIT: 0, Known.READY: 1, Known.POST_HOC: 2}

_IDENTITY = frozenset(
    {
        *("ts", "published_at", "workflow", "family", "user", "exe", "group", "tenant", "service"),
        *("cloud", "region", "price_id", "currency", "nodes", "cores", "resources"),
    }
)
"""Columns that say which run it is, where and when, known at submit; a number among them is no magnitude."""
_SUBMIT = (*_IDENTITY, "n_parents", "n_children")
_READY = ("in_bytes", "n_in")
_POST_HOC = (
    *("runtime_s", "makespan_s", "avg_cpu", "read_bytes", "written_bytes", "mem_bytes", "peak_rss", "rchar", "wchar"),
    *("started_at", "finished_at", "recorded_at", "outcome", "fault_owner", "excluded_reason", "attempt"),
    *("resource_seconds", "cost_minor", "cost_usd", "receipt_digest"),
)
_MARKS: dict[str, Known] = (
    dict.fromkeys(_SUBMIT, Known.SUBMIT) | dict.fromkeys(_READY, Known.READY) | dict.fromkeys(_POST_HOC, Known.POST_HOC)
)
_PATTERNS: tuple[tuple[re.Pattern[str], Known], ...] = (
    (re.compile(r".*post_?hoc.*", re.IGNORECASE), Known.POST_HOC),
    (re.compile(r"out_bytes.*"), Known.POST_HOC),
    (re.compile(r"(actual|measured|observed)_.*"), Known.POST_HOC),
    (re.compile(r"num_[a-z0-9_]+"), Known.SUBMIT),
    (re.compile(r"[a-z0-9_]+_length"), Known.SUBMIT),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The columns of a data set, sorted by what may be done with them."""

    numbers: tuple[str, ...]
    """Magnitudes known by the moment of prediction; they enter the model as log(1 + x)."""
    post_hoc: tuple[str, ...]
    """Measured by running: never used."""
    late: tuple[str, ...]
    """Known before the start, but later than the moment of prediction: not used at this moment."""
    unmarked: tuple[str, ...]
    """Nobody said when they are known: not used."""


def mark_of(column: str, extra: dict[str, Known] | None = None) -> Known | None:
    """Return when ``column`` is known, or None where nobody said.

    Args:
        column: the column's name.
        extra: marks that travel with the data (the ``features`` struct of execution facts); they may
            never turn a column that is post-hoc here into a known one.
    """
    own = _MARKS.get(column)
    if own is None:
        own = next((known for pattern, known in _PATTERNS if pattern.fullmatch(column)), None)
    given = (extra or {}).get(column)
    if own is None:
        return given
    if given is None:
        return own
    return max(own, given, key=_ORDER.__getitem__)


def select_features(
    columns: Iterable[str],
    *,
    numeric: Iterable[str],
    moment: Known = Known.READY,
    requested: Sequence[str] | None = None,
    marks: dict[str, Known] | None = None,
) -> Selection:
    """Sort columns into what a model of ``moment`` may use and what it may not.

    Args:
        columns: all columns of the data set.
        numeric: those of a numeric type.
        moment: the moment of prediction.
        requested: use exactly these; None uses every marked magnitude.
        marks: when-known marks that travel with the data.

    Raises:
        InputError: a requested column is post-hoc, unknown, unmarked, late or no number.
    """
    present = list(dict.fromkeys(columns))
    numbers = set(numeric)
    marked = {column: mark_of(column, marks) for column in present}
    if requested is not None:
        for column in requested:
            _refuse_unless_usable(column, marked, numbers, moment)
    usable = [
        column
        for column in present
        if marked[column] is not None
        and _ORDER[marked[column] or Known.POST_HOC] <= _ORDER[moment]
        and column not in _IDENTITY
        and column in numbers
    ]
    return Selection(
        numbers=tuple(requested) if requested is not None else tuple(usable),
        post_hoc=tuple(column for column in present if marked[column] is Known.POST_HOC),
        late=tuple(
            column for column in present if marked[column] is Known.READY and _ORDER[moment] < _ORDER[Known.READY]
        ),
        unmarked=tuple(column for column in present if marked[column] is None),
    )


def _refuse_unless_usable(column: str, marked: dict[str, Known | None], numbers: set[str], moment: Known) -> None:
    if column not in marked:
        raise InputError("No such feature column", field="feature", value=column, mend="name a column of the data")
    mark = marked[column]
    if mark is Known.POST_HOC:
        raise InputError(
            "A column that is measured by running the workflow cannot be a feature",
            field="feature",
            value=column,
            mend="leave it out: it is not known when the estimate is made",
        )
    if mark is None:
        raise InputError(
            "Nobody said when this column is known",
            field="feature",
            value=column,
            mend="give it a when-known mark (submit, ready or post-hoc)",
        )
    if _ORDER[mark] > _ORDER[moment]:
        raise InputError(
            f"The column is known only when inputs are staged, and the estimate is made at {moment.value}",
            field="feature",
            value=column,
            mend="predict at moment ready, or leave it out",
        )
    if column not in numbers:
        raise InputError("A feature must be a number", field="feature", value=column, mend="leave it out")


def refuse_leakage(names: Sequence[str], values: NDArray[np.float64], runtime: NDArray[np.float64]) -> None:
    """Refuse a training set in which a column is the runtime in disguise.

    Args:
        names: feature columns, in the order of ``values``.
        values: one row a run; NaN where missing.
        runtime: seconds, one a run.

    Raises:
        InputError: a column's ranks equal the runtime's (Spearman correlation above 0.999 either way).
    """
    from scipy.stats import rankdata

    if len(runtime) < MINIMUM_RUNS_TO_JUDGE_LEAKAGE or np.ptp(runtime) == 0:
        return
    for index, name in enumerate(names):
        column = values[:, index]
        known = np.isfinite(column)
        if known.sum() < MINIMUM_RUNS_TO_JUDGE_LEAKAGE or np.ptp(column[known]) == 0 or np.ptp(runtime[known]) == 0:
            continue
        correlation = np.corrcoef(rankdata(column[known]), rankdata(runtime[known]))[0, 1]
        if abs(correlation) > LEAKAGE_RANK_CORRELATION:
            raise InputError(
                "The training set leaks: this column orders the runs exactly as their runtimes do",
                field="feature",
                value=name,
                mend="mark it post-hoc; only what is known before a run may be a feature",
            )


def refuse_unfinished(run_ids: NDArray[np.object_], finished_us: NDArray[np.int64], origin_us: int) -> None:
    """Refuse training on a run that had not finished at the origin.

    Raises:
        InputError: names the first such run.
    """
    late = np.flatnonzero(finished_us > origin_us)
    if len(late):
        raise InputError(
            "The training set leaks: this run finished after the origin of the forecast",
            field="run",
            value=str(run_ids[late[0]]),
            mend="train only on runs that finished before the origin",
        )

"""Half-open intervals of integer milliseconds: union, difference and length, all exact.

A moment is counted in milliseconds since 1970-01-01T00:00:00Z, so that no time zone, no daylight saving
and no float takes part. ``[start, end)`` touches ``[end, later)`` and does not overlap it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """``[start, end)`` in milliseconds since the epoch; never empty."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise InputError(
                "An interval ends after it starts",
                field="interval",
                value=f"{to_moment(self.start).isoformat()}/{to_moment(self.end).isoformat()}",
                mend="write the earlier moment first",
            )

    @property
    def length(self) -> int:
        """Milliseconds between start and end."""
        return self.end - self.start

    @classmethod
    def between(cls, start: datetime, end: datetime, *, field: str = "interval") -> Interval:
        """Return the interval between two aware moments.

        Raises:
            InputError: a moment is naive, finer than a millisecond, or the end is not after the start.
        """
        return cls(to_milliseconds(start, field=field), to_milliseconds(end, field=field))


def to_milliseconds(moment: datetime, *, field: str) -> int:
    """Return an aware moment as milliseconds since the epoch.

    Raises:
        InputError: the moment is naive or finer than a millisecond, which intervals could not carry exactly.
    """
    count, rest = divmod(as_utc(moment, field=field) - _EPOCH, _MILLISECOND)
    if rest:
        raise InputError(
            "Downtime is counted in whole milliseconds",
            field=field,
            value=moment.isoformat(),
            mend="cut the time to three decimal places",
        )
    return count


def to_moment(milliseconds: int) -> datetime:
    """Return milliseconds since the epoch as an aware UTC moment."""
    return _EPOCH + milliseconds * _MILLISECOND


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the same moments as sorted, disjoint intervals that do not touch each other."""
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if merged and interval.start <= merged[-1].end:
            if interval.end > merged[-1].end:
                merged[-1] = Interval(merged[-1].start, interval.end)
        else:
            merged.append(interval)
    return tuple(merged)


def subtract(intervals: Iterable[Interval], removed: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the moments of ``intervals`` that lie in none of ``removed``; overlaps count once on both sides."""
    holes = union(removed)
    kept: list[Interval] = []
    first = 0
    for interval in union(intervals):
        while first < len(holes) and holes[first].end <= interval.start:
            first += 1
        start = interval.start
        for hole in holes[first:]:
            if hole.start >= interval.end:
                break
            if hole.start > start:
                kept.append(Interval(start, hole.start))
            start = max(start, hole.end)
        if start < interval.end:
            kept.append(Interval(start, interval.end))
    return tuple(kept)


def clip(intervals: Iterable[Interval], window: Interval) -> tuple[Interval, ...]:
    """Return the moments of ``intervals`` inside ``window``."""
    clipped = (
        Interval(max(interval.start, window.start), min(interval.end, window.end))
        for interval in intervals
        if interval.start < window.end and interval.end > window.start
    )
    return union(clipped)


def total_length(intervals: Iterable[Interval]) -> int:
    """Return how many milliseconds the intervals cover; a moment covered twice counts once."""
    return sum(interval.length for interval in union(intervals))

"""Billing periods and local days in an IANA zone, as exact UTC instants.

A local day runs from local midnight to the next local midnight, so it lasts 22 to 26 hours. Where a
daylight saving change skips midnight, the day starts at the change; where midnight happens twice, at the
first. Days therefore tile a period without gap or overlap (tested for every zone, 2024 to 2030).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.sla.intervals import Interval, to_milliseconds

GRID_MS = 15 * 60 * 1000
"""The storage grid: every local midnight of every zone since 2024 falls on it."""
_DAY = timedelta(days=1)
_DECEMBER = 12


class Cycle(StrEnum):
    """How long a billing period is, in OpenSLO's duration shorthand."""

    DAY = "1d"
    WEEK = "1w"
    MONTH = "1M"


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return an IANA zone.

    Raises:
        InputError: the zone is unknown.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise InputError(
            "Unknown time zone", field="timeZone", value=name, mend="use an IANA name such as America/Denver"
        ) from error


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The local days ``first`` to ``last``, both inclusive, in an IANA zone."""

    first: date
    last: date
    zone: str

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if self.last < self.first:
            raise InputError("A period ends on or after the day it starts", field="period", value=self.text)

    @property
    def text(self) -> str:
        """``first/last`` as the credit note writes it; both dates inclusive."""
        return f"{self.first.isoformat()}/{self.last.isoformat()}"

    @property
    def interval(self) -> Interval:
        """The exact instants, in milliseconds."""
        return _instants(self.first, self.last, self.zone)

    @property
    def start(self) -> datetime:
        """The first instant, in UTC."""
        return day_start(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The first instant after the period, in UTC."""
        return day_start(self.last + _DAY, self.zone)

    def days(self) -> Iterator[Period]:
        """Yield the local days of the period, each a period of one day."""
        for day in self._dates():
            yield Period(day, day, self.zone)

    def until(self, day: date) -> Period:
        """Return the period from its first day to ``day`` inclusive."""
        return Period(self.first, min(day, self.last), self.zone)

    def utc_days(self) -> tuple[date, ...]:
        """Return the UTC dates that the period touches, in order."""
        last = (self.end - timedelta(microseconds=1)).date()
        first = self.start.date()
        return tuple(first + timedelta(days=offset) for offset in range((last - first).days + 1))

    def _dates(self) -> Iterator[date]:
        for offset in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=offset)


@lru_cache(maxsize=65536)
def _instants(first: date, last: date, zone: str) -> Interval:
    return Interval(
        to_milliseconds(day_start(first, zone), field="period"),
        to_milliseconds(day_start(last + _DAY, zone), field="period"),
    )


def day_start(day: date, zone: str) -> datetime:
    """Return the first instant of a local day, in UTC.

    ``fold=0`` reads a midnight that does not exist with the offset before the change, which is the instant
    of the change itself, and a midnight that happens twice as the first of the two.
    """
    return datetime.combine(day, time(), zone_of(zone)).astimezone(UTC)


def local_date(moment: datetime, zone: str) -> date:
    """Return the local date at an aware moment."""
    return moment.astimezone(zone_of(zone)).date()


def period_containing(day: date, cycle: Cycle, zone: str) -> Period:
    """Return the billing period that holds a local day; weeks start on Monday."""
    if cycle is Cycle.DAY:
        return Period(day, day, zone)
    if cycle is Cycle.WEEK:
        monday = day - timedelta(days=day.weekday())
        return Period(monday, monday + timedelta(days=6), zone)
    first = day.replace(day=1)
    following = date(day.year + 1, 1, 1) if day.month == _DECEMBER else date(day.year, day.month + 1, 1)
    return Period(first, following - _DAY, zone)


def periods_between(first: date, last: date, cycle: Cycle, zone: str) -> Iterator[Period]:
    """Yield the whole billing periods that hold any of the local days ``first`` to ``last``."""
    day = first
    while day <= last:
        period = period_containing(day, cycle, zone)
        yield period
        day = period.last + _DAY


def parse_period(text: str, zone: str, *, field: str = "period") -> Period:
    """Parse ``2026-01-19/2026-01-25`` (both inclusive), ``2026-01`` or ``2026-01-19``.

    Raises:
        InputError: the text is none of these.
    """
    parts = text.split("/") if isinstance(text, str) else []
    try:
        if len(parts) == 2:  # noqa: PLR2004 - first and last
            return Period(date.fromisoformat(parts[0]), date.fromisoformat(parts[1]), zone)
        if len(parts) == 1 and len(parts[0]) == len("2026-01"):
            return period_containing(date.fromisoformat(parts[0] + "-01"), Cycle.MONTH, zone)
        if len(parts) == 1:
            day = date.fromisoformat(parts[0])
            return Period(day, day, zone)
    except ValueError:
        pass
    raise InputError(
        "Not a period", field=field, value=text, mend="write 2026-01, 2026-01-19 or 2026-01-19/2026-01-25 (inclusive)"
    )

"""A tenant's billing calendar: local days and months of an IANA zone as instants in UTC, without gap or overlap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mc_pipelines.foundation.errors import InputError

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    """One local day with the billing month that it belongs to; ends are exclusive, all instants are UTC."""

    day: date
    start: datetime
    end: datetime
    month_start: datetime
    month_end: datetime


def billing_days(zone: str, first: date, last: date) -> list[Day]:
    """Return the local days from ``first`` to ``last``, both included, in order.

    A day is 22 to 26 hours long where clocks change; a date that a zone skipped has no instant and is left out.

    Args:
        zone: IANA name.
        first: first local date.
        last: last local date.

    Raises:
        InputError: the zone is unknown, or the dates are in the wrong order.
    """
    place = _zone(zone)
    if last < first:
        raise InputError("The last day is before the first", field="last day", value=last.isoformat())
    found = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        start, end = _midnight(day, place), _midnight(day + _DAY, place)
        if start < end:
            month = day.replace(day=1)
            following = (month + timedelta(days=32)).replace(day=1)
            found.append(Day(day, start, end, _midnight(month, place), _midnight(following, place)))
    return found


def local_month(text: str) -> tuple[date, date]:
    """Return the first and last date of a month written ``YYYY-MM``.

    Raises:
        InputError: the text is no month.
    """
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except (TypeError, ValueError) as error:
        raise InputError("Not a month", field="month", value=text, mend="write it such as 2026-01") from error
    return first, (first + timedelta(days=32)).replace(day=1) - _DAY


def _midnight(day: date, place: ZoneInfo) -> datetime:
    # fold=0: the first of two midnights; where midnight is skipped, the instant of the change itself.
    return datetime.combine(day, time(), place).astimezone(UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        raise InputError("Not an IANA time zone", field="zone", value=name, mend="such as Europe/Berlin") from error

"""The clock as an argument: domain code never reads the wall clock by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from mc_pipelines.foundation.errors import InputError


class Clock(Protocol):
    """Anything that tells the present moment as aware UTC."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC)


class FrozenClock:
    """A clock that stands still until it is moved; for tests, drills and replays."""

    def __init__(self, at: datetime) -> None:
        self._at = as_utc(at, field="at")

    def now(self) -> datetime:
        """Return the moment the clock stands at."""
        return self._at

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward and return the new moment."""
        self._at += by
        return self._at


def as_utc(moment: datetime, *, field: str) -> datetime:
    """Return ``moment`` in UTC.

    Raises:
        InputError: ``moment`` is naive, or leaves the calendar in UTC.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InputError(
            "A time without a zone is ambiguous",
            field=field,
            value=moment.isoformat(),
            mend="write it with an offset, such as 2026-01-19T10:00:00Z",
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise InputError("Outside the years 1 to 9999 in UTC", field=field, value=moment.isoformat()) from error


def parse_utc(text: str, *, field: str) -> datetime:
    """Parse ISO 8601 / RFC 3339 text with an offset into aware UTC.

    Raises:
        InputError: the text is no time, or has no offset.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(
            "Not a time in ISO 8601 form",
            field=field,
            value=text,
            mend="write it such as 2026-01-19T10:00:00Z",
        ) from error
    return as_utc(moment, field=field)


def rfc3339(moment: datetime) -> str:
    """Return aware ``moment`` as RFC 3339 UTC text with microseconds only where there are any."""
    return as_utc(moment, field="moment").isoformat().replace("+00:00", "Z")

"""Days and months of every zone tile time."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.showback.calendar import billing_days, local_month

# Of every zone: a spring, an autumn and a new year, where clocks change in either hemisphere.
SPANS = [(date(2026, month, 1), date(2026, month + 2, 28)) for month in (2, 9)] + [
    (date(2027, 12, 20), date(2028, 1, 10))
]
ZONES = sorted(
    name for name in available_timezones() if not name.startswith(("posix", "right")) and name != "localtime"
)


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_days_of_every_zone_tile_and_begin_on_their_own_date(span: tuple[date, date]) -> None:
    assert len(ZONES) > 400
    for name in ZONES:
        place = ZoneInfo(name)
        days = billing_days(name, *span)
        for before, after in pairwise(days):
            assert before.end == after.start, (name, before)
        for day in days:
            assert timedelta(hours=22) <= day.end - day.start <= timedelta(hours=26), (name, day)
            assert day.start.astimezone(place).date() == day.day, (name, day)
            assert (day.end - timedelta(microseconds=1)).astimezone(place).date() == day.day, (name, day)
            assert day.month_start <= day.start < day.end <= day.month_end, (name, day)


@pytest.mark.parametrize(
    ("month", "hours"), [((2026, 3), 743), ((2026, 11), 721), ((2026, 2), 672)], ids=["spring", "autumn", "even"]
)
def test_a_month_in_denver_has_the_hours_its_clocks_have(month: tuple[int, int], hours: int) -> None:
    first, last = local_month("{}-{:02}".format(*month))
    days = billing_days("America/Denver", first, last)
    assert days[-1].end - days[0].start == timedelta(hours=hours)
    assert {(day.month_start, day.month_end) for day in days} == {(days[0].start, days[-1].end)}


def test_a_date_that_a_zone_skipped_has_no_day() -> None:
    days = billing_days("Pacific/Apia", date(2011, 12, 29), date(2011, 12, 31))
    assert [day.day for day in days] == [date(2011, 12, 29), date(2011, 12, 31)]
    assert days[0].end == days[1].start == datetime.fromisoformat("2011-12-30T10:00:00Z")


def test_bad_input_is_named() -> None:
    for call, field in (
        (lambda: billing_days("Mars/Olympus", date(2026, 1, 1), date(2026, 1, 2)), "zone"),
        (lambda: billing_days("UTC", date(2026, 1, 2), date(2026, 1, 1)), "last day"),
        (lambda: local_month("2026-13"), "month"),
        (lambda: local_month("January"), "month"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.field == field

"""How much of the promise was kept: the five measures of published contracts, in exact arithmetic.

Counts are integers, ratios are :class:`fractions.Fraction`; a rounded percentage is only ever shown, never
compared. No data is a third state: it is neither kept nor broken unless the contract says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import shift
from mc_pipelines.sla.contract import BadSlice, Contract, EmptySlice, Exclusion, Measure
from mc_pipelines.sla.intervals import Interval, clip, subtract, total_length

DISPLAY_PLACES = 9
_PRINTABLE_BITS = 3000
_PERCENT = 100


class State(StrEnum):
    """Whether the promise was kept."""

    MET = "met"
    BREACHED = "breached"
    NO_DATA = "no data"


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of a slice, a day or a period.

    Args:
        total: all events seen.
        bad: events that count against us; none of them is excluded.
        excluded: events that the contract takes out of the measurement.
    """

    total: int
    bad: int
    excluded: int = 0

    def __post_init__(self) -> None:
        if min(self.total, self.bad, self.excluded) < 0 or self.bad + self.excluded > self.total:
            raise InputError(
                "Bad and excluded events are part of all events",
                field="counts",
                value=f"total {self.total}, bad {self.bad}, excluded {self.excluded}",
            )

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.total + other.total, self.bad + other.bad, self.excluded + other.excluded)

    def valid(self, exclusion: Exclusion) -> int:
        """Return the events in the denominator; under ``bad-only`` an excluded event counts as good."""
        return self.total - self.excluded if exclusion is Exclusion.BOTH else self.total


@dataclass(frozen=True, slots=True)
class Attainment:
    """The measured value: ``good`` of ``valid``, both counted in ``unit``.

    Args:
        state: kept, broken, or no data.
        good: numerator, exact.
        valid: denominator, exact; 0 exactly when there is no data.
        unit: what is counted: milliseconds, events, slices.
        reason: why there is no data.
    """

    state: State
    good: Fraction
    valid: int
    unit: str
    reason: str | None = None

    @property
    def percent(self) -> Fraction | None:
        """The exact percentage, or None without data."""
        return None if self.valid == 0 else _PERCENT * self.good / self.valid

    @property
    def shown(self) -> Decimal | None:
        """The percentage to nine places, rounded down, so that it never looks better than it is."""
        return None if self.percent is None else round_down(self.percent, DISPLAY_PLACES)


def attain_intervals(
    contract: Contract,
    window: Interval,
    downtime: Iterable[Interval],
    *,
    exclusions: Iterable[Interval] = (),
    deployed: Iterable[Interval] | None = None,
) -> Attainment:
    """Measure a contract on downtime intervals.

    Args:
        contract: measured by ``downtime`` or ``deployed-downtime``.
        window: the period, or the part of it that has passed.
        downtime: when the service was down, in any order, overlapping or not.
        exclusions: when downtime does not count, such as announced maintenance.
        deployed: when the customer had the service deployed; for ``deployed-downtime`` only.
    """
    removed = clip(exclusions, window)
    available: tuple[Interval, ...] = (window,)
    if contract.measure is Measure.DEPLOYED_DOWNTIME:
        available = clip(deployed or (), window)
    down = subtract(clip(downtime, window), removed)
    down = tuple(part for span in available for part in clip(down, span))
    if contract.exclusion is Exclusion.BOTH:
        available = subtract(available, removed)
    return attain_milliseconds(contract, total_length(down), total_length(available))


def attain_milliseconds(contract: Contract, down: int, available: int) -> Attainment:
    """Measure a contract on a total of downtime out of a total of available time."""
    if down < 0 or down > available:
        raise InputError("Downtime lies within the available time", field="downtime", value=down)
    return _judge(contract, Fraction(available - down), available, "milliseconds", "the service was not deployed")


def attain_events(contract: Contract, counts: Counts) -> Attainment:
    """Measure a contract on good over valid events."""
    valid = counts.valid(contract.exclusion)
    return _judge(contract, Fraction(valid - counts.bad), valid, "events", "no valid events")


def attain_slices(contract: Contract, slices: Mapping[int, Counts], in_period: int) -> Attainment:
    """Measure a contract on equal slices of time.

    Args:
        contract: measured by ``slice-mean`` or ``bad-runs``.
        slices: counts by the slice's number from the start of the period; slices without events may be absent.
        in_period: how many slices the period has.
    """
    if any(not 0 <= index < in_period for index in slices):
        raise InputError("A slice lies outside the period", field="slices", value=max(slices, key=abs))
    with_data = {index: counts for index, counts in slices.items() if counts.valid(contract.exclusion) > 0}
    empty_is_good = contract.empty_slice is EmptySlice.GOOD
    valid = in_period if empty_is_good else len(with_data)
    if contract.measure is Measure.SLICE_MEAN:
        lost = mean_loss(contract.exclusion, with_data.values())
    else:
        lost = Fraction(_minutes_down(contract, with_data))
    return _judge(contract, valid - lost, valid, "slices", "no valid events")


def mean_loss(exclusion: Exclusion, slices: Iterable[Counts]) -> Fraction:
    """Return the sum of the slices' error rates, exactly.

    Slices of the same size are added first and the rest pairwise, which keeps the denominators short.
    """
    bad_by_size: dict[int, int] = {}
    for counts in slices:
        size = counts.valid(exclusion)
        bad_by_size[size] = bad_by_size.get(size, 0) + counts.bad
    return _sum_pairwise([Fraction(bad, size) for size, bad in sorted(bad_by_size.items())])


def bad_runs(rule: BadSlice, exclusion: Exclusion, slices: Mapping[int, Counts]) -> tuple[tuple[int, int], ...]:
    """Return the runs of bad slices that are long enough, as (first slice, number of slices).

    A slice below the minimum sample is not bad and breaks a run, and so does a slice without events.
    """
    runs: list[tuple[int, int]] = []
    first = previous = None
    for index in sorted(index for index, counts in slices.items() if _is_bad(rule, exclusion, counts)):
        if previous is None or first is None or index != previous + 1:
            runs += _long_enough(rule, first, previous)
            first = index
        previous = index
    runs += _long_enough(rule, first, previous)
    return tuple(runs)


def _long_enough(rule: BadSlice, first: int | None, last: int | None) -> list[tuple[int, int]]:
    if first is None or last is None or last - first + 1 < rule.minimum_run:
        return []
    return [(first, last - first + 1)]


def _is_bad(rule: BadSlice, exclusion: Exclusion, counts: Counts) -> bool:
    valid = counts.valid(exclusion)
    # Integers on both sides: bad / valid > rate / 100.
    return valid >= rule.minimum_sample and counts.bad * _PERCENT > rule.error_rate_above * valid


def _minutes_down(contract: Contract, slices: Mapping[int, Counts]) -> int:
    if contract.bad_slice is None:
        raise InputError("The measure bad-runs needs badSlice", field="x-credit.badSlice")
    return sum(length for _, length in bad_runs(contract.bad_slice, contract.exclusion, slices))


def _judge(contract: Contract, good: Fraction, valid: int, unit: str, no_data: str) -> Attainment:
    if valid == 0:
        return Attainment(State.NO_DATA, Fraction(0), 0, unit, no_data)
    state = State.BREACHED if good * _PERCENT < contract.target * valid else State.MET
    return Attainment(state, good, valid, unit)


def _sum_pairwise(values: Sequence[Fraction]) -> Fraction:
    while len(values) > 1:
        values = [sum(values[index : index + 2], Fraction(0)) for index in range(0, len(values), 2)]
    return values[0] if values else Fraction(0)


def slices_in(window: Interval, slice_ms: int) -> int:
    """Return how many slices a window has, counted from its start; a shorter last one counts."""
    return -(-window.length // slice_ms)


def round_down(value: Fraction, places: int) -> Decimal:
    """Return a fraction as a Decimal with ``places`` places, rounded towards minus infinity."""
    return shift(value.numerator * 10**places // value.denominator, places)


def exact_text(value: Fraction) -> str:
    """Return ``p/q`` in decimal, or in hexadecimal where Python would refuse so many decimal digits."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) <= _PRINTABLE_BITS:
        return f"{value.numerator}/{value.denominator}"
    return f"{value.numerator:#x}/{value.denominator:#x}"


def parse_exact(text: str) -> Fraction:
    """Parse what :func:`exact_text` wrote.

    Raises:
        InputError: the text is no such fraction.
    """
    try:
        numerator, denominator = (int(part, 0) for part in text.split("/"))
        return Fraction(numerator, denominator)
    except (ValueError, ZeroDivisionError, AttributeError) as error:
        raise InputError("Not an exact fraction p/q", field="ratio", value=text) from error

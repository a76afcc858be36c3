"""Counts of events per slice of time, kept per tenant, service and UTC day as one content-addressed row.

A slice is named by its number since the epoch (start in milliseconds // granule), so the same row serves
every zone: a local day or month picks the numbers that lie in it. The canonical form of a day's counts is
what evidence commits to; whatever order events came in, the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from mc_pipelines.attest.merkle import leaf_hash, root_of
from mc_pipelines.foundation.canonical import canonical_json, digest_of, sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId
from mc_pipelines.sla.attainment import Counts
from mc_pipelines.sla.contract import Contract
from mc_pipelines.sla.intervals import Interval

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
AVAILABILITY = 0
"""The threshold of slices that count outcomes instead of latency."""
_GROWTH_PER_MILLE = 10
_EXACT_BELOW_MS = 100
_LARGEST_MS = 7 * DAY_MS


def day_start_ms(day: date) -> int:
    """Return the first instant of a UTC day, in milliseconds since the epoch."""
    return (day - _EPOCH).days * DAY_MS


def _edges() -> tuple[int, ...]:
    found = list(range(_EXACT_BELOW_MS + 1))
    while found[-1] < _LARGEST_MS:
        found.append(found[-1] + max(1, found[-1] * _GROWTH_PER_MILLE // 1000))
    return tuple(found)


EDGES_MS = _edges()
"""Upper edges of latency buckets: every millisecond to 100, then one per cent apart, all integers."""


@dataclass(frozen=True, slots=True, order=True)
class SliceRow:
    """Counts of one slice.

    Args:
        number: start of the slice since the epoch, in granules.
        total: events that finished in it.
        bad: events against us (for latency: valid events slower than the threshold).
        excluded: events out of the measurement.
        buckets: for latency, (upper edge in ms, valid events) for the buckets that are not empty.
    """

    number: int
    total: int
    bad: int
    excluded: int
    buckets: tuple[tuple[int, int], ...] = ()

    @property
    def counts(self) -> Counts:
        """The three counts that decide."""
        return Counts(self.total, self.bad, self.excluded)

    def to_list(self) -> list[Any]:
        """Return the row as it stands in evidence."""
        head: list[Any] = [self.number, self.total, self.bad, self.excluded]
        return [*head, [list(bucket) for bucket in self.buckets]] if self.buckets else head


@dataclass(frozen=True, slots=True)
class SliceDay:
    """All slices of one tenant, service and UTC day.

    Args:
        tenant: whose events.
        service: of which service.
        day: UTC day.
        granule_ms: length of a slice.
        threshold_ms: latency that is still good; 0 counts outcomes.
        rows: slices with events, by number.
        constructed: how many of the events were not real executions.
    """

    tenant: TenantId
    service: ServiceId
    day: date
    granule_ms: int
    threshold_ms: int
    rows: tuple[SliceRow, ...]
    constructed: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return the day as it stands in evidence; its canonical JSON is what the digest covers."""
        return {
            "tenant": self.tenant,
            "service": self.service,
            "day": self.day.isoformat(),
            "granuleMs": self.granule_ms,
            "thresholdMs": self.threshold_ms,
            "constructed": self.constructed,
            "slices": [row.to_list() for row in self.rows],
        }

    @property
    def digest(self) -> Digest:
        """The name of this day's counts."""
        return digest_of(self.to_document())

    @property
    def events(self) -> int:
        """All events of the day."""
        return sum(row.total for row in self.rows)

    def to_stored(self) -> SliceDocument:
        """Return the day as it is stored."""
        return SliceDocument(
            self.tenant,
            self.service,
            self.day,
            self.granule_ms,
            self.threshold_ms,
            canonical_json(self.to_document()),
            self.events,
            self.constructed,
        )


@dataclass(frozen=True, slots=True)
class SliceDocument:
    """A day of slices as it is stored: its canonical bytes, made without an object for each slice.

    Args:
        tenant: whose events.
        service: of which service.
        day: UTC day.
        granule_ms: length of a slice.
        threshold_ms: latency that is still good; 0 counts outcomes.
        content: canonical JSON of :meth:`SliceDay.to_document`.
        events: all events of the day.
        constructed: how many of them were not real executions.
    """

    tenant: TenantId
    service: ServiceId
    day: date
    granule_ms: int
    threshold_ms: int
    content: bytes
    events: int
    constructed: int

    @property
    def digest(self) -> Digest:
        """The name of this day's counts."""
        return sha256_digest(self.content)


def slice_day_of(document: Any) -> SliceDay:
    """Read a day from evidence.

    Raises:
        InputError: it is malformed, or its slices are not in order or not of that day.
    """
    try:
        rows = tuple(
            SliceRow(row[0], row[1], row[2], row[3], tuple((edge, count) for edge, count in (row[4:] or [[]])[0]))
            for row in document["slices"]
        )
        day = SliceDay(
            TenantId(document["tenant"]),
            ServiceId(document["service"]),
            date.fromisoformat(document["day"]),
            int(document["granuleMs"]),
            int(document["thresholdMs"]),
            rows,
            int(document["constructed"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"A day of slices is malformed: {error!r}", field="slices") from error
    if day.granule_ms <= 0:
        raise InputError("A slice has a length", field="granuleMs", value=day.granule_ms)
    numbers = [row.number for row in rows]
    start = day_start_ms(day.day) // day.granule_ms
    inside = all(start <= number < start + DAY_MS // day.granule_ms for number in numbers)
    if numbers != sorted(set(numbers)) or not inside:
        raise InputError(
            "The slices of a day are out of order or of another day", field="slices", value=document["day"]
        )
    return day


def merkle_root(days: Sequence[SliceDay]) -> str:
    """Return the RFC 6962 root over days of slices in the order of their documents, in hexadecimal."""
    return documents_root(canonical_json(day.to_document()) for day in days)


def documents_root(documents: Iterable[bytes]) -> str:
    """Return the RFC 6962 root over canonical documents in their own order, in hexadecimal."""
    return root_of([leaf_hash(document) for document in sorted(documents)]).hex()


def rows_in(days: Iterable[SliceDay], window: Interval) -> list[tuple[Interval, SliceRow]]:
    """Return the slices that start in a window, in order, each with the time it counts."""
    found = [
        (Interval(row.number * day.granule_ms, (row.number + 1) * day.granule_ms), row)
        for day in days
        if day_start_ms(day.day) < window.end and window.start < day_start_ms(day.day) + DAY_MS
        for row in day.rows
        if window.start <= row.number * day.granule_ms < window.end
    ]
    return sorted(found)


def counts_in(days: Iterable[SliceDay], window: Interval, excluded: Sequence[Interval]) -> Counts:
    """Return the counts of a window; a granule that lies wholly in an excluded interval is excluded with all in it."""
    total = Counts(0, 0, 0)
    for span, row in rows_in(days, window):
        total += _masked(row, span, excluded)
    return total


def contract_slices(
    contract: Contract,
    days: Iterable[SliceDay],
    window: Interval,
    excluded: Sequence[Interval],
    *,
    origin: int | None = None,
) -> dict[int, Counts]:
    """Return the counts per slice of the contract, numbered from ``origin`` (ms) or the window's start."""
    length = contract.slice_ms or contract.granule_ms
    first = window.start if origin is None else origin
    found: dict[int, Counts] = {}
    for span, row in rows_in(days, window):
        number = (span.start - first) // length
        counts = _masked(row, span, excluded)
        found[number] = found[number] + counts if number in found else counts
    return found


def _masked(row: SliceRow, span: Interval, excluded: Sequence[Interval]) -> Counts:
    if any(hole.start <= span.start and span.end <= hole.end for hole in excluded):
        return Counts(row.total, 0, row.total)
    return row.counts


def percentile_edge(days: Iterable[SliceDay], window: Interval, share_numerator: int, share_denominator: int) -> int:
    """Return the smallest bucket edge with at least that share of the events at or under it (nearest rank).

    Exact on the buckets: never below the true percentile, and at most one per cent (or 1 ms) above it.
    Returns 0 without events.
    """
    counted: dict[int, int] = {}
    for _, row in rows_in(days, window):
        for edge, count in row.buckets:
            counted[edge] = counted.get(edge, 0) + count
    total, seen = sum(counted.values()), 0
    for edge in sorted(counted):
        seen += counted[edge]
        if seen * share_denominator >= total * share_numerator:
            return edge
    return 0

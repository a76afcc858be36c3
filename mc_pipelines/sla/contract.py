"""The contract: what is measured, when a credit is due and how much, as immutable data.

A contract is written in OpenSLO's vocabulary with one extension, ``spec.x-credit`` (docs/sla/contracts.md);
:mod:`mc_pipelines.sla.document` reads and writes that form. Percentages are exact fractions of 100, lengths
are integer milliseconds. A contract is named by the digest of its canonical document and never changes:
an amendment is a new version with a new digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

from mc_pipelines.foundation.ids import Digest, ServiceId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.calendar import GRID_MS, Cycle

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
BURN_MS = 5 * MINUTE_MS


class Measure(StrEnum):
    """The five ways in which published contracts turn facts into a percentage."""

    DOWNTIME = "downtime"
    """Milliseconds of the period that were not down, over the period."""
    DEPLOYED_DOWNTIME = "deployed-downtime"
    """The same over the time in which the customer had the service deployed."""
    EVENTS = "events"
    """Good over valid events; OpenSLO's Occurrences."""
    SLICE_MEAN = "slice-mean"
    """100 less the mean of the error rates of equal slices; OpenSLO's RatioTimeslices."""
    BAD_RUNS = "bad-runs"
    """Slices outside runs of at least k bad slices, over all slices; OpenSLO's Timeslices."""


class Objective(StrEnum):
    """What the percentage speaks about."""

    AVAILABILITY = "availability"
    LATENCY = "latency"


class Source(StrEnum):
    """Which facts the contract is measured on."""

    EXECUTIONS = "executions"
    INCIDENTS = "incidents"
    PROBES = "probes"


class EmptySlice(StrEnum):
    """What a slice without valid events counts as."""

    GOOD = "good"
    UNKNOWN = "unknown"


class Exclusion(StrEnum):
    """Where excluded time or events are taken out: of the bad part only, or of both parts of the ratio."""

    BAD_ONLY = "bad-only"
    BOTH = "both"


class PartialPeriod(StrEnum):
    """What a billing period is in which the contract begins or ends."""

    WHOLE = "whole"
    """The whole billing period, as if the contract had held all along."""
    HELD = "held"
    """The days of it on which the contract held."""


class Restatement(StrEnum):
    """What happens when later facts lower a credit that was already given."""

    SYMMETRIC = "symmetric"
    NO_CLAWBACK = "no-clawback"


@dataclass(frozen=True, slots=True)
class Tier:
    """Below ``below`` per cent the customer gets ``credit`` per cent of the charge; strictly below."""

    below: Fraction
    credit: Fraction


@dataclass(frozen=True, slots=True)
class BadSlice:
    """When a slice is bad, and how many in a row count as downtime.

    Args:
        error_rate_above: per cent of valid events, strictly above.
        minimum_run: consecutive bad slices from which a run counts.
        minimum_sample: valid events below which a slice is not bad and breaks a run.
    """

    error_rate_above: Fraction
    minimum_run: int = 1
    minimum_sample: int = 1


@dataclass(frozen=True, slots=True)
class Contract:
    """One objective of one service, and the credit for missing it.

    Args:
        name: the name of the contract, the same for all its versions.
        version: counts amendments from 1.
        title: for people.
        service: the service it covers.
        objective: availability or latency.
        measure: how facts become a percentage.
        source: which facts.
        target: the promised per cent.
        cycle: the billing period.
        zone: IANA zone of the billing calendar.
        currency: ISO 4217 code of charge and credit.
        tiers: from the highest threshold to the lowest.
        cap: per cent of the charge that the credit never exceeds.
        minimum: the credit must be above this amount, or nothing is due.
        slice_ms: length of a slice, for the two slice measures.
        empty_slice: what a slice without valid events is.
        bad_slice: for bad runs.
        exclusion: where exclusions are taken out.
        partial: what a billing period is in which the contract begins or ends.
        restatement: symmetric or without clawback.
        threshold_ms: the latency that still counts as good, for latency objectives.
        probe_ms: how often a probe looks, for contracts measured on probes.
        free_hour_above_ms: a clock hour with a longer stretch of downtime is not charged (AWS EC2).
        close_after: how long after its end a period stays open for late facts.
        claim_window: what the published text asks of the customer; we never ask for a claim.
        source_text: where a published contract was taken from.
        source_date: date or edition of that text.
        effective: first day of this version.
    """

    name: str
    version: int
    title: str
    service: ServiceId
    objective: Objective
    measure: Measure
    source: Source
    target: Fraction
    cycle: Cycle
    zone: str
    currency: str
    tiers: tuple[Tier, ...]
    cap: Fraction = Fraction(100)
    minimum: Money | None = None
    slice_ms: int | None = None
    empty_slice: EmptySlice = EmptySlice.UNKNOWN
    bad_slice: BadSlice | None = None
    exclusion: Exclusion = Exclusion.BAD_ONLY
    partial: PartialPeriod = PartialPeriod.WHOLE
    restatement: Restatement = Restatement.SYMMETRIC
    threshold_ms: int | None = None
    probe_ms: int | None = None
    free_hour_above_ms: int | None = None
    close_after: timedelta = timedelta(hours=48)
    claim_window: str | None = None
    source_text: str | None = None
    source_date: str | None = None
    effective: date = date(1970, 1, 1)

    @property
    def granule_ms(self) -> int:
        """Length of the slices that are stored for this contract: its own, at most the 15-minute grid.

        Without a length of its own it is 5 minutes, the shortest window of a burn-rate alert.
        """
        return min(self.slice_ms or BURN_MS, GRID_MS)

    @property
    def counts_slices(self) -> bool:
        """Whether the contract is measured on counted events rather than on intervals."""
        return self.measure not in {Measure.DOWNTIME, Measure.DEPLOYED_DOWNTIME}


@dataclass(frozen=True, slots=True)
class Signed:
    """A contract together with its canonical document and the digest that names it."""

    contract: Contract
    document: bytes
    digest: Digest

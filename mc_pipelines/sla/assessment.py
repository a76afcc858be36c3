"""Gathers the evidence of a billing period from the records, and judges it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.calendar import Period, local_date
from mc_pipelines.sla.contract import Contract, Objective, Source
from mc_pipelines.sla.contract_store import Assigned, list_assignments
from mc_pipelines.sla.counting import Profile
from mc_pipelines.sla.draft_store import Subject, lock, write_judgement
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.fact_store import load_facts
from mc_pipelines.sla.facts import Fact, Kind
from mc_pipelines.sla.judgement import Judgement, figures, judge
from mc_pipelines.sla.note_store import earlier_notes
from mc_pipelines.sla.slice_store import load_slices
from mc_pipelines.sla.slices import AVAILABILITY, SliceDay, SliceRow

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Assessment:
    """A period with its contract, its evidence and what it comes to.

    Args:
        assigned: the contract and who has it.
        evidence: what was seen.
        judgement: what it comes to; a contradiction in the facts holds it.
        closed: the period is over and its watermark has passed.
    """

    assigned: Assigned
    evidence: Evidence
    judgement: Judgement
    closed: bool

    @property
    def subject(self) -> Subject:
        """What a credit for it would be about."""
        return subject_of_period(self.assigned, self.evidence.period)


def subject_of_period(assigned: Assigned, period: Period) -> Subject:
    """Return the subject of a contract's period."""
    contract = assigned.contract
    return Subject(
        assigned.tenant, contract.service, contract.objective, assigned.sealed.digest, period.first, period.last
    )


def begun(period: Period, now: datetime) -> Period:
    """Return a period that has begun.

    Raises:
        InputError: it has not; of such a period nothing is kept or broken yet.
    """
    if period.start > now:
        raise InputError(
            "The period has not begun", field="period", value=period.text, mend="name one that has, such as this month"
        )
    return period


def is_closed(contract: Contract, period: Period, now: datetime) -> bool:
    """Tell whether a period is over and its time for late facts has passed."""
    return period.end + contract.close_after <= now


def gather(
    connection: Connection, assigned: Assigned, period: Period, *, as_known_at: datetime | None = None
) -> Evidence:
    """Read the evidence of a period, as it is known now or was known at a moment."""
    contract, tenant = assigned.contract, assigned.tenant
    kinds = [Kind.INCIDENT, Kind.MAINTENANCE, Kind.DEPLOYMENT, Kind.CHARGE]
    facts: list[Fact] = []
    for kind in kinds:
        found = load_facts(
            connection, kind, service=contract.service, tenant=tenant, period=period, as_known_at=as_known_at
        )
        facts += [fact for fact in found if fact.ends_at is not None]
    subject = subject_of_period(assigned, period)
    return Evidence(
        tenant,
        contract.service,
        period,
        assigned.sealed.digest,
        tuple(_slices(connection, contract, tenant, period, as_known_at)),
        tuple(facts),
        earlier_notes(connection, subject),
    )


def _slices(
    connection: Connection, contract: Contract, tenant: TenantId, period: Period, as_known_at: datetime | None
) -> list[SliceDay]:
    if contract.source is Source.INCIDENTS:
        return []
    if contract.source is Source.PROBES:
        probes = load_facts(
            connection, Kind.PROBE, service=contract.service, tenant=tenant, period=period, as_known_at=as_known_at
        )
        return probe_slices(contract, tenant, period, probes)
    profile = Profile.of(contract)
    found = load_slices(
        connection,
        tenant,
        contract.service,
        period.utc_days(),
        granule_ms=profile.granule_ms,
        threshold_ms=profile.threshold_ms,
        as_known_at=as_known_at,
    )
    return [part for day in found if (part := _inside(day, period)).rows]


def _inside(day: SliceDay, period: Period) -> SliceDay:
    """Cut a UTC day at the edges of the period, so that evidence holds nothing of the neighbouring period."""
    window = period.interval
    rows = tuple(row for row in day.rows if window.start <= row.number * day.granule_ms < window.end)
    return SliceDay(
        day.tenant, day.service, day.day, day.granule_ms, day.threshold_ms, rows, day.constructed if rows else 0
    )


def probe_slices(contract: Contract, tenant: TenantId, period: Period, probes: Sequence[Fact]) -> list[SliceDay]:
    """Count probes by the slice in which they began, as if they were executions."""
    counted: dict[date, dict[int, list[int]]] = {}
    constructed: dict[date, int] = {}
    window = period.interval
    for probe in probes:
        start = probe.interval.start
        if not window.start <= start < window.end:
            continue
        day = probe.starts_at.date()
        cell = counted.setdefault(day, {}).setdefault(start // contract.granule_ms, [0, 0])
        cell[0] += 1
        cell[1] += not probe.details["good"]
        constructed[day] = constructed.get(day, 0) + (probe.details["source"] == "constructed")
    return [
        SliceDay(
            tenant,
            contract.service,
            day,
            contract.granule_ms,
            AVAILABILITY,
            tuple(SliceRow(number, total, bad, 0) for number, (total, bad) in sorted(cells.items())),
            constructed[day],
        )
        for day, cells in sorted(counted.items())
    ]


def assess(
    connection: Connection,
    assigned: Assigned,
    period: Period,
    *,
    now: datetime,
    as_known_at: datetime | None = None,
) -> Assessment:
    """Gather and judge a period; a running one is judged up to the local day of ``now``."""
    evidence = gather(connection, assigned, period, as_known_at=as_known_at)
    until = period.until(max(period.first, local_date(now, period.zone)))
    try:
        judgement = judge(assigned.contract, evidence, until=until)
    except InputError as error:
        # A contradiction in the facts, such as a charge in another currency, is for people to mend: nothing
        # is owed or refused until they have.
        without = Evidence(
            evidence.tenant,
            evidence.service,
            period,
            evidence.contract,
            evidence.slices,
            tuple(fact for fact in evidence.facts if fact.kind is not Kind.CHARGE),
            evidence.earlier,
        )
        held = judge(assigned.contract, without, until=until)
        judgement = Judgement(held.attainment, None, None, str(error), None, held.days, held.latency_p95_ms)
    return Assessment(assigned, evidence, judgement, is_closed(assigned.contract, period, now))


def record(connection: Connection, assessment: Assessment, *, now: datetime) -> bool:
    """Record an assessment's judgement unless nothing has changed; return whether it had."""
    judgement, contract = assessment.judgement, assessment.assigned.contract
    decision = judgement.decision
    return write_judgement(
        connection,
        assessment.subject,
        state=judgement.state.value,
        entitled_minor=None if decision is None else decision.credit.minor,
        currency=contract.currency,
        reason=judgement.reason,
        figures=figures(contract, assessment.evidence, judgement),
        evidence=assessment.evidence.to_bytes(),
        evidence_digest=assessment.evidence.digest,
        closed=assessment.closed,
        now=now,
    )


def periods_of(assigned: Assigned, now: datetime) -> Iterator[Period]:
    """Yield the billing periods of an assignment that have begun, oldest first."""
    contract = assigned.contract
    today = local_date(now, contract.zone)
    last = today if assigned.last_day is None else min(today, assigned.last_day)
    yield from assigned.billing_periods(assigned.first_day, last)


def assess_all(
    database: Database,
    clock: Clock,
    *,
    tenant: TenantId | None = None,
    service: ServiceId | None = None,
    objective: Objective | None = None,
) -> list[Assessment]:
    """Judge every period that has begun and record what changed; the daily rollup calls this after slices.

    Returns:
        All assessments, whether they changed or not.
    """
    now = clock.now()
    with database.begin() as connection:
        assignments = list_assignments(connection, tenant=tenant)
    found: list[Assessment] = []
    for assigned in assignments:
        contract = assigned.contract
        if service not in {None, contract.service} or objective not in {None, contract.objective}:
            continue
        for period in periods_of(assigned, now):
            with database.begin() as connection:
                lock(connection, repr(subject_of_period(assigned, period)))
                assessment = assess(connection, assigned, period, now=now)
                record(connection, assessment, now=now)
            found.append(assessment)
    return found

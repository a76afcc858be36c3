"""What late facts changed: the slices, the facts and the figures of a period, as known at two moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError, NotFoundError
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId
from mc_pipelines.sla.assessment import Assessment, assess, begun
from mc_pipelines.sla.calendar import Period, parse_period
from mc_pipelines.sla.contract_store import Assigned, list_assignments
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.facts import Fact
from mc_pipelines.sla.intervals import to_moment
from mc_pipelines.sla.judgement import figures
from mc_pipelines.sla.slices import SliceDay, SliceRow


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs: what it was and what it is; None where it was not there."""

    name: str
    before: Any
    after: Any

    def to_document(self) -> dict[str, Any]:
        """Return the change as JSON members."""
        return {"name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class Restated:
    """The difference between two states of knowledge about one period.

    Args:
        tenant: whose.
        service: of which service.
        period: the billing period.
        evidence_before: digest of the earlier evidence.
        evidence_after: digest of the later evidence.
        slices: by UTC start of the slice: [total, bad, excluded].
        facts: by kind and id: the content.
        figures: by name, as they stand in the signed statement.
    """

    tenant: TenantId
    service: ServiceId
    period: Period
    evidence_before: Digest
    evidence_after: Digest
    slices: tuple[Change, ...]
    facts: tuple[Change, ...]
    figures: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(self.slices or self.facts or self.figures)

    def to_document(self) -> dict[str, Any]:
        """Return the difference as JSON members; digests link it to both states of the evidence."""
        return {
            "tenant": self.tenant,
            "service": self.service,
            "period": self.period.text,
            "evidenceBefore": self.evidence_before,
            "evidenceAfter": self.evidence_after,
            "slices": [change.to_document() for change in self.slices],
            "facts": [change.to_document() for change in self.facts],
            "figures": [change.to_document() for change in self.figures],
        }

    @property
    def digest(self) -> Digest:
        """The name of the difference."""
        return sha256_digest(canonical_json(self.to_document()))


def restated(before: Assessment, after: Assessment) -> Restated:
    """Compare two assessments of one contract and period."""
    contract = after.assigned.contract
    old, new = (figures(contract, one.evidence, one.judgement) for one in (before, after))
    return restated_evidence(before.evidence, after.evidence, old, new)


def restated_evidence(
    before: Evidence, after: Evidence, old_figures: Mapping[str, Any], new_figures: Mapping[str, Any]
) -> Restated:
    """Compare two evidences of one period and the figures that were signed with them."""
    return Restated(
        after.tenant,
        after.service,
        after.period,
        before.digest,
        after.digest,
        _slices(before, after),
        _changes(_facts(before.facts), _facts(after.facts)),
        _changes(old_figures, new_figures),
    )


def restated_between(
    connection: Connection, assigned: Assigned, period: Period, *, before: datetime, after: datetime, now: datetime
) -> Restated:
    """Compare a period as it was known at two moments.

    Args:
        connection: any transaction.
        assigned: the contract and who has it.
        period: one of its billing periods.
        before: the earlier moment of knowledge.
        after: the later one.
        now: the present; a running period is judged up to its local day in both states.
    """
    one, other = (assess(connection, assigned, period, now=now, as_known_at=moment) for moment in (before, after))
    return restated(one, other)


def restated_period(
    connection: Connection, tenant: TenantId, period: str, *, before: datetime, after: datetime, now: datetime
) -> list[Restated]:
    """Compare the billing periods that hold the first day of ``period``, one for each contract of a tenant.

    Raises:
        NotFoundError: the tenant has no contract then.
        InputError: the period is malformed or has not begun, or the moments are in the wrong order.
    """
    if after < before:
        raise InputError(
            "The later state of knowledge is before the earlier",
            field="after",
            value=rfc3339(after),
            mend="exchange the two",
        )
    found = []
    for assigned in list_assignments(connection, tenant=tenant):
        given = parse_period(period, assigned.contract.zone)
        if assigned.overlaps(given.first, given.last):
            billing = begun(assigned.billing_period(given.first), now)
            found.append(restated_between(connection, assigned, billing, before=before, after=after, now=now))
    if not found:
        raise NotFoundError("The tenant has no contract on these days", field="tenant", value=tenant)
    return found


def _slices(before: Evidence, after: Evidence) -> tuple[Change, ...]:
    old, new = _changed_days(before.slices, after.slices), _changed_days(after.slices, before.slices)
    return _changes(_counts(old), _counts(new))


def _changed_days(days: Iterable[SliceDay], others: Iterable[SliceDay]) -> list[SliceDay]:
    known = {other.day: other for other in others}
    return [day for day in days if known.get(day.day) != day]


def _counts(days: Iterable[SliceDay]) -> dict[str, list[int]]:
    return {_start(day, row): [row.total, row.bad, row.excluded] for day in days for row in day.rows}


def _start(day: SliceDay, row: SliceRow) -> str:
    return rfc3339(to_moment(row.number * day.granule_ms))


def _facts(facts: Iterable[Fact]) -> dict[str, Any]:
    return {f"{fact.kind.value}/{fact.fact_id}": fact.content for fact in facts}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = sorted({name for name in (*before, *after) if before.get(name) != after.get(name)})
    return tuple(Change(name, before.get(name), after.get(name)) for name in names)

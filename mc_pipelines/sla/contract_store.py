"""Registers contracts and says which tenant has which, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, insert, select, text

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.attest.key_history import service_keys
from mc_pipelines.attest.log import append
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject, parse_statement, predicate_type
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError, VerificationError
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId
from mc_pipelines.sla import records
from mc_pipelines.sla.calendar import Period, period_containing, periods_between
from mc_pipelines.sla.contract import Contract, Objective, PartialPeriod, Signed
from mc_pipelines.sla.document import parse_canonical
from mc_pipelines.sla.lint import Severity, lint

CONTRACT_TYPE = predicate_type("sla-contract")


@dataclass(frozen=True, slots=True)
class Assigned:
    """A contract that holds for a tenant from a local day on, until one is named."""

    tenant: TenantId
    sealed: Signed
    first_day: date
    last_day: date | None

    @property
    def contract(self) -> Contract:
        """The contract itself."""
        return self.sealed.contract

    def overlaps(self, first: date, last: date | None) -> bool:
        """Tell whether the assignment shares a day with ``first`` to ``last``."""
        return (last is None or self.first_day <= last) and (self.last_day is None or first <= self.last_day)

    def bills_with(self, other: Assigned) -> bool:
        """Tell whether some instant is in a billing period of both, so that one outage would be paid twice.

        A contract that is billed whole reaches beyond its days, to the edges of its first and last billing period.
        """
        start, end = self._billed
        others_start, others_end = other._billed
        return (others_end is None or start < others_end) and (end is None or others_start < end)

    @property
    def _billed(self) -> tuple[datetime, datetime | None]:
        end = None if self.last_day is None else self.billing_period(self.last_day).end
        return self.billing_period(self.first_day).start, end

    def billing_period(self, day: date) -> Period:
        """Return the billing period that holds a local day, cut to the days held where the contract says so."""
        contract = self.contract
        period = period_containing(day, contract.cycle, contract.zone)
        if contract.partial is PartialPeriod.WHOLE or not self.overlaps(period.first, period.last):
            return period
        first, last = max(period.first, self.first_day), min(period.last, self.last_day or period.last)
        return Period(first, last, contract.zone)

    def billing_periods(self, first: date, last: date) -> Iterator[Period]:
        """Yield the billing periods that hold any of the local days ``first`` to ``last``."""
        for period in periods_between(first, last, self.contract.cycle, self.contract.zone):
            yield self.billing_period(period.first)


def register_contract(connection: Connection, sealed: Signed, signer: Signer, *, now: datetime) -> Digest:
    """Record a contract with a statement about it signed by the service; the same again changes nothing.

    Raises:
        InputError: the contract has an error that `mc sla contracts lint` names.
        ConflictError: this name and version already mean another contract.
    """
    for finding in lint(sealed.contract):
        if finding.severity is Severity.ERROR:
            raise InputError(finding.message, field=finding.field, mend=finding.mend)
    table, contract = records.contract, sealed.contract
    # A retry must not sign again: an ECDSA signature is different each time, and the log would get a second leaf.
    connection.execute(text("select pg_advisory_xact_lock(hashtext('mc_sla_contract'))"))
    known = connection.execute(
        select(table.c.digest).where(table.c.name == contract.name, table.c.version == contract.version)
    ).scalar()
    if known == sealed.digest:
        return sealed.digest
    if known is not None:
        raise ConflictError(
            "This version of the contract is already recorded with other terms",
            field="x-credit.version",
            value=contract.version,
            mend="raise the version",
            recorded=known,
        )
    statement = Statement(
        (Subject.of(f"sla-contract/{contract.name}/{contract.version}", sealed.digest),),
        CONTRACT_TYPE,
        {"name": contract.name, "version": contract.version, "recordedAt": rfc3339(now)},
    )
    envelope = statement.sign([signer]).to_json()
    connection.execute(
        insert(table).values(
            digest=sealed.digest,
            name=contract.name,
            version=contract.version,
            document=sealed.document,
            envelope=envelope,
            recorded_at=now,
        )
    )
    append(connection, act="sla.contract-recorded", subject=sealed.digest, content=envelope, at=now)
    return sealed.digest


def assign_contract(
    connection: Connection,
    tenant: TenantId,
    digest: str,
    *,
    first_day: date,
    last_day: date | None = None,
    now: datetime,
) -> Assigned:
    """Let a contract hold for a tenant from a local day on.

    Raises:
        NotFoundError: there is no such contract.
        InputError: a day is in the first or the last year that can be written, or before the contract's effective day.
        ConflictError: the tenant already has a contract for this service and objective on one of the days, or in a
            billing period that holds one of them.
    """
    sealed = get_contract(connection, digest)
    contract = sealed.contract
    if first_day.year == date.min.year or (last_day or first_day).year == date.max.year:
        raise InputError(
            "A day at the edge of the calendar",
            field="last_day",
            value=str(last_day or first_day),
            mend="leave the last day out: the contract holds until then",
        )
    if first_day < contract.effective:
        raise InputError(
            "The contract is not in force yet on this day",
            field="first_day",
            value=first_day.isoformat(),
            mend=f"begin on {contract.effective.isoformat()} or later, the startTime of its calendar",
        )
    connection.execute(text("select pg_advisory_xact_lock(hashtext('mc_sla_assignment'))"))
    wanted = Assigned(tenant, sealed, first_day, last_day)
    for other in list_assignments(connection, tenant=tenant):
        same = (other.contract.service, other.contract.objective) == (contract.service, contract.objective)
        if other == wanted:
            return wanted
        if same and (other.overlaps(first_day, last_day) or other.bills_with(wanted)):
            raise ConflictError(
                "The tenant already has a contract for this service and objective on these days",
                field="first_day",
                value=first_day.isoformat(),
                mend=f"contract {other.contract.name} is billed until {_billed_until(other)}: begin after that, or let"
                " both say partialPeriods: held",
            )
    values = {
        "tenant": tenant,
        "service": contract.service,
        "objective": contract.objective.value,
        "first_day": first_day,
        "last_day": last_day,
        "contract_digest": digest,
    }
    connection.execute(insert(records.assignment).values(**values, recorded_at=now))
    content = canonical_json({key: None if value is None else str(value) for key, value in values.items()})
    append(connection, act="sla.contract-assigned", subject=f"{tenant}/{contract.service}", content=content, at=now)
    return wanted


def _billed_until(assigned: Assigned) -> str:
    last = assigned.last_day
    return "it ends" if last is None else assigned.billing_period(last).last.isoformat()


def get_contract(connection: Connection, digest: str) -> Signed:
    """Return a contract by digest.

    Raises:
        NotFoundError: there is none.
    """
    table = records.contract
    found = connection.execute(select(table.c.document).where(table.c.digest == digest)).scalar()
    if found is None:
        raise NotFoundError("No such contract", field="contract", value=digest, mend="`mc sla contracts ls` lists them")
    return parse_canonical(bytes(found))


def verified_contract(connection: Connection, digest: Digest) -> Signed:
    """Return a recorded contract after checking that a key of the service signed a statement about this very digest.

    Raises:
        NotFoundError: there is no such contract.
        VerificationError: the signature does not hold, or speaks of another contract.
    """
    sealed = get_contract(connection, digest)
    content = connection.execute(
        select(records.contract.c.envelope).where(records.contract.c.digest == digest)
    ).scalar_one()
    envelope = Envelope.from_json(bytes(content))
    verify(envelope, service_keys(connection))
    statement = parse_statement(envelope.payload)
    if statement.predicate_type != CONTRACT_TYPE or [one.sha256 for one in statement.subjects] != [sealed.digest]:
        raise VerificationError("The signed statement is about another contract", field="contract", value=digest)
    return sealed


def list_contracts(connection: Connection) -> list[Signed]:
    """Return all contracts, by name and version."""
    table = records.contract
    rows = connection.execute(select(table.c.document).order_by(table.c.name, table.c.version))
    return [parse_canonical(bytes(row.document)) for row in rows]


def list_assignments(connection: Connection, *, tenant: TenantId | None = None) -> list[Assigned]:
    """Return who has which contract, by tenant, service, objective and first day."""
    table = records.assignment
    query = select(table, records.contract.c.document).join(records.contract)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    rows = connection.execute(query.order_by(table.c.tenant, table.c.service, table.c.objective, table.c.first_day))
    return [
        Assigned(TenantId(row.tenant), parse_canonical(bytes(row.document)), row.first_day, row.last_day)
        for row in rows
    ]


def find_assigned(
    assignments: Iterable[Assigned], service: ServiceId, objective: Objective, day: date
) -> Assigned | None:
    """Return the assignment that holds on a day, if there is one."""
    for assigned in assignments:
        contract = assigned.contract
        if (contract.service, contract.objective) == (service, objective) and assigned.overlaps(day, day):
            return assigned
    return None

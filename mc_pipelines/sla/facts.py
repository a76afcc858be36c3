"""Facts of downtime and money: incidents, maintenance, deployments, charges and probes.

They come from outside (incident tool, billing), keep the ids that their source gave them and are never
derived from our own estimates. Every fact has a canonical content whose digest tells a correction from a repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.clock import as_utc, parse_utc, rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId, parse_name
from mc_pipelines.foundation.money import decimal_text, exact, minor_unit_exponent
from mc_pipelines.sla.fields import Fields
from mc_pipelines.sla.intervals import Interval, to_milliseconds

_MAX_ID = 200
_EVERYBODY = frozenset({"", "all", "*"})
WITHDRAWN = "withdrawn"
"""The state of an incident that its source has taken back: it was not so, or not for this tenant."""


class Kind(StrEnum):
    """What a fact speaks about."""

    INCIDENT = "incident"
    MAINTENANCE = "maintenance"
    DEPLOYMENT = "deployment"
    CHARGE = "charge"
    PROBE = "probe"


class FaultOwner(StrEnum):
    """Whose fault an incident was."""

    PROVIDER = "provider"
    CUSTOMER = "customer"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact.

    Args:
        kind: what it speaks about.
        fact_id: the id its source gave it; the same id again is a correction.
        tenant: whom it concerns; None for all tenants of the service.
        service: of which service.
        starts_at: aware, to the millisecond.
        ends_at: aware; None while it lasts.
        details: what else the kind has, as text and canonical JSON values.
    """

    kind: Kind
    fact_id: str
    tenant: TenantId | None
    service: ServiceId
    starts_at: datetime
    ends_at: datetime | None
    details: dict[str, Any]

    @property
    def content(self) -> dict[str, Any]:
        """The canonical content, without the time at which we learnt it."""
        return {
            "kind": self.kind.value,
            "id": self.fact_id,
            "tenant": self.tenant,
            "service": self.service,
            "from": rfc3339(self.starts_at),
            "until": None if self.ends_at is None else rfc3339(self.ends_at),
            **self.details,
        }

    @property
    def digest(self) -> Digest:
        """The digest of the content."""
        return digest_of(self.content)

    @property
    def interval(self) -> Interval:
        """When it was so.

        Raises:
            InputError: it is not over yet.
        """
        if self.ends_at is None:
            raise InputError("It is not over yet", field=f"{self.kind.value}.until", value=self.fact_id)
        return Interval.between(self.starts_at, self.ends_at, field=self.kind.value)

    @property
    def reported_id(self) -> str:
        """The id under which its source knows it: without the tenant of an incident that named several."""
        return self.fact_id.removesuffix(f"@{self.tenant}")

    @property
    def announced_at(self) -> datetime | None:
        """When customers were told of maintenance, as its source says; None in facts from before this was asked."""
        text = self.details.get("announcedAt")
        return None if text is None else parse_utc(text, field=f"{self.kind.value}.announcedAt")

    @property
    def announced_late(self) -> bool:
        """Whether maintenance was announced after it began, so that it excludes nothing."""
        announced = self.announced_at
        return self.kind is Kind.MAINTENANCE and announced is not None and announced > self.starts_at

    @property
    def counts_as_downtime(self) -> bool:
        """Whether an incident is closed and the provider's fault."""
        closed = self.details.get("state") == "closed" and self.ends_at is not None
        return self.kind is Kind.INCIDENT and closed and self.details.get("faultOwner") == FaultOwner.PROVIDER.value


def facts_of(kind: Kind, value: Any) -> list[Fact]:
    """Read one fact, or the facts of an incident that names several tenants: one each, with the id ``ID@tenant``.

    A tenant's evidence holds only its own facts, so nobody reads there who else was hit.

    Raises:
        InputError: a field is missing, unknown or means nothing.
    """
    if isinstance(value, dict):
        _require_own_id(kind, value.get("id"))
    several = value.get("tenants") if isinstance(value, dict) and kind is Kind.INCIDENT else None
    if several is None:
        fact = fact_of(kind, value)
        _require_announcement(fact)
        return [fact]
    if isinstance(several, str):
        several = several.replace(";", " ").split()
    if "tenant" in value or not _different_names(several):
        raise InputError(
            "Not a list of different tenants", field="incident.tenants", value=several, mend="or write tenant: all"
        )
    rest = {name: member for name, member in value.items() if name != "tenants"}
    return [fact_of(kind, rest | {"id": f"{value.get('id')}@{tenant}", "tenant": tenant}) for tenant in several]


def _require_own_id(kind: Kind, value: Any) -> None:
    # INC-7 of several tenants is stored as INC-7@acme: an id that looks like that could be taken back by INC-7.
    if kind is Kind.INCIDENT and isinstance(value, str) and "@" in value:
        raise InputError("An incident's id has no @", field="incident.id", value=value, mend="name it without the @")


def _require_announcement(fact: Fact) -> None:
    # Not in fact_of: evidence that was signed before the rule has neither, and must be read as it was.
    if fact.kind is not Kind.MAINTENANCE:
        return
    if not fact.details["reason"].strip():
        raise InputError(
            "Maintenance needs a reason", field="maintenance.reason", mend="say why in a sentence; it stands in the log"
        )
    if fact.announced_at is None:
        raise InputError(
            "Maintenance needs the time of its announcement",
            field="maintenance.announcedAt",
            mend="say when customers were told; a window announced after it began excludes nothing",
        )


def _different_names(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        return False
    return len(set(value)) == len(value) and not _EVERYBODY & set(value)


def fact_of(kind: Kind, value: Any) -> Fact:
    """Read a fact from a parsed object; the same form as :attr:`Fact.content`.

    Raises:
        InputError: a field is missing, unknown or means nothing.
    """
    fields = Fields(value, kind.value)
    fields.get("kind")
    tenant = _tenant(kind, value, fields.get("tenant"))
    fact_id = fields.text("id")
    if len(fact_id) > _MAX_ID or not fact_id.isprintable():
        raise InputError(
            f"An id has at most {_MAX_ID} characters, all of them visible", field=f"{kind.value}.id", value=fact_id
        )
    starts_at = _moment(fields.text("from"), f"{kind.value}.from")
    until = fields.get("until")
    ends_at = None if until is None or until == "" else _moment(until, f"{kind.value}.until")
    service = ServiceId(parse_name(fields.text("service"), field=f"{kind.value}.service"))
    details = _DETAILS[kind](fields)
    fields.done()
    fact = Fact(
        kind,
        fact_id,
        tenant,
        service,
        starts_at,
        ends_at,
        details,
    )
    if ends_at is not None or kind is not Kind.INCIDENT:
        _ = fact.interval
    if kind is Kind.CHARGE and fact.tenant is None:
        raise InputError("A charge belongs to one tenant", field="charge.tenant")
    return fact


def _tenant(kind: Kind, value: Any, tenant: Any) -> TenantId | None:
    # The stored form says null; a row without the member is rather a slip than an outage of everybody.
    if not isinstance(value, dict) or "tenant" not in value:
        raise InputError("A required field is missing", field=f"{kind.value}.tenant", mend="or write tenant: all")
    if tenant is None or (isinstance(tenant, str) and tenant in _EVERYBODY):
        return None
    return TenantId(parse_name(tenant, field=f"{kind.value}.tenant"))


def _moment(text: Any, field: str) -> datetime:
    moment = as_utc(parse_utc(text, field=field), field=field)
    to_milliseconds(moment, field=field)
    return moment


def _incident(fields: Fields) -> dict[str, Any]:
    owner = fields.text("faultOwner")
    if owner not in set(FaultOwner):
        raise InputError(
            "Not a fault owner", field="incident.faultOwner", value=owner, mend="use provider, customer or none"
        )
    state = fields.text("state")
    if state not in {"open", "closed", WITHDRAWN}:
        raise InputError("Not a state", field="incident.state", value=state, mend="use open, closed or withdrawn")
    return {
        "cause": fields.text("cause"),
        "faultOwner": owner,
        "state": state,
        "source": fields.text("source"),
    }


def _window(fields: Fields) -> dict[str, Any]:
    reason = fields.get("reason", "")
    if not isinstance(reason, str) or "\0" in reason:
        raise InputError("Not text", field=fields.name("reason"), value=reason)
    return {"reason": reason, "source": fields.text("source")}


def _maintenance(fields: Fields) -> dict[str, Any]:
    announced = fields.get("announcedAt")
    if announced is None:
        return _window(fields)
    return _window(fields) | {"announcedAt": rfc3339(_moment(announced, "maintenance.announcedAt"))}


def _charge(fields: Fields) -> dict[str, Any]:
    currency = fields.text("currency")
    minor_unit_exponent(currency)
    amount = fields.take("amount")
    if exact(amount, field="charge.amount") < 0:
        raise InputError("A charge is not negative", field="charge.amount", value=str(amount))
    text = decimal_text(amount) if isinstance(amount, Decimal) else str(amount)
    return {"amount": text, "currency": currency, "source": fields.text("source")}


def _probe(fields: Fields) -> dict[str, Any]:
    good = fields.take("good")
    if isinstance(good, str) and good in {"true", "false"}:
        good = good == "true"
    if not isinstance(good, bool):
        raise InputError("Not true or false", field="probe.good", value=good)
    return {"good": good, "source": fields.text("source")}


_DETAILS = {
    Kind.INCIDENT: _incident,
    Kind.MAINTENANCE: _maintenance,
    Kind.DEPLOYMENT: _window,
    Kind.CHARGE: _charge,
    Kind.PROBE: _probe,
}

"""Everything that a credit rests on, as one canonical document that judges can read again in ten years.

The document holds the tenant's own rows only. Its digest stands in the signed statement, and
:func:`mc_pipelines.sla.judgement.judge` decides from the contract and this document alone, so whoever has
both recomputes every integer, the tier and the cents without us.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from mc_pipelines.foundation.canonical import canonical_json, digest_of, parse_json
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId, parse_digest
from mc_pipelines.foundation.money import Money, exact, minor_unit_exponent
from mc_pipelines.sla.calendar import Period, parse_period
from mc_pipelines.sla.facts import Fact, Kind, fact_of
from mc_pipelines.sla.intervals import Interval
from mc_pipelines.sla.slices import SliceDay, merkle_root, slice_day_of

EVIDENCE_TYPE = "https://maestro-conductor.example/sla-evidence/v1"

MOST_MINOR = 10**15 - 1
"""In minor units: what a note can state as a JSON number without loss."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A document already issued for the same period."""

    number: str
    amount: Money
    digest: Digest


@dataclass(frozen=True, slots=True)
class Reversal:
    """A person's wish to take one issued credit note back; whether it happens is for two people to sign.

    Args:
        number: of the credit note.
        reason: why, in a sentence.
    """

    number: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The facts of one tenant, service and period.

    Args:
        tenant: whose.
        service: of which service.
        period: the billing period.
        contract: digest of the contract.
        slices: counts of the UTC days that the period touches.
        facts: incidents, maintenance, deployments and charges that touch the period.
        earlier: documents already issued for the period, in order.
        reversal: the note to take back, where the document is asked for by a person and not owed by the facts.
    """

    tenant: TenantId
    service: ServiceId
    period: Period
    contract: Digest
    slices: tuple[SliceDay, ...]
    facts: tuple[Fact, ...]
    earlier: tuple[Earlier, ...] = ()
    reversal: Reversal | None = None

    def of_kind(self, kind: Kind) -> list[Fact]:
        """Return the facts of one kind."""
        return [fact for fact in self.facts if fact.kind is kind]

    def intervals(self, kind: Kind) -> list[Interval]:
        """Return when facts of a kind were so."""
        return [fact.interval for fact in self.of_kind(kind)]

    @property
    def maintenance(self) -> list[Interval]:
        """Windows whose downtime does not count: those that were not announced after they had begun."""
        return [fact.interval for fact in self.of_kind(Kind.MAINTENANCE) if not fact.announced_late]

    @property
    def downtime(self) -> list[Interval]:
        """Closed incidents that were the provider's fault."""
        return [fact.interval for fact in self.of_kind(Kind.INCIDENT) if fact.counts_as_downtime]

    @property
    def closed_incidents(self) -> list[Fact]:
        """Incidents that are over, whoever's fault they were."""
        return [fact for fact in self.of_kind(Kind.INCIDENT) if fact.details["state"] == "closed" and fact.ends_at]

    def charge(self, currency: str) -> Fraction | None:
        """Return the exact sum of the charges of the period, or None when billing sent none.

        Raises:
            InputError: a charge is in another currency or reaches over the edge of the period, or all together are more
                than a note can state.
        """
        charges = self.of_kind(Kind.CHARGE)
        window = self.period.interval
        for fact in charges:
            if fact.details["currency"] != currency:
                raise InputError("A charge is in another currency", field="charge.currency", value=fact.fact_id)
            if fact.interval.start < window.start or fact.interval.end > window.end:
                raise InputError(
                    "A charge reaches over the edge of the billing period", field="charge", value=fact.fact_id
                )
        amounts = (exact(str(fact.details["amount"]), field="charge.amount") for fact in charges)
        total = sum(amounts, Fraction(0))
        if total * 10 ** minor_unit_exponent(currency) > MOST_MINOR:
            raise InputError("The charges are larger than a note can state", field="charge.amount", value=len(charges))
        return total if charges else None

    @property
    def constructed(self) -> bool:
        """Whether any of it was made up rather than observed."""
        made_up = any(fact.details.get("source") == "constructed" for fact in self.facts)
        return made_up or any(day.constructed for day in self.slices)

    @property
    def root(self) -> str:
        """The Merkle root over the days of slices."""
        return merkle_root(self.slices)

    @property
    def basis(self) -> Digest:
        """The digest of what was seen alone, without the documents issued on it."""
        return digest_of(replace(self, earlier=(), reversal=None).to_document())

    def to_document(self) -> dict[str, Any]:
        """Return the canonical document."""
        asked = self.reversal
        document = self._facts_document()
        return document if asked is None else document | {"reversal": {"number": asked.number, "reason": asked.reason}}

    def _facts_document(self) -> dict[str, Any]:
        return {
            "type": EVIDENCE_TYPE,
            "tenant": self.tenant,
            "service": self.service,
            "period": self.period.text,
            "zone": self.period.zone,
            "fromMs": self.period.interval.start,
            "untilMs": self.period.interval.end,
            "contract": self.contract,
            "slices": [day.to_document() for day in self.slices],
            "facts": [fact.content for fact in self.facts],
            "earlier": [
                {
                    "number": one.number,
                    "amountMinor": str(one.amount.minor),
                    "currency": one.amount.currency,
                    "digest": one.digest,
                }
                for one in self.earlier
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical_json(self.to_document())

    @property
    def digest(self) -> Digest:
        """The digest of the canonical bytes."""
        return digest_of(self.to_document())


def parse_evidence(content: bytes) -> Evidence:
    """Read evidence.

    The instants of the period are recomputed in its zone and must be those that the document states.

    Raises:
        InputError: it is malformed, not canonical, or holds rows of somebody else.
    """
    document = parse_json(content, what="evidence")
    try:
        period = parse_period(document["period"], document["zone"])
        tenant, service = TenantId(document["tenant"]), ServiceId(document["service"])
        evidence = Evidence(
            tenant,
            service,
            period,
            parse_digest(document["contract"], field="evidence.contract"),
            tuple(slice_day_of(day) for day in document["slices"]),
            tuple(fact_of(Kind(fact["kind"]), fact) for fact in document["facts"]),
            tuple(
                Earlier(
                    one["number"],
                    Money(one["currency"], int(one["amountMinor"])),
                    parse_digest(one["digest"], field="evidence.earlier"),
                )
                for one in document["earlier"]
            ),
            _reversal(document.get("reversal")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"The evidence is malformed: {error!r}", field="evidence") from error
    if any((day.tenant, day.service) != (tenant, service) for day in evidence.slices):
        raise InputError("The evidence holds slices of another tenant or service", field="evidence.slices")
    if any(fact.tenant not in {None, tenant} or fact.service != service for fact in evidence.facts):
        raise InputError("The evidence holds facts of another tenant or service", field="evidence.facts")
    if evidence.to_bytes() != content:
        raise InputError("The evidence is not in its canonical form", field="evidence", value=digest_of(document))
    return evidence


def _reversal(document: Any) -> Reversal | None:
    return None if document is None else Reversal(str(document["number"]), str(document["reason"]))

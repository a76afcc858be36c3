"""The report of a tenant's period: what was promised, measured, owed and given; as data, text or HTML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.assessment import Assessment, assess, begun
from mc_pipelines.sla.attainment import round_down
from mc_pipelines.sla.budget import burn_rate, burns, error_budget
from mc_pipelines.sla.calendar import parse_period
from mc_pipelines.sla.contract_store import list_assignments
from mc_pipelines.sla.draft_store import OPEN, list_drafts
from mc_pipelines.sla.judgement import figures
from mc_pipelines.sla.note_store import list_notes
from mc_pipelines.sla.pictures import attainment_calendar, budget_burn_down

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>SLA of {{ tenant }}, {{ period }}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}
.breached{background:#fde8e8}.met{background:#e9f7ec}.nodata{background:#f3f3f3}</style></head><body>
<h1>Service levels of {{ tenant }}, {{ period }}</h1>
<p>As known on {{ asKnownAt }}.{% if constructed %} <strong>Some of the input is constructed.</strong>{% endif %}</p>
{% for one in pictures %}<figure>{{ one | safe }}</figure>{% endfor %}
{% for c in contracts %}
<h2>{{ c.service }}: {{ c.objective }} (contract {{ c.contract }}, version {{ c.version }})</h2>
<p class="{{ c.figures.state.replace(' ', '') }}">{{ c.figures.state }}:
{{ c.figures.shown or 'no data' }} per cent against {{ c.figures.target }};
credit {{ c.credit or 'not decided' }}{% if c.figures.reason %} ({{ c.figures.reason }}){% endif %}.</p>
<p>Error budget left: {{ c.budgetLeft or 'unknown' }} (1 is whole); burnt {{ c.burnRate or 'unknown' }} times as fast as
allowed.
{% for a in c.alerts if a.fires %}<strong>{{ a.alert }} fires</strong> ({{ a.long }} and {{ a.short }}).{% endfor %}</p>
<table><tr><th>Local day</th><th>State to date</th><th>Per cent to date</th><th>Share of the credit</th></tr>
{% for day in c.days %}<tr class="{{ day.state.replace(' ', '') }}"><td>{{ day.day }}</td><td>{{ day.state }}</td>
<td>{{ day.shown or '' }}</td><td>{{ day.share or '' }}</td></tr>{% endfor %}</table>
{% if c.announcedLate %}<p>Maintenance announced after it began, which excludes nothing:
{{ c.announcedLate | join(', ') }}.</p>{% endif %}
{% if c.notes %}<p>Issued: {{ c.notes | join(', ') }}.</p>{% endif %}
{% if c.drafts %}<p>Waiting for signatures: {{ c.drafts | join(', ') }}.</p>{% endif %}
{% endfor %}</body></html>
"""


@dataclass(frozen=True, slots=True)
class Report:
    """A tenant's period under all its contracts."""

    tenant: TenantId
    period: str
    as_known_at: datetime
    contracts: tuple[dict[str, Any], ...]
    pictures: tuple[str, ...] = ()

    @property
    def constructed(self) -> bool:
        """Whether any input was made up."""
        return any(contract["constructed"] for contract in self.contracts)

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            "tenant": self.tenant,
            "period": self.period,
            "asKnownAt": rfc3339(self.as_known_at),
            "constructed": self.constructed,
            "contracts": list(self.contracts),
        }

    def to_html(self) -> str:
        """Return the report as one HTML page; every value is escaped."""
        from jinja2 import Environment

        return Environment(autoescape=True).from_string(_TEMPLATE).render(self.to_document(), pictures=self.pictures)


def make_report(
    connection: Connection,
    tenant: TenantId,
    period: str,
    *,
    now: datetime,
    as_known_at: datetime | None = None,
    pictures: bool = False,
) -> Report:
    """Judge a tenant's period as it is known now, or as it was known at a moment.

    Args:
        connection: any transaction.
        tenant: whose.
        period: ``2026-01``, ``2026-01-19`` or first/last; each contract reports its billing period that holds
            the first day.
        now: the present.
        as_known_at: leave out what was recorded later.
        pictures: draw the calendar of days and the burn-down of budgets, for the HTML page.

    Raises:
        NotFoundError: the tenant has no contract then.
    """
    found: list[dict[str, Any]] = []
    assessments = assess_period(connection, tenant, period, now=now, as_known_at=as_known_at)
    for assessment in assessments:
        subject = assessment.subject
        notes = [
            note.number
            for note in list_notes(connection, subject=subject)
            if as_known_at is None or note.issued_at <= as_known_at
        ]
        drafts = [draft.draft_id[:12] for draft in list_drafts(connection, subject=subject, state=OPEN)]
        found.append(_contract(assessment, as_known_at or now) | {"notes": notes, "drafts": drafts})
    drawn = (attainment_calendar(assessments), budget_burn_down(assessments)) if pictures else ()
    return Report(tenant, period, as_known_at or now, tuple(found), drawn)


def assess_period(
    connection: Connection, tenant: TenantId, period: str, *, now: datetime, as_known_at: datetime | None = None
) -> list[Assessment]:
    """Judge the billing periods that hold the first day of ``period``, one for each contract of a tenant.

    Raises:
        NotFoundError: the tenant has no contract then.
        InputError: the period is malformed, or has not begun.
    """
    found = []
    for assigned in list_assignments(connection, tenant=tenant):
        given = parse_period(period, assigned.contract.zone)
        if assigned.overlaps(given.first, given.last):
            billing = begun(assigned.billing_period(given.first), now)
            found.append(assess(connection, assigned, billing, now=now, as_known_at=as_known_at))
    if not found:
        raise NotFoundError("The tenant has no contract on these days", field="tenant", value=tenant)
    return found


def _text(value: Fraction | None) -> str | None:
    return None if value is None else str(round_down(value, 3))


def _contract(assessment: Assessment, now: datetime) -> dict[str, Any]:
    contract, evidence, judgement = assessment.assigned.contract, assessment.evidence, assessment.judgement
    attainment = judgement.attainment
    budget, burn = error_budget(contract, attainment, evidence.period), burn_rate(contract, attainment)
    values = figures(contract, evidence, judgement)
    days = values.pop("days")
    decision = judgement.decision
    return {
        "service": contract.service,
        "objective": contract.objective.value,
        "contract": contract.name,
        "version": contract.version,
        "digest": assessment.assigned.sealed.digest,
        "period": evidence.period.text,
        "zone": evidence.period.zone,
        "closed": assessment.closed,
        "constructed": evidence.constructed,
        "announcedLate": [fact.fact_id for fact in evidence.facts if fact.announced_late],
        "figures": values,
        "credit": None if decision is None else str(decision.credit),
        "budgetLeft": _text(None if attainment.percent is None else budget.left),
        "burnRate": _text(burn),
        "alerts": [
            {"alert": one.alert.name, "long": _text(one.long), "short": _text(one.short), "fires": one.fires}
            for one in burns(contract, evidence, now)
        ],
        "days": [
            {
                "day": day["day"],
                "state": day["state"],
                "shown": day["shown"],
                "share": None
                if day["shareMinor"] is None
                else str(Money(contract.currency, int(day["shareMinor"])).amount),
            }
            for day in days
        ],
    }


def breach_amount(days: list[dict[str, Any]], currency: str) -> Decimal:
    """Return the sum of the shares of a judgement's days, in major units."""
    minor = sum(int(day["shareMinor"]) for day in days if day["shareMinor"] is not None)
    return Money(currency, minor).amount

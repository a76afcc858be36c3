"""A tenant's service levels day by day: state and share of the credit, as last judged."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.draft_store import newest_judgements

LONGEST = timedelta(days=366)


def days_of_tenant(
    connection: Connection, tenant: TenantId, first: date, last: date, *, service: ServiceId | None = None
) -> list[dict[str, Any]]:
    """Return every judged local day of a tenant between two days, both included, by day and contract.

    ``share`` is the change of the period-to-date credit on that day, so the days of a period sum to its credit; None
    while the period is on hold.

    Raises:
        InputError: the days are in the wrong order or more than a year apart.
    """
    if not first <= last <= first + LONGEST:
        raise InputError(
            "The days are in the wrong order or more than a year apart",
            field="until",
            value=last.isoformat(),
            mend="ask for at most 366 days, the first one first",
        )
    found = []
    for row in newest_judgements(connection, tenant=tenant):
        if service not in {None, row.service} or row.period_last < first or last < row.period_first:
            continue
        found += [
            {
                "day": day["day"],
                "service": row.service,
                "objective": row.objective,
                "contract": row.contract_digest,
                "period": f"{row.period_first}/{row.period_last}",
                "state": day["state"],
                "percentToDate": day["shown"],
                "share": None if day["shareMinor"] is None else str(Money(row.currency, int(day["shareMinor"])).amount),
                "currency": row.currency,
                "closed": row.closed,
                "judgedAt": rfc3339(row.recorded_at),
            }
            for day in row.days
            if first <= date.fromisoformat(day["day"]) <= last
        ]
    return sorted(found, key=lambda one: (one["day"], one["service"], one["objective"], one["contract"]))

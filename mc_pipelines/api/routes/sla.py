"""Service levels over HTTP: a tenant's days, as last judged."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse

from mc_pipelines.api.access import AccessOf, ContextOf, guarded_router
from mc_pipelines.api.openapi import answers
from mc_pipelines.foundation.ids import ServiceId, TenantId, parse_name
from mc_pipelines.sla.day_view import days_of_tenant

router = guarded_router("sla")

_DAY = {
    "day": "2026-01-19",
    "service": "pipelines",
    "objective": "availability",
    "contract": "sha256:" + "ab" * 32,
    "period": "2026-01-19/2026-01-25",
    "state": "breached",
    "percentToDate": "99.5",
    "share": "123.45",
    "currency": "USD",
    "closed": True,
    "judgedAt": "2026-01-29T17:00:00Z",
}


@router.get(
    "/api/sla/{tenant}/days",
    summary="A tenant's service levels by local day",
    responses=answers({"days": [_DAY]}),
)
def days(
    tenant: str,
    access: AccessOf,
    context: ContextOf,
    first: Annotated[date, Query(alias="from", description="first local day")],
    last: Annotated[date, Query(alias="until", description="last local day, included; at most 366 days")],
    service: Annotated[str | None, Query(description="only this service")] = None,
) -> JSONResponse:
    """Return each judged day with its state and its share of the period's credit; the shares sum to it."""
    whose = TenantId(parse_name(tenant, field="tenant"))
    access.require(whose)
    which = None if service is None else ServiceId(parse_name(service, field="service"))
    with context.database.begin() as connection:
        return JSONResponse({"days": days_of_tenant(connection, whose, first, last, service=which)})

"""Draws the pictures of docs/sla/attainment.md from constructed counts: a module to run, not a test."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from pathlib import Path

from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.assessment import Assessment
from mc_pipelines.sla.calendar import Cycle, Period, period_containing
from mc_pipelines.sla.contract import Contract
from mc_pipelines.sla.contract_store import Assigned
from mc_pipelines.sla.document import seal_contract
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.judgement import judge
from mc_pipelines.sla.library import template
from mc_pipelines.sla.pictures import attainment_calendar, budget_burn_down
from mc_pipelines.sla.slices import SliceDay, SliceRow, day_start_ms

FOLDER = Path(__file__).parents[2] / "docs" / "images"
TODAY = date(2026, 2, 17)


def counted(contract: Contract, tenant: TenantId, day: date, rate: float, chance: random.Random) -> SliceDay:
    """One day of a tenant; one in twenty has a bad morning."""
    trouble = chance.random() < 0.05
    rows = []
    for hour in range(0, 24, 2):
        total, odds = chance.randrange(200, 900), 0.01 if trouble and 8 <= hour < 14 else rate
        bad = sum(chance.random() < odds for _ in range(total))
        rows.append(SliceRow((day_start_ms(day) + hour * 3_600_000) // contract.granule_ms, total, bad, 0))
    return SliceDay(tenant, contract.service, day, contract.granule_ms, 0, tuple(rows), constructed=1)


def assessment(contract: Contract, tenant: TenantId, period: Period, rate: float, chance: random.Random) -> Assessment:
    """A period of a tenant, up to today."""
    sealed, until = seal_contract(contract), period.until(TODAY)
    days = tuple(counted(contract, tenant, day, rate, chance) for day in until.utc_days())
    evidence = Evidence(tenant, contract.service, period, sealed.digest, days, ())
    judgement = judge(contract, evidence, until=until)
    return Assessment(Assigned(tenant, sealed, period.first, None), evidence, judgement, period.last < TODAY)


def assessments() -> list[Assessment]:
    """Twelve tenants of two services, January and half of February."""
    chance = random.Random(3)  # noqa: S311 - a picture, not a secret
    found = []
    for service, rate in (("pipelines", 0.0003), ("reports", 0.0006)):
        contract = replace(template("azure-functions-consumption").contract, service=ServiceId(service))
        for number in range(12):
            for month in (1, 2):
                period = period_containing(date(2026, month, 1), Cycle.MONTH, contract.zone)
                tenant = TenantId(f"tenant-{number}")
                found.append(assessment(contract, tenant, period, rate * (0.2 + number / 12), chance))
    return found


def main() -> None:
    """Write both pictures."""
    found = assessments()
    (FOLDER / "sla-calendar.svg").write_text(attainment_calendar(found))
    (FOLDER / "sla-burn-down.svg").write_text(budget_burn_down([one for one in found if not one.closed]))


if __name__ == "__main__":
    main()

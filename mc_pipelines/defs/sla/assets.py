"""From facts to credit notes: slices, judgements, drafts, notes, and the checks that hold money to account.

The Dagster UI has no login, so nothing here names a tenant: `mc sla report` and `mc credits` do, to those who may.
"""

from collections import Counter
from datetime import date
from typing import Any

import dagster as dg

from mc_pipelines.defs.executions.assets import execution_facts
from mc_pipelines.defs.partitions import DAYS, ONE_RUN, days_of, retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, picture, table


@dg.asset(
    deps=[execution_facts],
    partitions_def=DAYS,
    backfill_policy=ONE_RUN,
    group_name="sla",
    owners=["team:sre"],
    kinds={"polars", "postgres"},
    code_version="1",
    retry_policy=retries(),
    description="Good, bad and excluded attempts by slice of time; a day whose facts did not change is left alone.",
)
def sla_slices(context: dg.AssetExecutionContext, maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Roll up the days of the run and commit to what was counted; late facts re-roll only their own days."""
    from secrets import token_bytes

    from mc_pipelines.sla.commitment import commit_days
    from mc_pipelines.sla.rollup import roll_up

    opened = maestro.open()
    first, last = (date.fromisoformat(day) for day in days_of(context))
    rolled = roll_up(opened.database, opened.object_store, opened.clock, first_day=first, last_day=last)
    committed = commit_days(opened.database, opened.clock, token_bytes, first_day=first, last_day=last)
    rows = [(one.day, one.days_of_slices, one.changed) for one in rolled]
    return dg.MaterializeResult(
        metadata={
            "days_read": len(rows),
            "changed": sum(row[2] for row in rows),
            "committed": len(committed),
            "days": table(("UTC day", "tenant-days of slices", "changed"), rows),
        }
    )


@dg.asset(
    deps=[dg.AssetDep(sla_slices, partition_mapping=dg.AllPartitionMapping())],
    group_name="sla",
    owners=["team:sre"],
    kinds={"postgres"},
    code_version="1",
    retry_policy=retries(),
    description="Every billing period of every contract: kept, broken or no data, and what it comes to so far.",
)
def sla_attainment(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Judge all periods that have begun; what did not change is not written again."""
    from mc_pipelines.sla.assessment import assess_all
    from mc_pipelines.sla.overview import breach_rows, exposure, standing_rows
    from mc_pipelines.sla.pictures import attainment_calendar, budget_burn_down, credit_exposure

    opened = maestro.open()
    found = assess_all(opened.database, opened.clock)
    latest = [one for one in found if not one.closed] or found
    with opened.database.begin() as connection:
        amounts = exposure(connection, found)
    return dg.MaterializeResult(
        metadata={
            "periods": len(found),
            "calendar": picture(attainment_calendar(found)),
            "burn_down": picture(budget_burn_down(latest)),
            "credit_exposure": picture(credit_exposure(amounts)),
            "standing": table(("service", "objective", "state", "period", "periods"), standing_rows(found)),
            "breaches": table(
                ("service", "objective", "period", "tenants", "worst per cent", "credit so far", "on hold"),
                breach_rows(found),
            ),
        }
    )


@dg.asset(
    deps=[sla_attainment],
    group_name="sla",
    owners=["team:sre", "team:finance"],
    kinds={"postgres"},
    code_version="1",
    retry_policy=retries(),
    description="Credit notes that wait for their makers and checkers; periods on hold say what is missing.",
)
def credit_drafts(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Draft what closed periods owe, end what expired, and count what waits."""
    from mc_pipelines.sla.draft import age_drafts, draft_credits
    from mc_pipelines.sla.overview import outcome_rows

    opened = maestro.open()
    outcomes = draft_credits(opened.database, opened.clock)
    expired, reminded = age_drafts(opened.database, opened.clock)
    exposure: Counter[str] = Counter()
    for one in outcomes:
        if one.draft is not None:
            exposure[one.draft.amount.currency] += one.draft.amount.minor
    return dg.MaterializeResult(
        metadata={
            "new": sum(one.new for one in outcomes),
            "expired": len(expired),
            "overdue": len(reminded),
            "periods": table(("status", "reason", "periods"), outcome_rows(outcomes)),
            "exposure": table(("currency", "minor units waiting"), sorted(exposure.items())),
        }
    )


@dg.asset(
    deps=[credit_drafts],
    group_name="sla",
    owners=["team:finance"],
    kinds={"postgres"},
    code_version="1",
    pool="credit_notes",
    description="Signed credit notes: issued only from drafts that two different people have signed.",
)
def credit_notes(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Issue what is completely signed and end incidents; launching this run approves nothing."""
    from mc_pipelines.sla.completeness import attest_completeness
    from mc_pipelines.sla.determination import determine
    from mc_pipelines.sla.issue import issue_completed
    from mc_pipelines.sla.note_store import list_notes
    from mc_pipelines.sla.timestamps import stamp_notes

    opened = maestro.open()
    issued = issue_completed(opened.database, opened.clock)
    stamped = stamp_notes(opened.database, opened.clock, opened.settings.tsa_url)
    endings = determine(opened.database, opened.clock, opened.signer)
    attest_completeness(opened.database, opened.clock, opened.signer)
    with opened.database.begin() as connection:
        notes = list_notes(connection)
    rows = [(one.number, one.kind, one.digest, one.issued_at) for one in notes]
    return dg.MaterializeResult(
        metadata={
            "issued": len(issued),
            "time_stamped": stamped,
            "incidents_ended": sum(one.waits_for is None for one in endings),
            "dagster/row_count": len(notes),
            "notes": table(("number", "kind", "digest", "issued"), rows),
        }
    )


@dg.asset_check(
    asset=sla_attainment,
    blocking=True,
    description="The shares of the local days sum exactly to each period's credit.",
)
def days_sum_to_their_period(maestro: Maestro) -> dg.AssetCheckResult:
    """Judge again and add up."""
    from mc_pipelines.sla.assessment import assess_all

    opened = maestro.open()
    problems = []
    for number, one in enumerate(assess_all(opened.database, opened.clock)):
        decision, days = one.judgement.decision, one.judgement.days
        if decision is not None and sum(share.share.minor for share in days) != decision.credit.minor:
            problems.append(f"period {number} from {one.subject.first}: the days do not sum to the credit")
    return dg.AssetCheckResult(**outcome(not problems, problems))


@dg.asset_check(
    asset=credit_notes,
    blocking=True,
    description="Incidents == notes + determinations, breaches == notes, notes == log, both ways; the ledger balances.",
)
def notes_are_owed_and_balanced(maestro: Maestro) -> dg.AssetCheckResult:
    """Compare both sides; what waits for people is in order and is counted by the next check."""
    from mc_pipelines.sla.completeness import check_completeness

    with maestro.open().database.begin() as connection:
        lost = check_completeness(connection).lost
    problems = [f"{count} {name.replace('_', ' ')}; `mc credits check` names them" for name, count in lost.items()]
    return dg.AssetCheckResult(**outcome(not problems, problems))


@dg.asset_check(
    asset=credit_notes,
    description="Every closed incident and every breach has ended in a note or a signed determination.",
)
def nothing_was_left_out(maestro: Maestro) -> dg.AssetCheckResult:
    """Count what still waits; people have until a draft expires."""
    from mc_pipelines.sla.completeness import check_completeness

    with maestro.open().database.begin() as connection:
        found = check_completeness(connection)
    waiting = {"incidents": len(found.incidents_waiting), "breaches": len(found.breaches_waiting)}
    problems = [f"{count} {what} wait for people" for what, count in waiting.items() if count]
    return dg.AssetCheckResult(severity=dg.AssetCheckSeverity.WARN, **outcome(not problems, problems, **waiting))

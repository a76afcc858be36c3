"""All tenants' periods in a few rows that name none of them: what stands how, what is broken, what it may cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from sqlalchemy import Connection

from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.assessment import Assessment
from mc_pipelines.sla.attainment import State
from mc_pipelines.sla.draft import REFUSED, REVERSED, DraftOutcome
from mc_pipelines.sla.draft_store import OPEN, list_drafts
from mc_pipelines.sla.note_store import list_notes


def standing_rows(assessments: Iterable[Assessment]) -> list[tuple[str, str, str, str, int]]:
    """Return service, objective, state, whether the period is closed, and how many periods."""
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for one in assessments:
        contract = one.assigned.contract
        standing = "closed" if one.closed else "running"
        counted[(contract.service, contract.objective.value, one.judgement.state.value, standing)] += 1
    return [(*key, count) for key, count in sorted(counted.items())]


def breach_rows(assessments: Iterable[Assessment]) -> list[tuple[str, str, str, int, Decimal | None, str, int]]:
    """Return, newest period first, what was broken in it.

    Returns:
        Service, objective, period, tenants, the worst percentage, the credit so far by currency, and how many of
        them are on hold.
    """
    found: dict[tuple[str, str, str], list[Assessment]] = defaultdict(list)
    for one in assessments:
        if one.judgement.state is State.BREACHED:
            contract = one.assigned.contract
            found[(contract.service, contract.objective.value, one.evidence.period.text)].append(one)
    rows = []
    for key, broken in sorted(found.items(), key=lambda item: (item[0][2], item[0]), reverse=True):
        shown = [one.judgement.attainment.shown for one in broken]
        decided = [one.judgement.decision.credit for one in broken if one.judgement.decision is not None]
        worst = min((value for value in shown if value is not None), default=None)
        rows.append((*key, len(broken), worst, _sums(decided), len(broken) - len(decided)))
    return rows


def outcome_rows(outcomes: Iterable[DraftOutcome]) -> list[tuple[str, str, int]]:
    """Return status, reason and how many periods.

    What people wrote for a rejection or a reversal stays out, and so do the ids in a contradiction of facts: both may
    name a tenant.
    """
    written = {REFUSED, REVERSED}
    counted = Counter(
        (one.status, "" if one.reason is None or one.status in written else one.reason.partition("; field ")[0])
        for one in outcomes
    )
    return [(*key, count) for key, count in sorted(counted.items())]


def exposure(connection: Connection, assessments: Sequence[Assessment]) -> dict[str, list[Money]]:
    """Return what credits come to by standing, as :func:`mc_pipelines.sla.pictures.credit_exposure` draws them."""
    drafts = [draft for draft in list_drafts(connection, state=OPEN) if draft.amount.minor > 0]
    waiting = {draft.subject for draft in drafts}
    running: list[Money] = []
    owed: list[Money] = []
    for one in assessments:
        step = one.judgement.step
        if step is None or step.amount.minor <= 0 or one.subject in waiting:
            continue
        (owed if one.closed else running).append(step.amount)
    return {
        "given": [note.amount for note in list_notes(connection)],
        "waiting for signatures": [draft.amount for draft in drafts],
        "owed so far, period running": running,
        "owed, not drafted": owed,
    }


def _sums(amounts: Iterable[Money]) -> str:
    totals: dict[str, Money] = {}
    for one in amounts:
        totals[one.currency] = totals.get(one.currency, Money(one.currency, 0)) + one
    return ", ".join(str(total) for _, total in sorted(totals.items()))

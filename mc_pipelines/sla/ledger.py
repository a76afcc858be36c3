"""The double-entry ledger of credits: reserved when drafted, posted when issued, voided when a draft dies.

A transaction is a pair of rows that sum to zero (a deferred constraint of the database holds it); nothing is
ever updated. A draft has one pending transaction and at most one end, posted or voided, under a UNIQUE index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla import records

EXPENSE = "Expenses:SLA-Credits"
PENDING, POSTED, VOIDED = "pending", "posted", "voided"
_PAYABLE = "Liabilities:Credits-Payable"


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a transaction; debit positive."""

    draft_id: str
    phase: str
    account: str
    amount: Money
    at: datetime


def payable(tenant: TenantId) -> str:
    """Return the account of what we owe a tenant.

    Beancount accounts begin with a capital and hold letters, digits and hyphens; each other byte is written
    as ``-x<hex>``, so two tenants never share an account.
    """
    safe = "".join(character if character.isalnum() else f"-x{ord(character):02x}" for character in tenant)
    return f"{_PAYABLE}:T-{safe}"


def reserve(connection: Connection, draft_id: str, tenant: TenantId, amount: Money, *, now: datetime) -> None:
    """Write the pending transaction of a draft; a retry writes nothing."""
    _write(connection, draft_id, PENDING, [(EXPENSE, amount), (payable(tenant), -amount)], now=now)


def post(connection: Connection, draft_id: str, tenant: TenantId, amount: Money, *, now: datetime) -> None:
    """Write the posted transaction of an issued note; a retry writes nothing.

    Raises:
        IntegrityError: the draft was voided.
    """
    _write(connection, draft_id, POSTED, [(EXPENSE, amount), (payable(tenant), -amount)], now=now)


def void(connection: Connection, draft_id: str, *, now: datetime) -> None:
    """Release what a dead draft had reserved; a retry writes nothing.

    Raises:
        IntegrityError: the draft was posted.
    """
    _write(connection, draft_id, VOIDED, [], now=now)


def _write(
    connection: Connection, draft_id: str, phase: str, lines: Sequence[tuple[str, Money]], *, now: datetime
) -> None:
    table = records.ledger_transaction
    key = [table.c.draft_id, table.c.phase]
    added = connection.execute(
        insert(table)
        .values(draft_id=draft_id, phase=phase, at=now)
        .on_conflict_do_nothing(index_elements=key)
        .returning(table.c.draft_id)
    ).first()
    if added is None or not lines:
        return
    connection.execute(
        insert(records.ledger_entry),
        [
            {
                "draft_id": draft_id,
                "phase": phase,
                "account": account,
                "amount_minor": amount.minor,
                "currency": amount.currency,
            }
            for account, amount in lines
        ],
    )


def posted_balance(connection: Connection, account: str, currency: str) -> Money:
    """Return the sum of the posted entries of an account."""
    return _balance(connection, account, currency, POSTED)


def reserved_balance(connection: Connection, account: str, currency: str) -> Money:
    """Return the sum of the pending entries of an account whose drafts have not ended."""
    return _balance(connection, account, currency, PENDING)


def _balance(connection: Connection, account: str, currency: str, phase: str) -> Money:
    table, ended = records.ledger_entry, records.ledger_transaction
    query = select(func.coalesce(func.sum(table.c.amount_minor), 0)).where(
        table.c.account == account, table.c.currency == currency, table.c.phase == phase
    )
    if phase == PENDING:
        finished = select(ended.c.draft_id).where(ended.c.phase != PENDING)
        query = query.where(table.c.draft_id.not_in(finished))
    return Money(currency, int(connection.execute(query).scalar_one()))


def entries(connection: Connection, *, phase: str = POSTED) -> list[Entry]:
    """Return all entries of a phase, in the order of time."""
    table, transaction = records.ledger_entry, records.ledger_transaction
    rows = connection.execute(
        select(table, transaction.c.at)
        .join(transaction, (transaction.c.draft_id == table.c.draft_id) & (transaction.c.phase == table.c.phase))
        .where(table.c.phase == phase)
        .order_by(transaction.c.at, table.c.draft_id, table.c.account)
    )
    return [Entry(r.draft_id, r.phase, r.account, Money(r.currency, r.amount_minor), r.at) for r in rows]


def beancount(connection: Connection) -> str:
    """Return the posted ledger in beancount's language, with a balance assertion at zero tolerance at the end."""
    found = entries(connection)
    currencies = {entry.amount.currency for entry in found}
    lines = ['option "title" "Maestro Conductor SLA credits"']
    lines += [f'option "operating_currency" "{currency}"' for currency in sorted(currencies)]
    lines += [f"1970-01-01 open {account}" for account in sorted({entry.account for entry in found})]
    totals: dict[tuple[str, str], Decimal] = {}
    by_draft: dict[str, list[Entry]] = {}
    for entry in found:
        by_draft.setdefault(entry.draft_id, []).append(entry)
        key = (entry.account, entry.amount.currency)
        totals[key] = totals.get(key, Decimal(0)) + entry.amount.amount
    for draft_id, lines_of in by_draft.items():
        lines.append(f'{lines_of[0].at.date().isoformat()} * "SLA credit" "{draft_id}"')
        lines += [f"  {entry.account}  {entry.amount.amount} {entry.amount.currency}" for entry in lines_of]
    lines += [
        f"9999-12-31 balance {account}  {total} ~ 0 {currency}" for (account, currency), total in sorted(totals.items())
    ]
    return "\n".join(lines) + "\n"


def unbalanced(connection: Connection) -> list[str]:
    """Return transactions that do not sum to zero; empty, or the database's constraint was tampered with."""
    rows = connection.execute(
        text(
            "select draft_id || ' ' || phase from sla_ledger_entry group by draft_id, phase, currency"
            " having sum(amount_minor) <> 0 order by 1"
        )
    )
    return [str(row[0]) for row in rows]

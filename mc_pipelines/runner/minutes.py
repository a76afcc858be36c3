"""Receipts in the audit log: one leaf for each minute in which receipts were recorded.

A receipt is dated just before its transaction commits, so a minute counts as closed only after a grace period, and the
last minutes before the newest leaf are looked at again each time: what came late all the same gets a second leaf
for its minute, over all of them. Nothing is remembered but the leaves themselves, so a runner that died, or did not
run for a week, leaves no gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy import Connection, func, select

from mc_pipelines.attest.minute import append_minute
from mc_pipelines.attest.records import log_leaf
from mc_pipelines.executions.records import execution_receipt
from mc_pipelines.foundation.clock import Clock, parse_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import Digest

ACT = "executions.minute"
GRACE = timedelta(seconds=15)
"""After the end of a minute: longer than a transaction that records a receipt takes."""
LOOK_BACK = timedelta(minutes=5)
_MOST_RECEIPTS = 50_000
"""Receipts read at once; a longer backlog takes several calls."""


def enter_minutes(database: Database, clock: Clock) -> int:
    """Put the leaves of all closed minutes into the log that are not there yet; return how many minutes were looked at.

    Args:
        database: as mc_app.
        clock: tells which minutes are closed.
    """
    now = clock.now()
    closed = _whole_minute(now - GRACE)
    with database.begin() as connection:
        since = _since(connection)
        looked_at = 0
        for minute, digests in _minutes(connection, since, closed):
            append_minute(connection, act=ACT, minute=minute, digests=digests, now=now)
            looked_at += 1
    return looked_at


def _since(connection: Connection) -> datetime | None:
    newest = connection.execute(select(func.max(log_leaf.c.subject)).where(log_leaf.c.act == ACT)).scalar()
    return None if newest is None else parse_utc(newest, field="subject") - LOOK_BACK


def _minutes(
    connection: Connection, since: datetime | None, before: datetime
) -> Iterator[tuple[datetime, list[Digest]]]:
    query = (
        select(execution_receipt.c.recorded_at, execution_receipt.c.receipt_digest)
        .where(execution_receipt.c.recorded_at < before)
        .order_by(execution_receipt.c.recorded_at)
        .limit(_MOST_RECEIPTS)
    )
    if since is not None:
        query = query.where(execution_receipt.c.recorded_at >= since)
    rows = connection.execute(query).all()
    whole = [(minute, [row[1] for row in of]) for minute, of in groupby(rows, key=lambda row: _whole_minute(row[0]))]
    if len(rows) == _MOST_RECEIPTS and len(whole) > 1:
        whole.pop()  # it may go on beyond what was read
    yield from whole


def _whole_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)

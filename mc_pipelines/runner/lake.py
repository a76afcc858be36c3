"""Facts of ended executions, from the outbox into the lake: by the dispatcher, and by Dagster where none runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from mc_pipelines.executions.facts import FactsStore, facts_frame, write_facts
from mc_pipelines.foundation import outbox
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.logs import get_logger
from mc_pipelines.foundation.outbox import OutboxRow
from mc_pipelines.foundation.records import outbox as rows_of_outbox
from mc_pipelines.runner.attempt import fact_row

FINISHED = "execution.finished"
"""Outbox topic of ended executions; the payload is the row of facts."""


def flush_facts(database: Database, store: FactsStore, clock: Clock, *, limit: int = 1_000) -> int:
    """Write all facts that wait, in batches; return how many rows.

    A batch is written and marked in one transaction. Whoever dies between the two leaves a file whose rows come again
    in another one: readers see each row once. A row that breaks a rule of the facts is logged and stays in the
    outbox, and keeps no other row from the lake.

    Args:
        database: as mc_app.
        store: the plain store.
        clock: tells when rows were processed.
        limit: rows of a batch.
    """
    written = 0
    while (done := _flush_batch(database, store, clock, limit)) is not None:
        written += done
    return written


def waiting(connection: Connection) -> tuple[int, int | None, datetime | None]:
    """Return how many facts wait for the lake, the outbox id of the oldest, and since when it waits."""
    wait = (rows_of_outbox.c.topic == FINISHED, rows_of_outbox.c.processed_at.is_(None))
    count = connection.execute(select(func.count()).select_from(rows_of_outbox).where(*wait)).scalar_one()
    oldest = connection.execute(
        select(rows_of_outbox.c.outbox_id, rows_of_outbox.c.created_at)
        .where(*wait)
        .order_by(rows_of_outbox.c.outbox_id)
        .limit(1)
    ).first()
    return (int(count), None, None) if oldest is None else (int(count), oldest.outbox_id, oldest.created_at)


def _flush_batch(database: Database, store: FactsStore, clock: Clock, limit: int) -> int | None:
    """Return how many rows went; None where none is left that can go."""
    with database.begin() as connection:
        rows = outbox.claim(connection, FINISHED, limit=limit)
        good = _write(store, rows)
        outbox.mark_processed(connection, [row.outbox_id for row in good], now=clock.now())
    return len(good) or None


def _write(store: FactsStore, rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
    if not rows:
        return []
    try:
        write_facts(store, facts_frame(fact_row(row.payload) for row in rows))
    except InputError as error:
        if len(rows) == 1:
            get_logger(__name__).error("runner.bad-fact", execution_id=rows[0].key, error=str(error))
            return []
        middle = len(rows) // 2
        return [*_write(store, rows[:middle]), *_write(store, rows[middle:])]
    return rows

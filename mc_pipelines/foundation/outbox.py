"""The transactional outbox: what happened, written in the transaction in which it happened.

A consumer claims rows with ``for update skip locked`` and marks them in the same transaction as its
effect: a consumer that dies gives its rows back, two consumers never hold the same row, and a row is
processed once. Nobody reads ``outbox_id > cursor``: identity values commit out of order, and a cursor
would step over the row of a slow transaction.

Rows stay after they are processed, because the unique (topic, key) is what makes publishing idempotent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.records import outbox


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One claimed row."""

    outbox_id: int
    topic: str
    key: str
    payload: dict[str, Any]
    created_at: datetime


def publish(connection: Connection, topic: str, key: str, payload: dict[str, Any]) -> None:
    """Add a row to ``topic`` in the caller's transaction; the same (topic, key) again changes nothing.

    Args:
        connection: the transaction of the act that the row reports.
        topic: who is meant, such as ``execution.finished``.
        key: derived from the content (a digest, an id), never from the time of writing.
        payload: JSON; ids and digests rather than content, since rows are kept.
    """
    connection.execute(
        insert(outbox)
        .values(topic=topic, key=key, payload=payload)
        .on_conflict_do_nothing(index_elements=["topic", "key"])
    )


def claim(connection: Connection, topic: str, *, limit: int) -> list[OutboxRow]:
    """Lock up to ``limit`` waiting rows of ``topic``, oldest first, until the transaction ends.

    Rows that another transaction holds are passed over. The caller performs the effect and calls
    :func:`mark_processed` in the same transaction.
    """
    rows = connection.execute(
        select(outbox.c.outbox_id, outbox.c.topic, outbox.c.key, outbox.c.payload, outbox.c.created_at)
        .where(outbox.c.topic == topic, outbox.c.processed_at.is_(None))
        .order_by(outbox.c.outbox_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [OutboxRow(*row) for row in rows]


def mark_processed(connection: Connection, ids: Iterable[int], *, now: datetime) -> None:
    """Mark claimed rows as processed; they are never handed out again once the transaction commits."""
    wanted = list(ids)
    if wanted:
        connection.execute(
            update(outbox).where(outbox.c.outbox_id.in_(wanted)).values(processed_at=as_utc(now, field="now"))
        )

"""The queue: claimed in batches with SKIP LOCKED, held by a lease, guarded by a fence.

A claim gives a fence that is higher than any before for that execution. Whoever writes the end of an attempt must
hold the newest fence: a runner whose lease expired and whose work was taken over finds its fence too old and
writes nothing. An execution whose lease expired is claimed again as its next attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Uuid, and_, cast, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.runner.records import run_queue

QUEUED, CLAIMED, DONE = "queued", "claimed", "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """One execution held by a runner until its lease expires."""

    execution_id: UUID
    attempt: int
    fence: int
    enqueued_at: datetime
    claimed_at: datetime
    after_expiry: bool
    """The attempt before was held by a runner whose lease expired."""


class ClaimLostError(ConflictError):
    """Another runner took the execution over: this one writes nothing more about it."""


def enqueue(connection: Connection, executions: Sequence[UUID], *, now: datetime) -> None:
    """Queue executions; one that was ever queued is not queued again."""
    if executions:
        ids = func.unnest(cast(list(executions), ARRAY(Uuid)))
        rows = select(ids, literal(QUEUED), literal(now), literal(now), literal(0), literal(0))
        columns = ("execution_id", "state", "enqueued_at", "not_before", "attempt", "fence")
        connection.execute(insert(run_queue).from_select(columns, rows).on_conflict_do_nothing())


def claim(connection: Connection, *, owner: str, now: datetime, lease: timedelta, limit: int) -> list[Claim]:
    """Take up to ``limit`` executions that wait, or whose lease expired, oldest first."""
    ready = or_(
        and_(run_queue.c.state == QUEUED, run_queue.c.not_before <= now),
        and_(run_queue.c.state == CLAIMED, run_queue.c.lease_until < now),
    )
    taken = (
        select(run_queue.c.execution_id, run_queue.c.state.label("before"))
        .where(ready)
        .order_by(run_queue.c.not_before, run_queue.c.execution_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("taken")
    )
    rows = connection.execute(
        update(run_queue)
        .where(run_queue.c.execution_id == taken.c.execution_id)
        .values(
            state=CLAIMED,
            attempt=run_queue.c.attempt + 1,
            fence=run_queue.c.fence + 1,
            owner=owner,
            claimed_at=now,
            lease_until=now + lease,
        )
        .returning(
            run_queue.c.execution_id,
            run_queue.c.attempt,
            run_queue.c.fence,
            run_queue.c.enqueued_at,
            run_queue.c.claimed_at,
            (taken.c.before == CLAIMED).label("after_expiry"),
        )
    )
    return sorted((Claim(*row) for row in rows), key=lambda one: (one.enqueued_at, one.execution_id))


def extend(connection: Connection, claims: Sequence[Claim], *, now: datetime, lease: timedelta) -> set[UUID]:
    """Prolong leases; return those still held. The others were taken over: end their work, write nothing."""
    if not claims:
        return set()
    held = update(run_queue).where(
        run_queue.c.state == CLAIMED,
        tuple_(run_queue.c.execution_id, run_queue.c.fence).in_([(one.execution_id, one.fence) for one in claims]),
    )
    found = connection.execute(held.values(lease_until=now + lease).returning(run_queue.c.execution_id)).scalars()
    return set(found)


def hold(connection: Connection, one: Claim) -> None:
    """Keep the claim from being taken over until the transaction ends.

    Raises:
        ClaimLostError: it was taken over already.
    """
    if connection.execute(select(run_queue.c.fence).where(_held(one)).with_for_update()).first() is None:
        raise ClaimLostError("Another runner took this execution over", field="fence", value=one.fence)


def finish(connection: Connection, one: Claim) -> bool:
    """Take an execution off the queue for good; False where the claim is no longer the newest: write nothing then."""
    row = connection.execute(
        update(run_queue).where(_held(one)).values(state=DONE, lease_until=None).returning(run_queue.c.execution_id)
    ).first()
    return row is not None


def release(connection: Connection, one: Claim, *, not_before: datetime) -> bool:
    """Give an execution back to the queue, to be claimed no earlier than ``not_before``."""
    row = connection.execute(
        update(run_queue)
        .where(_held(one))
        .values(state=QUEUED, not_before=not_before, lease_until=None, owner=None)
        .returning(run_queue.c.execution_id)
    ).first()
    return row is not None


def live(connection: Connection, *, now: datetime) -> list[tuple[UUID, int]]:
    """Return (execution, attempt) of all claims whose lease holds."""
    rows = connection.execute(
        select(run_queue.c.execution_id, run_queue.c.attempt).where(
            run_queue.c.state == CLAIMED, run_queue.c.lease_until >= now
        )
    )
    return [(row[0], row[1]) for row in rows]


def depth(connection: Connection) -> dict[str, int]:
    """Return how many executions are queued and claimed."""
    rows = connection.execute(
        select(run_queue.c.state, func.count()).where(run_queue.c.state != DONE).group_by(run_queue.c.state)
    )
    found = {QUEUED: 0, CLAIMED: 0}
    found.update({str(state): int(count) for state, count in rows})
    return found


def _held(one: Claim):  # type: ignore[no-untyped-def]  # noqa: ANN202 - SQLAlchemy's own type is not public
    return and_(
        run_queue.c.execution_id == one.execution_id, run_queue.c.fence == one.fence, run_queue.c.state == CLAIMED
    )

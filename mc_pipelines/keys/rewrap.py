"""Rewrap data keys under the primary key encryption key: rows change, no object is read or written."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.keys.dek import wrap_context
from mc_pipelines.keys.provider import KeyProvider
from mc_pipelines.keys.records import data_encryption_key as keys
from mc_pipelines.keys.records import data_encryption_key_slot as slots

PAGE = 500


def rewrap(database: Database, provider: KeyProvider, clock: Clock, *, key: str, old_ref: str, new_ref: str) -> int:
    """Give every data key that ``old_ref`` wraps a wrapping by the primary version; return how many were given one.

    Old wrappings stay until :func:`drop_wrappings`: whoever has not heard of the new version can go on reading.
    A page is one transaction, and what is done is found done after a crash.
    """
    total = 0
    while True:
        with database.begin() as connection:
            page = connection.execute(
                select(keys.c.dek_id, keys.c.tenant, keys.c.kind, slots.c.wrapped)
                .join(slots, slots.c.dek_id == keys.c.dek_id)
                .where(slots.c.kek_ref == old_ref, ~_has_slot(new_ref))
                .order_by(keys.c.dek_id)
                .limit(PAGE)
            ).all()
            if not page:
                return total
            fresh = []
            for row in page:
                context = wrap_context(row.dek_id, row.tenant, row.kind)
                wrapped = provider.wrap(key, provider.unwrap(old_ref, bytes(row.wrapped), context), context)
                fresh.append(
                    {
                        "dek_id": row.dek_id,
                        "kek_ref": wrapped.kek_ref,
                        "provider": wrapped.provider,
                        "wrapped": wrapped.wrapped,
                        "wrapped_at": clock.now(),
                    }
                )
            connection.execute(insert(slots).on_conflict_do_nothing(), fresh)
            total += len(fresh)


def count_only_under(database: Database, *, old_ref: str, new_ref: str) -> int:
    """Return how many data keys ``old_ref`` wraps and ``new_ref`` does not."""
    with database.begin() as connection:
        return connection.execute(
            select(func.count())
            .select_from(keys)
            .join(slots, slots.c.dek_id == keys.c.dek_id)
            .where(slots.c.kek_ref == old_ref, ~_has_slot(new_ref))
        ).scalar_one()


def drop_wrappings(database: Database, *, old_ref: str, new_ref: str) -> int:
    """Delete the wrappings by ``old_ref`` of data keys that ``new_ref`` wraps; return how many."""
    other = slots.alias()
    replaced = exists().where(other.c.dek_id == slots.c.dek_id, other.c.kek_ref == new_ref)
    with database.begin() as connection:
        return connection.execute(delete(slots).where(slots.c.kek_ref == old_ref, replaced)).rowcount


def _has_slot(ref: str) -> ColumnElement[bool]:
    other = slots.alias()
    return exists().where(other.c.dek_id == keys.c.dek_id, other.c.kek_ref == ref)

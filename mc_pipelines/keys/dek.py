"""Data keys: one per tenant, kind and epoch, wrapped to key encryption keys in a table.

Objects name their data key and carry no wrapping, so a rotation of the key encryption key rewraps some thousand rows
and no object. A data key seals at most 2**24 objects, 1 TiB and 24 hours; writers reserve their share of that in
blocks, so a million objects cost some hundred statements and not a million.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError, MaestroError, NotFoundError, UnavailableError
from mc_pipelines.foundation.ids import uuid7
from mc_pipelines.keys.envelope import DEK_BYTES
from mc_pipelines.keys.header import Kind
from mc_pipelines.keys.provider import KEK_KEY, KeyProvider, KeyUse, WrapContext
from mc_pipelines.keys.records import data_encryption_key as keys
from mc_pipelines.keys.records import data_encryption_key_slot as slots

MAX_OBJECTS = 2**24
MAX_BYTES = 2**40
MAX_AGE = timedelta(hours=24)
RESERVED_OBJECTS = 4096
RESERVED_BYTES = 2**30
CACHE_SIZE = 4096
CACHE_AGE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in the clear; it lives in this process only."""

    dek_id: UUID
    tenant: str
    kind: Kind
    expires_at: datetime
    secret: bytes

    def __repr__(self) -> str:
        """Show the id, never the key."""
        return f"DataKey({self.dek_id})"


@dataclass
class _Reservation:
    key: DataKey
    objects: int
    bytes: int


def wrap_context(dek_id: UUID, tenant: str, kind: str) -> WrapContext:
    """Return what a wrapped data key is bound to."""
    return {"dek_id": str(dek_id), "kind": kind, "purpose": "mce1", "tenant": tenant}


class DataKeys:
    """The data keys of a database, opened by a key provider and cached within limits.

    The cache is dropped whenever the provider's generation changes (a version disabled, promoted, made), when an
    entry is five minutes old, beyond 4,096 entries, and in a forked child.
    """

    def __init__(
        self,
        database: Database,
        provider: KeyProvider,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._database = database
        self._provider = provider
        self._clock = clock
        self._random = random
        self._lock = RLock()
        self._owner: tuple[int, str] = (0, "")
        self._cached: OrderedDict[UUID, tuple[DataKey, datetime]] = OrderedDict()
        self._reserved: dict[tuple[str, Kind], _Reservation] = {}

    @property
    def cached(self) -> int:
        """How many data keys are in memory."""
        return len(self._cached)

    def for_sealing(self, tenant: str, kind: Kind, size: int) -> DataKey:
        """Return the data key to seal one object of ``size`` bytes with.

        Raises:
            InputError: the object is larger than a data key may seal.
            UnavailableError: the database does not answer.
        """
        if size > MAX_BYTES:
            raise InputError("An object of this size is not sealed under one data key", field="size", value=size)
        with self._lock:
            self._refresh()
            now = self._clock.now()
            held = self._reserved.get((tenant, kind))
            if held is None or held.objects < 1 or held.bytes < size or held.key.expires_at <= now:
                held = self._reserve(tenant, kind, size, now)
                self._reserved[tenant, kind] = held
            held.objects -= 1
            held.bytes -= size
            return held.key

    def for_opening(self, dek_id: UUID) -> DataKey:
        """Return a data key by its id, whatever its age.

        Raises:
            NotFoundError: there is no such data key, or it was destroyed.
            KeyDisabledError: every version that could unwrap it is disabled.
        """
        with self._lock:
            self._refresh()
            found = self._cached.get(dek_id)
            if found is not None and self._clock.now() - found[1] < CACHE_AGE:
                self._cached.move_to_end(dek_id)
                return found[0]
            with self._database.begin() as connection:
                key = self._unwrap(connection, dek_id)
            self._keep(key)
            return key

    def drop(self) -> None:
        """Forget every data key in memory; what is left of their bytes is the interpreter's to overwrite."""
        with self._lock:
            self._cached.clear()
            self._reserved.clear()

    def _refresh(self) -> None:
        owner = os.getpid(), self._provider.generation
        if owner != self._owner:
            self.drop()
            self._owner = owner

    def _keep(self, key: DataKey) -> None:
        self._cached[key.dek_id] = key, self._clock.now()
        self._cached.move_to_end(key.dek_id)
        while len(self._cached) > CACHE_SIZE:
            self._cached.popitem(last=False)

    def _reserve(self, tenant: str, kind: Kind, size: int, now: datetime) -> _Reservation:
        objects, volume = RESERVED_OBJECTS, max(RESERVED_BYTES, size)
        for _ in range(100):
            with self._database.begin() as connection:
                has_room = _has_room(tenant, kind, objects, volume, now)
                taken = connection.execute(
                    update(keys)
                    .where(has_room)
                    .values(
                        reserved_objects=keys.c.reserved_objects + objects,
                        reserved_bytes=keys.c.reserved_bytes + volume,
                    )
                    .returning(keys.c.dek_id)
                ).scalar()
                if taken is None:
                    # One writer makes the next key; the others wait for it, and then find that it has room.
                    name = {"name": f"mc_data_key:{tenant}:{kind.label}"}
                    connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), name)
                    if connection.execute(select(keys.c.dek_id).where(has_room)).first() is None:
                        self._make(connection, tenant, kind, now)
                    continue
                key = self._unwrap(connection, taken)
            self._keep(key)
            return _Reservation(key, objects, volume)
        raise UnavailableError("Other writers used up every data key first", field="tenant", value=tenant)

    def _make(self, connection: Connection, tenant: str, kind: Kind, now: datetime) -> None:
        """Insert the next epoch's data key, unless another process has just done so."""
        dek_id = uuid7(now, self._random)
        epoch = connection.execute(select(func.coalesce(_newest(tenant, kind), 0))).scalar_one()
        self._provider.create(KEK_KEY, KeyUse.WRAP)
        wrapped = self._provider.wrap(KEK_KEY, self._random(DEK_BYTES), wrap_context(dek_id, tenant, kind.label))
        made = connection.execute(
            insert(keys)
            .values(
                dek_id=dek_id,
                tenant=tenant,
                kind=kind.label,
                epoch=epoch + 1,
                created_at=now,
                expires_at=now + MAX_AGE,
            )
            .on_conflict_do_nothing()
            .returning(keys.c.dek_id)
        ).scalar()
        if made is not None:
            connection.execute(
                insert(slots).values(
                    dek_id=dek_id,
                    kek_ref=wrapped.kek_ref,
                    provider=wrapped.provider,
                    wrapped=wrapped.wrapped,
                    wrapped_at=now,
                )
            )

    def _unwrap(self, connection: Connection, dek_id: UUID) -> DataKey:
        row = connection.execute(select(keys).where(keys.c.dek_id == dek_id)).one_or_none()
        wrappings = connection.execute(
            select(slots.c.kek_ref, slots.c.wrapped)
            .where(slots.c.dek_id == dek_id)
            .order_by(slots.c.wrapped_at.desc(), slots.c.kek_ref.desc())
        ).all()
        if row is None or not wrappings:
            raise NotFoundError("No such data key, or it was destroyed", field="dek_id", value=str(dek_id))
        context = wrap_context(dek_id, row.tenant, row.kind)
        failure: MaestroError | None = None
        for one in wrappings:
            try:
                secret = self._provider.unwrap(one.kek_ref, bytes(one.wrapped), context)
            except MaestroError as error:  # any of the wrappings will do
                failure = failure or error
                continue
            return DataKey(dek_id, row.tenant, Kind.of(row.kind), row.expires_at, secret)
        raise failure or NotFoundError("No wrapping of the data key opens", field="dek_id", value=str(dek_id))


def _has_room(tenant: str, kind: Kind, objects: int, volume: int, now: datetime) -> ColumnElement[bool]:
    return and_(
        keys.c.tenant == tenant,
        keys.c.kind == kind.label,
        keys.c.epoch == _newest(tenant, kind),
        keys.c.expires_at > now,
        keys.c.reserved_objects <= MAX_OBJECTS - objects,
        keys.c.reserved_bytes <= MAX_BYTES - volume,
    )


def _newest(tenant: str, kind: Kind) -> ScalarSelect[int]:
    return select(func.max(keys.c.epoch)).where(keys.c.tenant == tenant, keys.c.kind == kind.label).scalar_subquery()

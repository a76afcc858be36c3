"""What a service holds open: the newest snapshot of each tenant it was asked about.

A snapshot is pinned by being held: a request keeps the one it began with, a swap of the generation changes what
the next request gets. Whether there is something newer is asked at most twice a second per tenant, or when a
request wants to read its own write.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter, View, view_of
from mc_pipelines.provenance.log_reader import microseconds
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.partition import Partition, advance, open_partition
from mc_pipelines.provenance.snapshot import Snapshot, take_snapshot

REFRESH_SECONDS = 0.5
_OPEN_TENANTS = 256
_VIEWS = 64


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    partition: Partition | None = None
    shared: Partition | None = None
    snapshot: Snapshot | None = None
    asked: float = float("-inf")
    views: OrderedDict[tuple[object, ...], View] = field(default_factory=OrderedDict)


class GraphStore:
    """Snapshots of tenants' graphs, kept fresh; safe for threads.

    Args:
        database: the log, as the application role.
        folder: the folder of generations.
        clock: tells at which moment claims must hold.
        refresh_seconds: how long a snapshot is served without asking for news.
    """

    def __init__(
        self, database: Database, folder: Path, clock: Clock, *, refresh_seconds: float = REFRESH_SECONDS
    ) -> None:
        self.database = database
        self.folder = folder
        self.clock = clock
        self._refresh_seconds = refresh_seconds
        self._entries: OrderedDict[TenantId, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def snapshot(self, tenant: TenantId, *, min_seq: int = 0) -> Snapshot:
        """Return the tenant's newest snapshot.

        Args:
            tenant: whose graph.
            min_seq: an event that must be inside: what an ingest of this tenant returned.

        Raises:
            InputError: there is no such event yet.
        """
        entry = self._entry(tenant)
        snapshot = entry.snapshot
        fresh = time.monotonic() - entry.asked < self._refresh_seconds
        if snapshot is not None and fresh and snapshot.own.seq >= min_seq:
            return snapshot
        with entry.lock:
            snapshot = entry.snapshot
            fresh = time.monotonic() - entry.asked < self._refresh_seconds
            if snapshot is None or not fresh or snapshot.own.seq < min_seq:
                snapshot = self._refresh(tenant, entry)
        if snapshot.own.seq < min_seq:
            raise InputError("There is no such event", field="minSeq", value=min_seq)
        return snapshot

    def view(
        self,
        tenant: TenantId,
        snapshot: Snapshot,
        allowed: Filter,
        *,
        valid_at: int | None = None,
        position: tuple[int, int] | None = None,
    ) -> View:
        """Return what ``allowed`` shows of a snapshot now, or at ``valid_at``; see :func:`view_of`."""
        entry = self._entry(tenant)
        now = microseconds(self.clock.now())
        key = (snapshot.own.generation, snapshot.position, allowed.digest, valid_at, position)
        found = entry.views.get(key)
        moment = now if valid_at is None else valid_at
        if found is not None and found.since <= moment < found.until:
            return found
        made = view_of(snapshot, allowed, valid_at=moment, position=position)
        with entry.lock:
            entry.views[key] = made
            while len(entry.views) > _VIEWS:
                entry.views.popitem(last=False)
        return made

    def forget(self, tenant: TenantId) -> None:
        """Close what is open of a tenant, such as after its deletion."""
        with self._lock:
            self._entries.pop(tenant, None)

    def _entry(self, tenant: TenantId) -> _Entry:
        with self._lock:
            entry = self._entries.get(tenant)
            if entry is None:
                entry = self._entries[tenant] = _Entry()
            self._entries.move_to_end(tenant)
            while len(self._entries) > _OPEN_TENANTS:
                self._entries.popitem(last=False)
            return entry

    def _refresh(self, tenant: TenantId, entry: _Entry) -> Snapshot:
        shared = None if tenant == PUBLIC else self._shared()
        own = self._newest(tenant, entry.partition)
        if entry.snapshot is None or own is not entry.partition or shared is not entry.shared:
            entry.snapshot = take_snapshot(own, shared)
            entry.partition, entry.shared = own, shared
        entry.asked = time.monotonic()
        return entry.snapshot

    def _shared(self) -> Partition | None:
        entry = self._entry(PUBLIC)
        with entry.lock:
            if entry.partition is None or time.monotonic() - entry.asked >= self._refresh_seconds:
                entry.partition = self._newest(PUBLIC, entry.partition)
                entry.asked = time.monotonic()
                entry.snapshot = None if entry.snapshot is None else take_snapshot(entry.partition, None)
            return entry.partition

    def _newest(self, tenant: TenantId, held: Partition | None) -> Partition:
        with self.database.begin(tenant=tenant) as connection:
            row = connection.execute(
                text(
                    "select (select seq from provenance_heads where tenant = :tenant) as seq,"
                    " (select generation from provenance_pointers where tenant = :tenant) as generation"
                ),
                {"tenant": tenant},
            ).one()
            if held is None or held.generation != (row.generation or ""):
                return open_partition(connection, self.folder, tenant)
            return held if held.seq >= (row.seq or 0) else advance(connection, held)

"""What a service holds open: the newest snapshot of each tenant it was asked about.

A snapshot is pinned by being held: a request keeps the one it began with, a swap of the generation changes what
the next request gets. A service :meth:`watches <GraphStore.watch>`: a thread hears of commits by LISTEN, looks every
half second besides, and lays out the next snapshot while requests go on with the one there is. Without a watcher, or
when it has heard nothing of the database for :data:`STALE_SECONDS`, a request looks for itself, as does one that
wants to read its own write.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError, MaestroError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter, View, view_of
from mc_pipelines.provenance.edge_log import CHANNEL
from mc_pipelines.provenance.log_reader import microseconds
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.partition import Partition, advance, open_partition
from mc_pipelines.provenance.snapshot import Snapshot, take_snapshot

log = structlog.get_logger(__name__)
REFRESH_SECONDS = 0.5
STALE_SECONDS = 5.0
"""How long requests trust a watcher that says nothing."""
_OPEN_TENANTS = 256
_VIEWS = 64
_FILTERS = 8
"""Filters whose views a watcher makes ahead of the next request."""


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    partition: Partition | None = None
    shared: Partition | None = None
    snapshot: Snapshot | None = None
    asked: float = float("-inf")
    views: OrderedDict[tuple[object, ...], View] = field(default_factory=OrderedDict)
    filters: OrderedDict[str, Filter] = field(default_factory=OrderedDict)


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
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered by a request that has to wait for a snapshot; a service lets others go on meanwhile."""
        self._refresh_seconds = refresh_seconds
        self._entries: OrderedDict[TenantId, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._stop = threading.Event()

    def watch(self) -> None:
        """Begin to keep what is open fresh beside the requests; :meth:`close` ends it."""
        if self._watcher is None:
            self._stop.clear()
            self._watcher = threading.Thread(target=self._watch, name="graph-watcher", daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """End the watcher, if there is one, and let go of what is open."""
        if self._watcher is not None:
            self._stop.set()
            self._watcher.join()
            self._watcher = None
        with self._lock:
            self._entries.clear()

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
        if snapshot is not None and self._fresh(entry) and snapshot.own.seq >= min_seq:
            return snapshot
        with self.waiting(), entry.lock:
            snapshot = entry.snapshot
            if snapshot is None or not self._fresh(entry) or snapshot.own.seq < min_seq:
                snapshot = self._refresh(tenant, entry)
        if snapshot.own.seq < min_seq:
            raise InputError("There is no such event", field="minSeq", value=min_seq)
        return snapshot

    def _fresh(self, entry: _Entry) -> bool:
        allowed = self._refresh_seconds if self._watcher is None else STALE_SECONDS
        return time.monotonic() - entry.asked < allowed

    def view(
        self,
        tenant: TenantId,
        snapshot: Snapshot,
        allowed: Filter,
        *,
        valid_at: int | None = None,
        position: tuple[int, int] | None = None,
    ) -> View:
        """Return what ``allowed`` shows of a snapshot now, or at ``valid_at``; see :func:`view_of`.

        The pages of an answer are read at the events and the moment of the first one. While neither anything was
        learnt since, nor anything began or ended, that is the very view of the first page, with what it derived.
        """
        entry = self._entry(tenant)
        moment = microseconds(self.clock.now()) if valid_at is None else valid_at
        if position == snapshot.position:
            position = None
        graph = _graph(snapshot, allowed)
        for key in ((*graph, None, position), (*graph, valid_at, position)):
            found = entry.views.get(key)
            if found is not None and found.since <= moment < found.until:
                return found
        made = view_of(snapshot, allowed, valid_at=moment, position=position)
        self._keep(entry, (*graph, valid_at, position), made, allowed)
        return made

    def _keep(self, entry: _Entry, key: tuple[object, ...], made: View, allowed: Filter) -> None:
        with self._lock:
            entry.views[key] = made
            entry.filters[allowed.digest] = allowed
            entry.filters.move_to_end(allowed.digest)
            while len(entry.views) > _VIEWS:
                entry.views.popitem(last=False)
            while len(entry.filters) > _FILTERS:
                entry.filters.popitem(last=False)

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
        """Lay out the newest snapshot; the caller holds the entry's lock."""
        begun = time.monotonic()
        shared = None if tenant == PUBLIC else self._shared()
        own = self._newest(tenant, entry.partition)
        if entry.snapshot is None or own is not entry.partition or shared is not entry.shared:
            made = take_snapshot(own, shared, entry.snapshot)
            self._look_ahead(entry, made)
            entry.partition, entry.shared, entry.snapshot = own, shared, made
        entry.asked = begun
        return entry.snapshot

    def _look_ahead(self, entry: _Entry, snapshot: Snapshot) -> None:
        """Make the views that recent requests used, so that no request waits for a pass over all documents."""
        moment = microseconds(self.clock.now())
        with self._lock:
            filters = list(entry.filters.values())
        for allowed in filters:
            key = (*_graph(snapshot, allowed), None, None)
            self._keep(entry, key, view_of(snapshot, allowed, valid_at=moment), allowed)

    def _shared(self) -> Partition:
        entry = self._entry(PUBLIC)
        with entry.lock:
            if entry.partition is None or not self._fresh(entry):
                self._refresh(PUBLIC, entry)
            assert entry.partition is not None  # noqa: S101 - a refresh sets it
            return entry.partition

    def _newest(self, tenant: TenantId, held: Partition | None) -> Partition:
        with self.database.begin(tenant=tenant) as connection:
            seq, generation = _state(connection, [tenant]).get(tenant, (0, ""))
            if held is None or held.generation != generation:
                return open_partition(connection, self.folder, tenant)
            return held if held.seq >= seq else advance(connection, held)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                with self.database.begin() as connection:
                    driver: Any = connection.connection.driver_connection
                    self._listen(driver)
            except (MaestroError, SQLAlchemyError, OSError) as error:
                log.warning("graph_watcher", error=str(error))
                self._stop.wait(REFRESH_SECONDS)

    def _listen(self, driver: Any) -> None:
        """Look for news whenever there is any, and every half second; returns when the store closes."""
        driver.commit()
        driver.autocommit = True
        try:
            driver.execute(f"listen {CHANNEL}")
            while not self._stop.is_set():
                self._catch_up()
                for _ in driver.notifies(timeout=REFRESH_SECONDS, stop_after=1):
                    pass
            driver.execute(f"unlisten {CHANNEL}")
        finally:
            driver.autocommit = False

    def _catch_up(self) -> None:
        """Refresh every open tenant of which there is news; the shared partition first."""
        begun = time.monotonic()
        with self._lock:
            open_now = sorted(self._entries.items(), key=lambda each: each[0] != PUBLIC)
        with self.database.begin() as connection:
            states = _state(connection, [tenant for tenant, _ in open_now])
        for tenant, entry in open_now:
            partition = entry.partition
            if partition is None:
                continue
            current = states.get(tenant, (0, ""))
            shared = self._entry(PUBLIC).partition
            if (partition.seq, partition.generation) == current and (tenant == PUBLIC or entry.shared is shared):
                entry.asked = begun
                continue
            with entry.lock:
                self._refresh(tenant, entry)


def _graph(snapshot: Snapshot, allowed: Filter) -> tuple[object, ...]:
    """Name what a view is of: events, filter, and both numberings, by which it keeps degrees, counts and pages."""
    shared = None if snapshot.shared is None else snapshot.shared.generation
    return snapshot.own.generation, shared, snapshot.position, allowed.digest


def _state(connection: Any, tenants: list[TenantId]) -> dict[str, tuple[int, str]]:
    """Return the last event and the current generation of each tenant."""
    rows = connection.execute(
        text(
            "select h.tenant, h.seq, coalesce(p.generation, '') as generation from provenance_heads h"
            " left join provenance_pointers p on p.tenant = h.tenant where h.tenant = any(:tenants)"
        ),
        {"tenants": tenants},
    )
    return {row.tenant: (row.seq, row.generation) for row in rows}

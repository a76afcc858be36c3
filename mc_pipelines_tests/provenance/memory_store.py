"""A graph store without a database, over graphs of :mod:`small_graphs`: for laws that are tried hundreds of times.

Its tables are empty: no aliases, no mentions, no tombstones and nothing live, which questions then ask in vain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.provenance.access import Filter, View, view_of
from mc_pipelines.provenance.snapshot import Snapshot


class _Nothing:
    def all(self) -> list[Any]:
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter([])


class _Connection:
    def __init__(self, live: list[Any]) -> None:
        self._live = live

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        if "provenance_roots" in str(statement):
            return iter(self._live)
        if "from provenance_documents" in str(statement):
            return iter(
                [
                    SimpleNamespace(tenant=tenant, seq=seq, digest=f"sha256:{tenant}{seq}", format="x", verification={})
                    for tenant, events in (("acme", parameters["own"]), ("public", parameters["shared"]))
                    for seq in events
                ]
            )
        return _Nothing()


class MemoryStore:
    """Serves one snapshot."""

    def __init__(self, snapshot: Snapshot, live: list[str] | None = None) -> None:
        self.clock = FrozenClock(datetime(2026, 1, 19, tzinfo=UTC))
        self.database = self
        self._snapshot = snapshot
        self._live = [SimpleNamespace(id=each) for each in live or []]

    @contextmanager
    def begin(self, *, tenant: Any = None) -> Iterator[_Connection]:  # noqa: ARG002
        yield _Connection(self._live)

    def snapshot(self, tenant: Any, *, min_seq: int = 0) -> Snapshot:  # noqa: ARG002
        return self._snapshot

    def view(
        self,
        tenant: Any,  # noqa: ARG002
        snapshot: Snapshot,
        allowed: Filter,
        *,
        valid_at: int | None,
        position: Any,
    ) -> View:
        moment = 1_700_000_000_000_000 if valid_at is None else valid_at
        return view_of(snapshot, allowed, valid_at=moment, position=position)

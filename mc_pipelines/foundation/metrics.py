"""Metrics for Prometheus.

What the business asks (how many, how much, how late) is read from PostgreSQL when Prometheus asks, and kept for
some seconds: Dagster runs die and API processes are many, so no process could count it. Latencies are histograms in
the process that measures them; a capability makes them as module constants on :data:`registry`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.logs import get_logger

CACHE_SECONDS = 10.0
registry = CollectorRegistry(auto_describe=False)
"""Histograms of this process."""
Source = Callable[[Connection], Iterable[Metric]]
_SOURCES: dict[str, Source] = {}


def business_metrics(name: str) -> Callable[[Source], Source]:
    """Register a function that reads metrics from the database at scrape time.

    Args:
        name: of the capability; a second function of the same name is a mistake of the program.
    """

    def register(source: Source) -> Source:
        if name in _SOURCES and _SOURCES[name] is not source:
            raise ValueError(f"business metrics {name!r} are registered twice")
        _SOURCES[name] = source
        return source

    return register


@dataclass(frozen=True, slots=True)
class _Scrape:
    at: float
    content: bytes


class BusinessCollector:
    """Reads every registered source, each in a transaction of its own: one that fails hides no other."""

    def __init__(self, database: Database, sources: Iterable[tuple[str, Source]]) -> None:
        self._database = database
        self._sources = list(sources)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, and for each source whether it could be read."""
        works = GaugeMetricFamily("mc_metrics_source_up", "1: this source was read; 0: it failed", labels=["source"])
        for name, source in self._sources:
            try:
                with self._database.begin() as connection:
                    found = list(source(connection))
            except Exception:  # noqa: BLE001 - one source that fails must not hide the others; it is logged and counted
                get_logger(__name__).exception("metrics source failed", source=name)
                works.add_metric([name], 0)
            else:
                works.add_metric([name], 1)
                yield from found
        yield works


_cache: dict[str, _Scrape] = {}
_lock = Lock()


def render(database: Database | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> bytes:
    """Return all metrics as Prometheus text; business metrics are at most :data:`CACHE_SECONDS` old.

    Args:
        database: where the business metrics are read; None: latencies of this process only.
        monotonic: seconds of a clock that never goes back.
    """
    latencies: bytes = generate_latest(registry)
    if database is None:
        return latencies
    with _lock:  # one scrape at a time reads the database; others wait for its answer
        cached = _cache.get(database.url)
        if cached is None or monotonic() - cached.at >= CACHE_SECONDS:
            business = CollectorRegistry(auto_describe=False)
            business.register(BusinessCollector(database, sorted(_SOURCES.items())))
            cached = _cache[database.url] = _Scrape(monotonic(), generate_latest(business))
    return cached.content + latencies

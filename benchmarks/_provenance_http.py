"""The HTTP half of benchmarks/provenance_graph.py: the real application in its own process, closed-loop clients."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.tenants import Person, Tenant, put_person, put_tenant


def register_reader(database: Database, home: Path, tenants: Sequence[TenantId], subject: str = "rita") -> str:
    """Put tenants and a reader on record; return a token for the first tenant."""
    clock = SystemClock()
    with database.begin() as connection:
        for tenant in tenants:
            put_tenant(connection, Tenant(tenant, "UTC", "USD", residency=("local",)), now=clock.now())
        person = Person(PersonId(uuid4()), LOCAL_ISSUER, subject, subject.title(), frozenset({"tenant-reader"}))
        put_person(connection, person, now=clock.now())
    return LocalIssuer(home).issue(
        subject, tenants=[tenants[0]], audience="maestro-conductor", now=clock.now(), lifetime=timedelta(hours=8)
    )


@contextmanager
def serving(home: Path) -> Iterator[int]:
    """Run `python -m mc_pipelines.api` on a free port and yield the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "MC_HOME": str(home), "MC_API_PORT": str(port), "MC_LOG_LEVEL": "warning"}
    server = subprocess.Popen([sys.executable, "-m", "mc_pipelines.api"], env=environment)
    try:
        _await(port, server)
        yield port
    finally:
        server.terminate()
        server.wait(20)


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the API does not come up")


@dataclass
class Load:
    """What closed-loop clients saw.

    Attributes:
        milliseconds: of each request that was answered 200.
        failures: what else came, at most a few of them.
        failed: how many.
    """

    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    failed: int = 0


def load(
    port: int,
    token: str,
    queries: Sequence[dict[str, str]],
    *,
    clients: int,
    seconds: float,
    check: Callable[[bytes], bool],
) -> Load:
    """Ask the queries in turn from ``clients`` threads, each waiting for its answer, for some seconds."""
    seen = Load()
    lock = threading.Lock()
    until = time.monotonic() + seconds
    turn = iter(range(1 << 60))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"}
        while time.monotonic() < until:
            query = queries[next(turn) % len(queries)]
            begun = time.perf_counter()
            problem = ""
            try:
                connection.request("GET", "/api/provenance/graph?" + urlencode(query), headers=headers)
                answer = connection.getresponse()
                body = answer.read()
                spent = (time.perf_counter() - begun) * 1000
                if answer.status != http.client.OK or not check(body):
                    problem = f"{answer.status} {body[:200]!r}"
            except OSError as error:
                problem = repr(error)
                connection.close()
            with lock:
                if problem:
                    seen.failed += 1
                    seen.failures = [*seen.failures, problem][:5]
                else:
                    seen.milliseconds.append(spent)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen

"""The HTTP half of benchmarks/provenance_graph.py: the real application in its own process, closed-loop clients."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

from mc_pipelines.api.access import Access, Caller
from mc_pipelines.api.auth import open_verifier
from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
from mc_pipelines.decision.engine import open_engine
from mc_pipelines.decision.packs import loaded
from mc_pipelines.foundation.callers import read_caller
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.foundation.tenants import Person, Tenant, find_person, put_person, put_tenant
from mc_pipelines.provenance.access import Reader, decide
from mc_pipelines.provenance.model import MAXIMUM_CLASSIFICATION

_ROUNDS = 500


def register_reader(database: Database, home: Path, tenants: Sequence[TenantId], subject: str = "rita") -> str:
    """Put tenants and a reader on record; return a token for the first tenant."""
    clock = SystemClock()
    with database.begin() as connection:
        for tenant in tenants:
            put_tenant(connection, Tenant(tenant, "UTC", "USD", residency=("local",)), now=clock.now())
        if find_person(connection, LOCAL_ISSUER, subject) is None:  # a home that was kept knows her
            person = Person(PersonId(uuid4()), LOCAL_ISSUER, subject, subject.title(), frozenset({"tenant-reader"}))
            put_person(connection, person, now=clock.now())
    return LocalIssuer(home).issue(
        subject, tenants=[tenants[0]], audience="maestro-conductor", now=clock.now(), lifetime=timedelta(hours=8)
    )


@dataclass(frozen=True)
class Server:
    """The application in its own process."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds that it has used, user and system (proc(5), fields 14 and 15)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request_parts(database: Database, home: Path, token: str) -> dict[str, float]:
    """Return the mean CPU milliseconds of what every question pays beside its answer, each part by itself.

    ``policy`` is all three questions to the packs as an engine answers them, ``policy_remembered`` when they were asked
    before.
    """
    settings = Settings(home=home)
    verifier = open_verifier(settings)
    identity = verifier.verify(token)

    def policy(remember: int) -> Callable[[], object]:
        access, graph = loaded("access"), loaded("graph")
        asked = open_engine(settings, access, remember=remember), open_engine(settings, graph, remember=remember)
        person = read_caller(database, identity.issuer, identity.subject).person
        operation, tenant = "GET /api/provenance/graph", TenantId(min(identity.tenants))

        def ask() -> None:
            entered = Access(asked[0], operation, Caller(identity, person))
            entered.enter()
            entered.require(tenant)
            decide(asked[1], graph.revision, Reader(tenant, entered.caller.roles, MAXIMUM_CLASSIFICATION))

        return ask

    parts: dict[str, Callable[[], object]] = {
        "token": lambda: verifier.verify(token),
        "person_and_flags": lambda: read_caller(database, identity.issuer, identity.subject),
        "policy": policy(0),
        "policy_remembered": policy(100),
    }
    found = {}
    for name, part in parts.items():
        part()
        begun = time.thread_time()
        for _ in range(_ROUNDS):
            part()
        found[name] = (time.thread_time() - begun) * 1000 / _ROUNDS
    return found


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    """Run `python -m mc_pipelines.api` on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "MC_HOME": str(home), "MC_API_PORT": str(port), "MC_LOG_LEVEL": "warning"}
    server = subprocess.Popen([sys.executable, "-m", "mc_pipelines.api"], env=environment)
    try:
        _await(port, server)
        yield Server(port, server.pid)
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


class Client:
    """One connection that is kept, with an answer read into memory that is kept too.

    Written out because the clients share the processors with the server: http.client makes a message object of the
    headers and a new string of each body, which costs more than the server's own part of a small answer.
    """

    def __init__(self, port: int, token: str, seconds: float = 60.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        # Blocking, so that the system call itself waits for the whole body; the time-out is the system's.
        wait = struct.pack("ll", int(seconds), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self._room = bytearray(4 << 20)

    def get(self, path: bytes) -> tuple[int, memoryview]:
        """Return status and body of an answer; the body holds until the next one.

        Raises:
            OSError: the connection broke, or the answer is none that this reads.
        """
        self._socket.sendall(b"GET " + path + self._headers)
        room, have = memoryview(self._room), 0
        while (end := self._room.find(b"\r\n\r\n", 0, have)) < 0:
            have += self._received(room[have:], 0)
        head = bytes(room[:end]).lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not found:
            raise OSError("an answer without Content-Length")
        begin, until = end + 4, end + 4 + int(rest.partition(b"\r\n")[0])
        if until > len(self._room):
            raise OSError(f"an answer of {until} bytes")
        while have < until:
            have += self._received(room[have:until], socket.MSG_WAITALL)
        return int(head[9:12]), room[begin:until]

    def _received(self, room: memoryview, flags: int) -> int:
        count = self._socket.recv_into(room, 0, flags)
        if not count:
            raise OSError("the server closed the connection")
        return count

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@dataclass
class Load:
    """What closed-loop clients saw.

    Attributes:
        milliseconds: of each request that was answered 200.
        asked: how often each query was asked, by place.
        failures: what else came, at most a few of them.
        failed: how many.
        server_cpu_s: CPU seconds that the server used meanwhile.
    """

    milliseconds: list[float] = field(default_factory=list)
    asked: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    server_cpu_s: float = 0.0


def load(
    server: Server,
    token: str,
    queries: Sequence[dict[str, str]],
    *,
    clients: int,
    seconds: float,
    check: Callable[[memoryview], bool],
) -> Load:
    """Ask the queries in turn from ``clients`` threads, each waiting for its whole answer, for some seconds."""
    seen = Load()
    lock = threading.Lock()
    paths = [b"/api/provenance/graph?" + urlencode(query).encode() for query in queries]
    until = time.monotonic() + seconds
    turn = iter(range(1 << 60))

    def client() -> None:
        connection = Client(server.port, token)
        while time.monotonic() < until:
            place = next(turn) % len(paths)
            begun = time.perf_counter()
            problem = ""
            try:
                status, body = connection.get(paths[place])
                spent = (time.perf_counter() - begun) * 1000
                if status != HTTPStatus.OK or not check(body):
                    problem = f"{status} {bytes(body[:200])!r}"
            except OSError as error:
                problem = repr(error)
                connection.close()
                connection = Client(server.port, token)
            with lock:
                if problem:
                    seen.failed += 1
                    seen.failures = [*seen.failures, problem][:5]
                else:
                    seen.milliseconds.append(spent)
                    seen.asked[place] += 1
        connection.close()

    cpu = server.cpu_s()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.server_cpu_s = server.cpu_s() - cpu
    return seen

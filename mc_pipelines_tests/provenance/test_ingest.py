"""The pipeline of documents: per document a verdict, nothing half-ingested, the same root whatever happens."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ForbiddenError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance import ingest
from mc_pipelines.provenance.edge_log import IngestResult
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.root_hash import root_hash
from mc_pipelines.provenance.trust_roots import TrustRoots
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, bom, dump, envelope, slsa_1, statement
from mc_pipelines_tests.provenance.readers.test_openlineage import event

pytestmark = pytest.mark.database
ACME = TenantId("acme")


def documents(*contents: bytes) -> list[Document]:
    return [Document(f"{place}.json", content) for place, content in enumerate(contents)]


def put(
    database: TestDatabase, clock: FrozenClock, given: Iterable[Document], tenant: TenantId = ACME, **over: Any
) -> list[IngestResult]:
    return list(ingest_documents(database.app, tenant, given, TrustRoots(), clock=clock, **over))


def root(database: TestDatabase, tenant: TenantId = ACME) -> Digest:
    with database.app.begin(tenant=tenant) as connection:
        return root_hash(connection, tenant)


def count(database: TestDatabase, table: str, tenant: TenantId = ACME) -> int:
    with database.app.begin(tenant=tenant) as connection:
        return int(
            connection.execute(
                text(f"select count(*) from provenance_{table} where tenant = :tenant"),
                {"tenant": tenant},
            ).scalar_one()
        )


def produced(database: TestDatabase) -> set[str]:
    with database.app.begin(tenant=ACME) as connection:
        rows = connection.execute(
            text(
                "select node.id from provenance_claims as claim join provenance_nodes as node"
                " on node.node = claim.target and node.tenant = claim.tenant where claim.type = 1"
            )
        )
        return set(rows.scalars())


def test_a_verdict_for_every_document_in_their_order(database: TestDatabase, clock: FrozenClock) -> None:
    signed = envelope(statement(SLSA_1, slsa_1()))
    given = documents(dump(bom()), dump(bom())[:-40], signed, dump(bom(bomFormat="CDX")), dump(bom()))
    results = put(database, clock, given)
    assert [one.status for one in results] == ["accepted", "refused", "accepted", "refused", "known"]
    assert [one.verification for one in results[:3:2]] == ["unsigned", "no-trust-root"]
    assert "cut off" in str(results[1].reason)
    assert "bomFormat" in str(results[3].reason)
    assert count(database, "documents") == 2


def test_small_batches_answer_as_one(
    database: TestDatabase, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = documents(*(dump(bom(serialNumber=f"urn:uuid:{n}", version=n)) for n in range(7)))
    put(database, clock, given, tenant=TenantId("whole"))
    monkeypatch.setattr(ingest, "MAXIMUM_BATCH", 2)
    assert [one.status for one in put(database, clock, given)] == ["accepted"] * 7
    assert root(database) == root(database, TenantId("whole"))


def test_a_tenant_writing_the_shared_partition_is_refused_before_anything_is_read(
    database: TestDatabase, clock: FrozenClock
) -> None:
    def never() -> Iterable[Document]:
        pytest.fail("a document was read")
        yield Document("x", b"")

    with pytest.raises(ForbiddenError):
        put(database, clock, never(), tenant=PUBLIC)
    assert count(database, "documents", PUBLIC) == 0
    assert put(database, clock, documents(dump(bom())), tenant=PUBLIC, operator=True)[0].status == "accepted"


START, END = event("START"), event("COMPLETE", inputs=[], outputs=[])
EVENTS = [dump(START), dump(END), dump(event("RUNNING", inputs=[], outputs=[{"namespace": "db", "name": "late"}]))]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_outputs_wait_for_the_end_of_their_run_whatever_the_order(
    database: TestDatabase, clock: FrozenClock, order: tuple[int, ...]
) -> None:
    for place in order:
        put(database, clock, documents(EVENTS[place]))
        put(database, clock, documents(EVENTS[order[0]]))
    assert produced(database) == {"dataset:db/out", "dataset:db/late"}
    whole = TenantId("whole")
    put(database, clock, documents(*EVENTS), tenant=whole)
    assert root(database) == root(database, whole)


@pytest.mark.parametrize("end", [None, "FAIL", "ABORT"])
def test_a_run_without_completion_produces_nothing(database: TestDatabase, clock: FrozenClock, end: str | None) -> None:
    put(database, clock, documents(EVENTS[0], *([dump(event(end))] if end else [])))
    assert produced(database) == set()


def test_an_event_remembered_but_not_recorded_counts_for_nothing(
    database: TestDatabase, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the two: the start is remembered, its document is not there."""
    with monkeypatch.context() as broken:
        broken.setattr(ingest, "ingest_many", lambda *_args, **_more: pytest.skip())
        with pytest.raises(pytest.skip.Exception):
            put(database, clock, documents(EVENTS[0]))
    put(database, clock, documents(EVENTS[1]))
    assert (produced(database), count(database, "run_events")) == (set(), 2)
    put(database, clock, documents(EVENTS[0]))
    assert produced(database) == {"dataset:db/out"}


def many(number: int) -> list[Document]:
    """Documents that share packages, describe and mention them differently, and supersede each other."""
    chance = random.Random(4)  # noqa: S311 - an order, not a secret
    found = []
    for place in range(number):
        names = chance.sample([f"p{one}" for one in range(12)], 5)
        components = [
            {"type": "library", "bom-ref": name, "name": f"{name} by {place % 3}", "purl": f"pkg:pypi/{name}@1"}
            for name in names
        ]
        needs = [{"ref": names[0], "dependsOn": [*names[1:], "pkg:pypi/p0@1"]}]
        series = f"urn:uuid:{place % 5}"
        found.append(dump(bom(components=components, dependencies=needs, serialNumber=series, version=place)))
    runs = [event(kind, run={"runId": f"r{place}"}) for place in range(6) for kind in ("START", "COMPLETE")]
    return documents(*found, *map(dump, runs))


def test_the_same_root_after_again_and_shuffled(database: TestDatabase, clock: FrozenClock) -> None:
    given = many(30)
    put(database, clock, given)
    first = root(database)
    assert {one.status for one in put(database, clock, given)} == {"known"}
    assert root(database) == first
    for seed in range(3):
        tenant = TenantId(f"shuffled-{seed}")
        order = given[:]
        random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
        for start in range(0, len(order), 7):
            put(database, clock, order[start : start + 7], tenant=tenant)
        assert root(database, tenant) == first
    other = TenantId("other")
    put(database, clock, given[1:], tenant=other)
    assert root(database, other) != first


WORKER = """
import json, sys
from datetime import UTC, datetime
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import ingest
from mc_pipelines.provenance.trust_roots import TrustRoots
ingest.MAXIMUM_BATCH = 2
url, tenant, path = sys.argv[1:]
given = [ingest.Document(f"{n}.json", one.encode()) for n, one in enumerate(json.load(open(path)))]
clock = FrozenClock(datetime(2026, 1, 19, 17, tzinfo=UTC))
for result in ingest.ingest_documents(Database(url), TenantId(tenant), given, TrustRoots(), clock=clock):
    print(result.status, flush=True)
"""


def worker(database: TestDatabase, tenant: str, path: Path) -> subprocess.Popen[bytes]:
    url = database.app.engine.url.render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, tenant, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": "."},
    )


def test_the_same_root_by_four_workers_killed_in_the_middle(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    given = many(40)
    put(database, clock, given, tenant=TenantId("whole"))
    path = tmp_path / "documents.json"
    path.write_text(json.dumps([one.content.decode() for one in given]))
    workers = [worker(database, "killed", path) for _ in range(4)]
    for number, process in enumerate(workers[:3]):
        assert process.stdout is not None
        for _ in range(2 + 3 * number):  # each is somewhere else in its work when it dies
            process.stdout.readline()
        time.sleep(0.003 * number)
        os.kill(process.pid, signal.SIGKILL)
    for process in workers:
        process.communicate(timeout=60)
    assert [process.returncode for process in workers] == [-signal.SIGKILL] * 3 + [0]
    assert {one.status for one in put(database, clock, given, tenant=TenantId("killed"))} == {"known"}
    assert root(database, TenantId("killed")) == root(database, TenantId("whole"))
